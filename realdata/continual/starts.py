"""Bases of the feature map that chains begin from, retrained on other tasks by LoRA-ML or standard retraining (SR)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from loraml_theory.harness.atomic import write_whole
from loraml_theory.harness.input_files import check_regular, read_bytes
from realdata.peft_ml.data import Batch, Task

if TYPE_CHECKING:
    from realdata.continual.features import FeatureProblem, FeatureTask
    from realdata.continual.settings import ContinualSettings, StartName

METHODS: Mapping[StartName, str] = {"lora-ml": "lora-ml", "sr": "standard"}


def begin_from(
    problem: FeatureProblem, settings: ContinualSettings, *, start: StartName, seed: int, folder: Path
) -> None:
    """Give a problem's map the weight of a base, which is retrained once and kept in ``starts/``.

    Raises
    ------
    InputError
        If the kept weight is damaged.
    """
    from safetensors.torch import load, save

    path = folder / "starts" / f"{start}.seed-{seed}.safetensors"
    if not path.exists():
        weight = _retrained(problem, settings, start=start, seed=seed)
        path.parent.mkdir(exist_ok=True)
        write_whole(path, save({"weight": weight}))
    content = read_bytes(path, expected="the weight of a base", limit=check_regular(path, expected="a base"))
    with torch.no_grad():
        problem.plain.get_parameter("map.weight").copy_(load(content)["weight"])


def _retrained(problem: FeatureProblem, settings: ContinualSettings, *, start: StartName, seed: int) -> Tensor:
    from realdata.peft_ml.retraining import retrain

    tasks = {name: problem.tasks[name] for name in settings.start.tasks}
    most = max(len(task.texts) for task in tasks.values())
    found: Any = retrain(
        copy.deepcopy(problem.plain),
        [
            Task(name, *(_Choices(task, part, most) for part in ("train", "validation", "test")))
            for name, task in tasks.items()
        ],
        _ChoiceProblem(settings.model.temperature),
        method=METHODS[start],
        settings=settings.retraining,
        head="map",
        seed=seed,
        say=lambda _: None,
    )
    return found.base.get_parameter("map.weight").detach().contiguous()


class _Choices:
    """Sentences with their task's labels: rows of the map are the sentence and the labels, the last one repeated.

    A target is the number of the right label, and how many there are.
    """

    def __init__(self, task: FeatureTask, part: Any, most: int) -> None:
        labels = torch.cat([task.labels, task.labels[-1:].expand(most - len(task.labels), -1)])
        self._labels, self._sentences = labels, task.sentences[part]
        self._targets = torch.stack([task.right[part], torch.full_like(task.right[part], len(task.texts))], dim=1)

    def __len__(self) -> int:
        return len(self._targets)

    def batch(self, indices: NDArray[np.int64], rng: np.random.Generator | None = None) -> Batch:  # noqa: ARG002
        """Return examples; nothing is augmented."""
        chosen = torch.from_numpy(np.asarray(indices))
        sentences = self._sentences[chosen][:, None]
        rows = torch.cat([sentences, self._labels.expand(len(chosen), -1, -1)], dim=1)
        return Batch(rows.flatten(0, 1), self._targets[chosen])


@dataclass(frozen=True)
class _ChoiceProblem:
    """The choice of the nearest label, as in `realdata.continual.problem.SimilarityProblem`."""

    temperature: float
    score_names: tuple[str, ...] = ("accuracy",)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy of each sentence."""
        return functional.cross_entropy(self._logits(outputs, targets), targets[:, 0], reduction="none")

    def scores(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return 1 for a right choice, else 0."""
        right = self._logits(outputs, targets).argmax(dim=1) == targets[:, 0]
        return right[:, None].to(outputs.dtype)

    def join(self, batches: Sequence[Batch]) -> Batch:
        """Return one batch of several."""
        inputs: Any = [batch.inputs for batch in batches]
        return Batch(torch.cat(inputs), torch.cat([batch.targets for batch in batches]))

    def _logits(self, outputs: Tensor, targets: Tensor) -> Tensor:
        unit = functional.normalize(outputs.reshape(len(targets), -1, outputs.shape[-1]), dim=2)
        cosines = (unit[:, 1:] @ unit[:, 0, :, None])[..., 0]
        beyond = torch.arange(cosines.shape[1], device=cosines.device) >= targets[:, 1:]
        return (cosines / self.temperature).masked_fill(beyond, float("-inf"))
