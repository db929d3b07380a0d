"""Scores and losses of a model on examples, as they are: no augmentation, no dropout, no gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from realdata.peft_ml.data import Examples, Inputs, Problem
from realdata.peft_ml.optimisation import on_device

if TYPE_CHECKING:
    from accelerate import Accelerator

_AT_ONCE_ON_CPU = 64  # what a layer makes of more is new memory each time, which costs as much as the layer


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode for what is inside, without gradients, and each module's mode back after it."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


class Evaluation(NamedTuple):
    """How examples are evaluated.

    Parameters
    ----------
    problem
        Whose losses and scores.
    accelerator
        Device and precision.
    batch_size
        Examples at once; on the CPU fewer, if that is faster.
    """

    problem: Problem
    accelerator: Accelerator
    batch_size: int

    def scores(self, forward: Callable[[Inputs], Tensor], examples: Examples) -> Tensor:
        """Return the scores of each example, ``(examples, scores)``, float64 on the CPU, in order."""
        judged = self._judged(forward, examples)
        return torch.cat([self.problem.scores(*each).double().cpu() for each in judged])

    def means(self, forward: Callable[[Inputs], Tensor], examples: Examples) -> dict[str, float]:
        """Return the mean of each score by name."""
        return self.named(self.scores(forward, examples))

    def named(self, scores: Tensor) -> dict[str, float]:
        """Return the means over examples of `scores`, ``(examples, scores)``, by name, and what is derived of them."""
        means = dict(zip(self.problem.score_names, scores.mean(dim=0).tolist(), strict=True))
        derived: Callable[[dict[str, float]], dict[str, float]] | None = getattr(self.problem, "derived", None)
        return means if derived is None else {**means, **derived(means)}

    def loss(self, forward: Callable[[Inputs], Tensor], examples: Examples) -> float:
        """Return the mean loss over examples."""
        judged = self._judged(forward, examples)
        return float(torch.cat([self.problem.losses(*each).double().cpu() for each in judged]).mean())

    def _judged(self, forward: Callable[[Inputs], Tensor], examples: Examples) -> Iterator[tuple[Tensor, Tensor]]:
        on_cpu = self.accelerator.device.type == "cpu"
        size = min(self.batch_size, _AT_ONCE_ON_CPU) if on_cpu else self.batch_size
        for start in range(0, len(examples), size):
            indices = np.arange(start, min(start + size, len(examples)), dtype=np.int64)
            batch = on_device(examples.batch(indices), self.accelerator.device)
            with self.accelerator.autocast():
                outputs = forward(batch.inputs)
            yield outputs.float(), batch.targets


def by_example(first_scores: Tensor) -> str | tuple[float, ...]:
    """Return the first score of every example, ``(examples,)``: as a text if they are 0 or 1, else as numbers.

    Examples
    --------
    >>> by_example(torch.tensor([1.0, 0.0, 1.0])), by_example(torch.tensor([1.0, -0.5]))
    ('101', (1.0, -0.5))
    """
    if not bool(((first_scores == 0) | (first_scores == 1)).all()):
        return tuple(first_scores.tolist())
    return "".join(map(str, first_scores.to(torch.int64).tolist()))
