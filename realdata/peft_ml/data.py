"""What retraining and fine-tuning need of data: tasks of examples, batches, losses and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Inputs: TypeAlias = Tensor | Mapping[str, Tensor]
"""What a model is called with: one tensor, or named tensors; rows come first in each."""


class Batch(NamedTuple):
    """Some examples of one task, or of several one after another.

    Attributes
    ----------
    inputs
        Rows of the model. An example may take several rows, the same number each: the candidates of a turn.
    targets
        One entry per example.
    """

    inputs: Inputs
    targets: Tensor


class Examples(Protocol):
    """A finite set of examples of one task."""

    def __len__(self) -> int:
        """Return the number of examples."""
        ...

    def batch(self, indices: NDArray[np.int64], rng: np.random.Generator | None = None) -> Batch:
        """Return the examples at `indices`, in this order, on the CPU.

        With `rng` they are augmented as for training; without they are as they are.
        """
        ...


class Problem(Protocol):
    """How a model's outputs are judged, the same for all tasks."""

    @property
    def score_names(self) -> tuple[str, ...]:
        """Names of the scores; the first is the one to select on, 0 or 1 per example or any number; larger is better.

        A problem may have ``derived``, a function from the means of scores by name to further ones, such as a
        perplexity.
        """
        ...

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each example, ``(examples,)``."""
        ...

    def scores(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the scores of each example, ``(examples, scores)``."""
        ...

    def join(self, batches: Sequence[Batch]) -> Batch:
        """Return one batch of the examples of several, in order."""
        ...


@dataclass(frozen=True)
class Task:
    """One task with its examples to train on, to select on, and to test on."""

    name: str
    train: Examples
    validation: Examples
    test: Examples
