"""A small problem that can be learnt: two-class tasks of Gaussian points, and a multilayer perceptron."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from loraml_theory.harness.seeds import generator
from realdata.peft_ml.data import Batch, Task
from realdata.peft_ml.seeding import torch_seeded

DIMENSION = 6
HEAD = "head"


@dataclass(frozen=True)
class Points:
    """Points and their classes; `seen` is called with the indices of every batch, `noise` is added in training."""

    x: Tensor
    y: Tensor
    noise: float = 0.0
    seen: Callable[[NDArray[np.int64]], None] = field(default=lambda _: None, compare=False)

    def __len__(self) -> int:
        return len(self.y)

    def batch(self, indices: NDArray[np.int64], rng: np.random.Generator | None = None) -> Batch:
        self.seen(indices)
        rows = torch.from_numpy(indices)
        x = self.x[rows]
        if rng is not None and self.noise:
            x = x + self.noise * torch.from_numpy(rng.standard_normal(x.shape, dtype=np.float32))
        return Batch(x, self.y[rows])


class TwoClasses:
    """Cross-entropy and accuracy."""

    score_names: tuple[str, ...] = ("accuracy",)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs, targets, reduction="none")

    def scores(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(dim=1) == targets).float()[:, None]

    def join(self, batches: Sequence[Batch]) -> Batch:
        inputs = [batch.inputs for batch in batches]
        assert all(isinstance(one, Tensor) for one in inputs)
        return Batch(
            torch.cat([one for one in inputs if isinstance(one, Tensor)]), torch.cat([b.targets for b in batches])
        )


def points(number: int, direction: NDArray[np.float64], *, seed: int, purpose: str, noise: float = 0.0) -> Points:
    """Draw as many points of each class, ±direction apart, with unit noise."""
    rng = generator(seed, purpose)
    y = rng.permutation(np.arange(number) % 2)
    x = rng.standard_normal((number, DIMENSION)) + np.where(y[:, None] == 1, 1, -1) * direction
    return Points(torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y), noise)


def task(name: str, *, seed: int = 0, train: int = 64, other: int = 60, noise: float = 0.1) -> Task:
    """Draw a task: its direction is one that all tasks share, tilted by one of its own."""
    own = generator(seed, "direction", name).standard_normal(DIMENSION)
    direction = np.eye(DIMENSION)[0] * 1.5 + 0.3 * own
    parts = {
        part: points(number, direction, seed=seed, purpose=f"{name} {part}", noise=noise)
        for part, number in (("train", train), ("validation", other), ("test", other))
    }
    return Task(name, **parts)


def tasks(number: int = 3, *, seed: int = 0, train: int = 64, noise: float = 0.1) -> list[Task]:
    """Draw several tasks, named a, b, c and so on."""
    return [task(chr(ord("a") + index), seed=seed, train=train, noise=noise) for index in range(number)]


class Perceptron(nn.Module):
    """Two layers with dropout, and a head of the name `HEAD`."""

    def __init__(self, *, hidden: int = 16, dropout: float = 0.1, normed: bool = False) -> None:
        super().__init__()
        self.body = nn.Linear(DIMENSION, hidden)
        self.norm: nn.Module = nn.BatchNorm1d(hidden) if normed else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(torch.relu(self.norm(self.body(x)))))


def perceptron(*, seed: int = 0, hidden: int = 16, dropout: float = 0.1, normed: bool = False) -> Perceptron:
    """Draw a perceptron."""
    with torch_seeded(seed, "model"):
        return Perceptron(hidden=hidden, dropout=dropout, normed=normed)
