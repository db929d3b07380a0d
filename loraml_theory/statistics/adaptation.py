r"""Whether given tasks determine a base, which one, and the rank that a new task needs.

All in the coordinates of a `TaskSpan`; NumPy arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import sqrt

import numpy as np

from loraml_theory.solvers import Status
from loraml_theory.statistics.alignment import Groups
from loraml_theory.statistics.noise_rank import Noise
from loraml_theory.statistics.shared_base import SharedBase, fit_shared_base
from loraml_theory.statistics.task_span import TaskSpan
from loraml_theory.structure import Array

OVERSAMPLING = 8
RIDGE = 0.1
"""Ridge of the fit, over the squared ratio of the noise's edge to a shift's smallest singular value."""
BASE_ERROR = 2.0
"""Allowed error of a base, over that of a mean of as many tasks."""
LEAST = 3
"""Fewer tasks do not determine a base."""


@dataclass(frozen=True, eq=False)
class Apart:
    """The differences of held-out tasks from one start, ``W_t - start``.

    Parameters
    ----------
    ranks
        Number of singular values above the noise, for each task.
    left
        ``sum_{i > r} s_i^2`` for r = 0, 1, .., ``(tasks, ranks)``; r goes as far as the span shows.
    variance
        Variance of the noise in an entry of a difference.
    """

    ranks: tuple[int, ...]
    left: Array
    variance: float

    def signal(self, shape: tuple[int, int]) -> Array:
        """Return the differences' energies without the noise, ``(tasks,)``."""
        return np.maximum(self.left[:, 0] - self.variance * shape[0] * shape[1], 0.0)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The results of holding out every task in turn.

    Parameters
    ----------
    base
        Differences from the base that the tasks were fine-tuned from; None where it is not known.
    sr, ml
        Those from the mean, and from the LoRA-ML base, of the other tasks; None if not requested or not determined.
    statuses
        How the descents to the LoRA-ML bases ended.
    """

    base: Apart | None
    sr: Apart
    ml: Apart | None
    statuses: tuple[Status, ...]

    def closest(self) -> Apart:
        """Return the known start, base or mean, from which the tasks differ by the least energy."""
        if self.base is None or np.sum(self.sr.left[:, 0]) < np.sum(self.base.left[:, 0]):
            return self.sr
        return self.base


def independence(span: TaskSpan, k: int, *, noise: Noise) -> float:
    r"""Return how clearly some triple of tasks has independent column spans and independent row spans.

    For a triple take ``(W_t - W_s)/sqrt(2)`` and ``(W_t + W_s - 2 W_r)/sqrt(6)``, whose noise is again independent,
    side by side and one above the other: ranks are at most 3k, and 3k each if and only if both spans are independent.
    The answer is the smaller of the two 3k-th singular values over what noise reaches, for the best triple: above 1 the
    triple is independent, as ML-3 needs.

    Parameters
    ----------
    span
        At least three tasks.
    k
        Rank of the shifts.
    noise
        Of a task.

    Raises
    ------
    ValueError
        If there are fewer than three tasks.
    """
    if span.T < 3:
        raise ValueError(f"span: got {span.T} tasks, expected at least 3")
    p, q = span.shape
    if 3 * k > min(p, q):
        return 0.0
    C = _narrowed(span.cores, k * span.T + OVERSAMPLING)[0]
    edges = noise.edge((p, 2 * q)), noise.edge((2 * p, q))
    best = 0.0
    for t, s, r in combinations(range(span.T), 3):
        pair = (C[t] - C[s]) / sqrt(2), (C[t] + C[s] - 2 * C[r]) / sqrt(6)
        values = [np.linalg.svd(np.concatenate(pair, axis=axis), compute_uv=False) for axis in (1, 0)]
        clear = [float(v[3 * k - 1]) / max(e, 1e-300) for v, e in zip(values, edges, strict=True) if len(v) >= 3 * k]
        best = max(best, min(clear)) if len(clear) == 2 else best
    return min(best, 1e15)


def linear_surrogate(span: TaskSpan, k: int, *, noise: Noise) -> tuple[SharedBase, float]:
    r"""Fit the LoRA-ML base of the tasks; `SharedBase.A` is in the coordinates of the cores, around the mean.

    The fit is made in the leading directions of all tasks together, kT and some more, with the ridge

        0.1 (edge / s)^2,   s the median of the differences' 2k-th singular values,

    which vanishes with the noise: it keeps the base from diverging where no minimum exists, and moves it by less than a
    tenth of what noise does.

    Parameters
    ----------
    span
        The tasks, at least two.
    k
        Rank of the shifts.
    noise
        Of a task.

    Returns
    -------
    The fit, and its residual's share of the energy of the deviations from the mean, in all of the space.
    """
    return _fitted(span.cores, np.diag(span.gram), k, edge=noise.edge(span.shape, variance=2.0))


def _fitted(cores: Array, energies: Array, k: int, *, edge: float) -> tuple[SharedBase, float]:
    T, mean = len(cores), np.mean(cores, axis=0)
    small, left, right = _narrowed(cores - mean, k * T + OVERSAMPLING)
    k = min(k, *small.shape[1:])
    differences = [np.linalg.svd(small[t] - small[s], compute_uv=False) for t, s in combinations(range(T), 2)]
    weakest = float(np.median([values[min(2 * k, len(values)) - 1] for values in differences]))
    fit = fit_shared_base(small, k, ridge=RIDGE * min(edge / weakest, 1.0) ** 2 if weakest > 0 else RIDGE)
    total = float(np.sum(energies))
    outside = max(total - float(np.sum(small**2)), 0.0)
    base = SharedBase(mean + left @ fit.A @ right.T, fit.left, fit.status, fit.start, fit.iterations)
    return base, (fit.left + outside) / total if total > 0 else 0.0


def _narrowed(C: Array, m: int) -> tuple[Array, Array, Array]:
    """Return ``L^T C_t R`` with the m leading left and right singular directions of all tasks together, L and R."""
    sizes = np.linalg.norm(C, axis=(1, 2), keepdims=True)
    apart = C / np.where(sizes > 0, sizes, 1.0)
    left = np.linalg.svd(np.concatenate(list(apart), axis=1), full_matrices=False)[0][:, :m]
    right = np.linalg.svd(np.concatenate(list(apart), axis=0), full_matrices=False)[2][:m].T
    return left.T @ C @ right, left, right


def hold_out(span: TaskSpan, k: int | None, *, noise: Noise, alike: Groups = ()) -> HeldOut:
    """Hold out every task in turn; find the rank of its difference from the base, and from two bases of the others.

    Parameters
    ----------
    span
        The tasks, at least two.
    k
        Rank of the LoRA-ML shifts; None for the known starts alone. A base needs at least three other tasks.
    noise
        Noise of a task. A singular value counts if noise of the variance ``sigma^2 (1 + 2/n)`` cannot reach it: that of
        the task, and of a base with twice the error of a mean of n tasks; ``sigma^2`` where the base is known.
    alike
        Groups of tasks that are much closer to one another: those of the task's own are held out with it, and one task
        of each other group is left. Every task is its own group if not given.
    """
    parts = alike or tuple((t,) for t in range(span.T))
    others = [tuple(part[0] for part in parts if t not in part) for t in range(span.T)]
    few = min(map(len, others))
    fits = [_fit(span, rest, k, noise=noise) for rest in others] if k and few >= LEAST else []
    means = [np.mean(span.cores[list(rest)], axis=0) for rest in others]
    outside = [_outside_of_mean(span, t, rest, mean) for t, (rest, mean) in enumerate(zip(others, means, strict=True))]
    variance = 1 + BASE_ERROR / few
    return HeldOut(
        base=_from_base(span, noise),
        sr=_apart(span, means, outside, variance=variance, noise=noise),
        ml=_apart(span, [fit.A for fit in fits], outside, variance=variance, noise=noise) if fits else None,
        statuses=tuple(fit.status for fit in fits),
    )


def _fit(span: TaskSpan, tasks: Sequence[int], k: int, *, noise: Noise) -> SharedBase:
    """Fit the LoRA-ML base of some tasks, in the coordinates of the cores."""
    chosen = list(tasks)
    edge = noise.edge(span.shape, variance=2.0)
    return _fitted(span.cores[chosen], np.diag(span.gram)[chosen], k, edge=edge)[0]


def _outside_of_mean(span: TaskSpan, t: int, others: Sequence[int], mean: Array) -> float:
    """Return the energy outside of the cores of a task's difference from the mean of others."""
    weights = np.eye(span.T)[t]
    weights[list(others)] -= 1 / len(others)
    return float(weights @ span.gram @ weights - np.sum((span.cores[t] - mean) ** 2))


