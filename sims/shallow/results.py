"""Results of the settings of a figure: computed, or read where an earlier command, finished or not, left them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from hashlib import blake2b
from io import BytesIO
from json import dumps
from os.path import lexists
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from loraml_theory.harness.array_files import open_arrays
from loraml_theory.harness.atomic import write_whole
from sims.methods import COMPARED
from sims.shallow.descent import Descent
from sims.shallow.draws import Run, draw_run, draw_start
from sims.shallow.runs import STARTS, RetrainedNetworks, Tuned, fine_tune, retrain, retrain_by_second_order
from sims.shallow.settings import RUNS, AdamW, ShallowCell, cells

FORMAT = 1
FOLDER = "shallow-results"
Stage = TypeVar("Stage", RetrainedNetworks, Tuned)


@dataclass(frozen=True)
class Study:
    """The settings common to all results of a figure.

    Parameters
    ----------
    seed, runs
        Root of every random number; number of repetitions.
        settings
        Of AdamW.
        descent
        The engine.
        folder
        Where results are saved; None saves none.
    solver
        Solver of retraining, one of `SOLVERS`.
    """

    descent: Descent
    seed: int = 0
    runs: int = RUNS
    settings: AdamW = field(default_factory=AdamW)
    folder: Path | None = None
    solver: str = "adamw"


@dataclass(frozen=True, eq=False)
class Result:
    """One setting, fine-tuned at one rank."""

    vary: str
    value: int
    cell: ShallowCell
    rank: int
    retrained: RetrainedNetworks
    tuned: Tuned


def results(
    vary: str, study: Study, *, base: ShallowCell | None = None, progress: Callable[[str], None] = lambda _: None
) -> list[Result]:
    """Return the results of one figure, one for every value and rank.

    Retraining is done once for settings that share it, such as those that differ in n.
    """
    return [
        result
        for value, cell in cells(vary, base).items()
        for result in _setting(vary, value, cell, study=study, progress=progress)
    ]


def _setting(
    vary: str, value: int, cell: ShallowCell, *, study: Study, progress: Callable[[str], None]
) -> Iterator[Result]:
    """Yield the results of one setting by rank; nothing is drawn where all of them are kept."""
    drawn: list[Run] = []

    def runs() -> list[Run]:
        if not drawn:
            drawn.extend(draw_run(study.seed, run, cell) for run in range(study.runs))
        return drawn

    def told(stage: str) -> Callable[[float], None]:
        return lambda share: progress(f"{vary} = {value}, {stage}: {share:.0%}")

    def retrained() -> RetrainedNetworks:
        if study.solver == "second-order":
            starts = [
                [draw_start(study.seed, run, cell, number=number) for run in range(study.runs)]
                for number in range(STARTS)
            ]
            return retrain_by_second_order(runs(), starts, progress=told("retraining"))
        return retrain(runs(), study.descent, epochs=cell.epochs, settings=study.settings, progress=told("retraining"))

    def tuned(rank: int) -> Tuned:
        return fine_tune(
            runs(),
            bases,
            study.descent,
            rank=rank,
            epochs=cell.tuning_epochs,
            seed=study.seed,
            settings=study.settings,
            progress=told(f"fine-tuning at rank {rank}"),
        )

    shared = {name: getattr(cell, name) for name in ("d", "k", "T", "N", "sigma", "epochs")}
    own = {"n": cell.n, "tuning_epochs": cell.tuning_epochs}
    bases = _kept(RetrainedNetworks, retrained, study=study, named=shared)
    for rank in cell.ranks:
        found = _kept(Tuned, partial(tuned, rank), study=study, named={**shared, **own, "rank": rank})
        yield Result(vary, value, cell, rank, bases, found)


def _kept(kind: type[Stage], compute: Callable[[], Stage], *, study: Study, named: dict[str, Any]) -> Stage:
    """Return the saved result of this name and study, or compute and save it atomically."""
    if study.folder is None:
        return compute()
    path = study.folder / FOLDER / f"{kind.file}-{_digest(study, named)}.npz"
    if lexists(path):
        return _read(kind, path, (len(COMPARED), study.runs), named["d"])
    result = compute()
    page = BytesIO()
    np.savez(page, **{part.name: getattr(result, part.name) for part in fields(kind)})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, page.getvalue())
    return result


def _digest(study: Study, named: dict[str, Any]) -> str:
    """Return everything that the numbers depend on, the engine included."""
    computed_by = [study.descent.name, study.descent.device, study.descent.precision]
    if study.solver != "adamw":
        named = {**named, "solver": study.solver}
    words = [FORMAT, named, study.seed, study.runs, asdict(study.settings), computed_by]
    return blake2b(dumps(words, sort_keys=True).encode(), digest_size=12).hexdigest()


def _read(kind: type[Stage], path: Path, both: tuple[int, int], d: int) -> Stage:
    """Read a saved result with arrays over methods and runs, `both`."""
    names = [part.name for part in fields(kind)]
    with open_arrays(path, expected="results of an earlier command; remove it to compute them again") as file:
        headers = {name: file.header(name) for name in names}
        records: tuple[int, ...] = headers["steps"].shape[:1] if "steps" in headers else ()
        shapes = {"A": (*both, d, d), "c": (*both, d), "start_loss": both, "loss": both, "steps": records}
        for name, (shape, dtype) in headers.items():
            if shape != shapes.get(name, (*both, *records)) or dtype.kind not in ("iu" if name == "steps" else "f"):
                raise file.refusal(name, f"got shape {shape} of {dtype.name}")
        return kind(**{name: file.read(name) for name in names})
