"""Fine-tuning on random splits of a task that retraining has not seen, and how far the methods differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loraml_theory.closed_forms import fine_tune
from loraml_theory.moments import Moments, from_samples
from loraml_theory.objectives import task_losses
from loraml_theory.structure import Array
from realdata.completion.tasks import Task
from realdata.intervals import Estimate, mean_with_interval


@dataclass(frozen=True, eq=False)
class Splits:
    """Several random splits of one task into n samples to fine-tune on and the others to test on.

    Parameters
    ----------
    tuning, testing
        Moments of the two parts, the split the batch axis.
    """

    tuning: Moments
    testing: Moments

    @property
    def n(self) -> int:
        """Number of samples to fine-tune on."""
        return int(np.max(self.tuning.n))

    @property
    def test_samples(self) -> int:
        """Number of samples to test on."""
        return int(np.max(self.testing.n))


def draw_splits(rng: np.random.Generator, task: Task, sizes: Sequence[int], *, count: int) -> dict[int, Splits]:
    """Draw `count` orders of a task's samples; for each n the first n of an order are the fine-tuning part.

    Raises
    ------
    ValueError
        If a size leaves no sample to test on.
    """
    if max(sizes) >= task.N:
        raise ValueError(f"sizes: got {max(sizes)}, expected fewer than the {task.N} samples of {task.name}")
    orders = np.stack([rng.permutation(task.N) for _ in range(count)])

    def part(chosen: Array) -> Moments:
        return from_samples(np.moveaxis(task.X[:, chosen], 0, 1), np.moveaxis(task.Y[:, chosen], 0, 1))

    return {n: Splits(part(orders[:, :n]), part(orders[:, n:])) for n in sizes}


def tuned_errors(splits: Splits, bases: Array, rank: int, *, ridge: float) -> Array:
    """Fine-tune every base on every split and return the test errors, ``(bases, splits)``.

    Parameters
    ----------
    splits
        The same for all bases, so that the errors are paired.
    bases
        ``(bases, d_out, d_in)``.
    rank
        Rank of the shift.
    ridge
        lambda of the penalty ``(lambda/2) ||shift||^2`` beside the loss summed over the n samples.

    Returns
    -------
    Mean over test samples of the squared error, summed over outputs.
    """
    tuned = fine_tune(splits.tuning, bases[:, None], rank, ridge=ridge / splits.n)
    return 2 * task_losses(splits.testing, tuned)


def untuned_errors(splits: Splits, bases: Array) -> Array:
    """Return the test errors of the bases as they are, ``(bases, splits)``, as in `tuned_errors`."""
    return 2 * task_losses(splits.testing, bases[:, None])


def relative_difference(reference: Array, other: Array) -> Estimate:
    r"""Return by how many percent the mean of `other` differs from that of `reference`, from paired values.

    With ``q = mean(b) / mean(a)`` the interval is Student's for the mean of ``(b_s - q a_s) / mean(a)``, the
    linearisation of the ratio (delta method).

    Parameters
    ----------
    reference, other
        ``(splits,)``: errors a_s, b_s on the same splits.
    """
    scale = float(np.mean(reference))
    ratio = float(np.mean(other)) / scale
    _, low, high = mean_with_interval((other - ratio * reference) / scale)
    return Estimate(100 * (ratio - 1), 100 * (ratio - 1 + low), 100 * (ratio - 1 + high))