def _from_base(span: TaskSpan, noise: Noise) -> Apart | None:
    if span.base is None or span.shifts is None:
        return None
    outside = np.diag(span.shifts) - np.sum((span.cores - span.base) ** 2, axis=(1, 2))
    return _apart(span, [span.base] * span.T, [float(each) for each in outside], variance=1.0, noise=noise)


def _apart(
    span: TaskSpan, starts: Sequence[Array], outside: Sequence[float], *, variance: float, noise: Noise
) -> Apart:
    """Take the singular values of the tasks' differences from their starts within the cores, and the energy outside."""
    edge, ranks, left = noise.edge(span.shape, variance=variance), [], []
    for core, start, rest in zip(span.cores, starts, outside, strict=True):
        values = np.linalg.svd(core - start, compute_uv=False)
        ranks.append(int(np.sum(values > edge)))
        left.append(np.append(np.cumsum(values[::-1] ** 2)[::-1], 0.0) + _unseen(span, rest))
    return Apart(tuple(ranks), np.stack(left), variance * noise.sigma**2)


def _unseen(span: TaskSpan, outside: float) -> float:
    """Return the energy outside of the cores; rounding where they are all of the space."""
    return max(outside, 0.0) if span.Q is not None or span.P is not None else 0.0


def rank_for_share(left: Array, shape: tuple[int, int], *, share: float, variance: float, whole: float) -> int | None:
    r"""Return the least rank r that leaves at most a share of a residual, noise not counted.

        sum_{i > r} s_i^2 - v (p - r)(q - r) <= (1 - share) whole

    Parameters
    ----------
    left
        ``sum_{i > r} s_i^2`` for r = 0, 1, .., ``(ranks,)``.
    shape
        p and q.
    share
        Between 0 and 1.
    variance
        v, that of the noise in an entry.
    whole
        Energy without noise of the difference from the closest known start, to which the share refers for every start.

    Returns
    -------
    None where the known ranks do not suffice.

    Examples
    --------
    >>> rank_for_share(np.array([100.0, 30.0, 4.0, 0.0]), (3, 3), share=0.95, variance=0.0, whole=100.0)
    2
    """
    p, q = shape
    r = np.arange(len(left))
    signal = np.asarray(left) - variance * np.maximum(p - r, 0) * np.maximum(q - r, 0)
    enough = np.flatnonzero(signal <= (1 - share) * whole + 1e-12 * float(np.max(left)))
    return int(enough[0]) if enough.size else None
