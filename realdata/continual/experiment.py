"""The continual experiment: its tasks and model, opened in the process that needs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraml_theory.harness.errors import InputError
from realdata.continual.settings import ContinualSettings, StartName

if TYPE_CHECKING:
    from realdata.continual.benchmark import TextTask
    from realdata.continual.features import FeatureTask
    from realdata.continual.problem import Problem

FEATURES = "features.safetensors"


@dataclass(frozen=True)
class ContinualSpec:
    """Settings, and the folder of a benchmark; None for made-up features. It can be pickled and imports nothing heavy.

    Parameters
    ----------
    settings
        All tables.
    data
        The folder.
    """

    settings: ContinualSettings
    data: Path | None = None

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of all tasks: those of the orders that are run or tuned on, and those that starts are retrained on."""
        numbers = {*self.settings.grid.orders, *self.settings.tuning.orders}
        orders = [self.settings.orders[number - 1] for number in sorted(numbers)]
        return tuple(dict.fromkeys([name for order in orders for name in order] + list(self.settings.start.tasks)))

    def order(self, number: int) -> tuple[str, ...]:
        """Return the tasks of an order."""
        return self.settings.orders[number - 1]


def prepare(spec: ContinualSpec, folder: Path) -> tuple[Problem, dict[str, Any]]:
    """Compute in a folder what all processes use, and return the problem, and what tells its data from others.

    Raises
    ------
    InputError
        If data or model cannot be used.
    """
    from realdata.continual import features, made
    from realdata.peft_ml.checkpoint import model_digest

    if spec.settings.model.kind == "features" and spec.data is not None:
        read = _read(spec)
        encoder = _encoder_problem(spec, read)
        source = {
            "model": model_digest(encoder.plain)[:16],
            "data": asdict(spec.settings.data),
            "files": {name: list(task.digests) for name, task in read.items()},
        }
        if features.read_features(folder / FEATURES, source=source) is None:
            features.saved_features(folder / FEATURES, encoder.features(), source=source)
    problem = open_problem(spec, folder)
    named = spec.data is None
    return problem, {
        "source": made.LABEL if spec.data is None else spec.data.name or str(spec.data),
        "tasks": problem.document(spec.tasks),
        "notes": [f"On {made.LABEL}: these numbers say nothing of language"] if named else [],
    }


def open_problem(spec: ContinualSpec, folder: Path, *, start: StartName = "plain", seed: int = 0) -> Problem:
    """Return the tasks with the model that a chain begins from.

    Parameters
    ----------
    spec
        The experiment.
    folder
        Where `prepare` was called.
    start, seed
        The base, and the seed that it is retrained with.

    Raises
    ------
    InputError
        If data or model cannot be used.
    """
    if spec.settings.model.kind == "features":
        from realdata.continual.features import FeatureProblem
        from realdata.continual.starts import begin_from

        problem = FeatureProblem(
            _features(spec, folder), temperature=spec.settings.model.temperature, orders=_lengths(spec)
        )
        if start != "plain":
            begin_from(problem, spec.settings, start=start, seed=seed, folder=folder)
        return problem
    read = _read(spec)
    if spec.settings.model.kind == "encoder":
        return _encoder_problem(spec, read)
    from realdata.continual.generation import GenerationProblem

    return GenerationProblem(spec.settings, read)


def _features(spec: ContinualSpec, folder: Path) -> dict[str, FeatureTask]:
    from realdata.continual.features import read_features
    from realdata.continual.made import made_tasks

    if spec.data is None:
        return made_tasks(spec.tasks)
    found = read_features(folder / FEATURES)
    if found is None:
        raise InputError(f"{folder / FEATURES}: is not there; run the same command again")
    return found


def _read(spec: ContinualSpec) -> dict[str, TextTask]:
    from realdata.continual.benchmark import read_benchmark

    if spec.data is None:
        raise InputError("--data: is missing, which only features do without, expected a folder with a benchmark")
    return read_benchmark(spec.data, spec.tasks, spec.settings.data)


def _encoder_problem(spec: ContinualSpec, read: dict[str, TextTask]) -> Any:
    from realdata.continual.encoder import EncoderProblem
    from realdata.language.encoders import load_body

    model = spec.settings.model
    return EncoderProblem(
        load_body(model.name),
        read,
        temperature=model.temperature,
        orders=_lengths(spec),
        max_length=spec.settings.data.max_length,
        rows_at_once=model.rows_at_once,
    )


def _lengths(spec: ContinualSpec) -> Sequence[int]:
    return [len(spec.order(number)) for number in spec.settings.grid.orders]
