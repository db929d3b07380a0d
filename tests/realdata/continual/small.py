"""Made-up tasks and settings small enough for tests, and a model whose two layers have factors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from realdata.continual.factors import Layers, Pair, Pairs
from realdata.continual.features import FeatureProblem, FeatureTask
from realdata.continual.made import made_tasks
from realdata.continual.settings import ContinualSettings, settings
from realdata.peft_ml.settings import FineTuningSettings

ORDER = ("first", "second", "third")
QUICK: Mapping[str, Any] = {"training": {"epochs": 1, "batch_size": 8}}


def quick(**changes: Any) -> ContinualSettings:
    """Return the settings of made-up tasks with one epoch."""
    return settings("made", {**QUICK, **changes})


def problem(names: tuple[str, ...] = ORDER) -> FeatureProblem:
    """Return made-up tasks."""
    return FeatureProblem(made_tasks(names), temperature=0.05, orders=[len(names)])


def few(rows: int = 24) -> FeatureProblem:
    """Return made-up tasks of few rows."""
    cut = {
        name: FeatureTask(
            task.texts,
            task.labels,
            {part: x[:rows] for part, x in task.sentences.items()},
            {part: x[:rows] for part, x in task.right.items()},
        )
        for name, task in made_tasks(ORDER).items()
    }
    return FeatureProblem(cut, temperature=0.05, orders=[3])


def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


class Two(nn.Module):
    """Two linear layers of different sizes, in float64."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.one = nn.Linear(10, 6, dtype=torch.float64)
        self.two = nn.Linear(6, 12, dtype=torch.float64)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.two(torch.tanh(self.one(x)))
        return found


def layers(*, rank: int = 3) -> Layers:
    """Return how the two layers are adapted."""
    return Layers(("one", "two"), FineTuningSettings(epochs=1, batch_size=4, learning_rate=1e-2, rank=rank, alpha=6.0))


def drawn(seed: int, *, rank: int = 3) -> Pairs:
    """Return normal factors of the two layers."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return {"one": Pair(normal(rank, 10), normal(6, rank)), "two": Pair(normal(rank, 6), normal(12, rank))}
