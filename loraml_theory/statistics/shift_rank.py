r"""The rank of given tasks' shifts.

All from the differences ``W_t - W_s``, from which the base cancels; NumPy arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import ceil, floor, sqrt

import numpy as np

from loraml_theory.statistics.noise_rank import Noise, NoiseRank, rank_above_noise
from loraml_theory.statistics.task_span import TaskSpan
from loraml_theory.structure import Array


@dataclass(frozen=True, eq=False)
class Differences:
    """Singular values of all differences of two tasks, and how many of them are above the noise.

    Parameters
    ----------
    pairs
        The tasks, ``t < s``.
    values
        Singular values, descending, ``(pairs, m)``.
    ranks
        Number of values above the noise in each.
    floor
        What rounding may reach in a singular value.
    truncated
        Whether there are more directions than were examined.
    """

    pairs: tuple[tuple[int, int], ...]
    values: Array
    ranks: tuple[NoiseRank, ...]
    floor: float
    truncated: bool = False

    @property
    def noise(self) -> Noise:
        """The noise in one task's entries: the median over the differences."""
        return Noise(float(np.median([rank.sigma for rank in self.ranks])) / sqrt(2), self.floor)


@dataclass(frozen=True)
class ShiftRank:
    """An estimate of k.

    Parameters
    ----------
    k
        Half the median rank of the differences, rounded up; 0 where nothing differs beyond rounding, None where only
        noise is visible.
    low, high
        Two standard errors of the jackknife over tasks around the mean of half the ranks, rounded outwards, together
        with what a noise 1.5 times as large would leave. With two tasks there is one difference and no jackknife.
    gap
        Median over the differences of the last singular value that counts over the next.
    censored
        Whether there are more directions than were examined, or all of them count: k may be larger.
    """

    k: int | None
    low: int | None
    high: int | None
    gap: float | None
    censored: bool


def task_differences(span: TaskSpan, *, floor_at: float = 0.0) -> Differences:
    """Take the singular values of every difference of two tasks and count those above the noise.

    Parameters
    ----------
    span
        The tasks.
    floor_at
        What rounding may reach in a singular value of a difference.
    """
    pairs = tuple(combinations(range(span.T), 2))
    values, ranks = [], []
    for t, s in pairs:
        values.append(np.linalg.svd(span.cores[t] - span.cores[s], compute_uv=False))
        energy = span.difference_energy(t, s)
        ranks.append(rank_above_noise(values[-1], span.shape, energy=energy, floor=floor_at))
    return Differences(pairs, np.stack(values), tuple(ranks), floor_at, span.truncated)


def estimate_shift_rank(found: Differences, T: int) -> ShiftRank:
    r"""Estimate k from the ranks of the differences, 2k each where shifts are independent.

    Parameters
    ----------
    found
        Differences of T tasks.
        T
        Number of tasks.
    """
    ranks = np.array([rank.rank for rank in found.ranks])
    censored = found.truncated or any(rank.censored for rank in found.ranks)
    if np.median(ranks) == 0:
        unchanged = bool(np.all(found.values <= found.floor))
        return ShiftRank(0, 0, 0, None, censored) if unchanged else ShiftRank(None, None, None, None, censored)
    k = ceil(float(np.median(ranks)) / 2)
    low, high = _jackknife(found.pairs, ranks / 2, T) if T > 2 else (float(k), float(k))
    clear = float(np.median([rank.clear for rank in found.ranks])) / 2
    gaps = [
        values[rank.rank - 1] / max(values[rank.rank], 1e-300) if rank.rank < len(values) else 1.0
        for values, rank in zip(found.values, found.ranks, strict=True)
        if rank.rank
    ]
    return ShiftRank(
        k, max(0, min(k, floor(low), ceil(clear))), max(k, ceil(high)), min(float(np.median(gaps)), 1e15), censored
    )


def _jackknife(pairs: Sequence[tuple[int, int]], halves: Array, T: int) -> tuple[float, float]:
    """Return the mean over pairs minus and plus two standard errors of the jackknife that leaves out one task."""
    without = np.array([np.mean([h for pair, h in zip(pairs, halves, strict=True) if t not in pair]) for t in range(T)])
    error = sqrt((T - 1) / T * float(np.sum((without - np.mean(without)) ** 2)))
    mean = float(np.mean(halves))
    return mean - 2 * error, mean + 2 * error
