r"""Whether tasks' shifts share a part, by more than chance, and whether some tasks are much closer than others.

From a base B that the tasks were fine-tuned from, ``S_t = W_t - B``. Another base A can lower the rank that a new task
needs only if the tasks' shifts have a part in common: then most of their inner products are positive. Shifts whose
directions are random have inner products around zero. NumPy arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import connected_components
from scipy.stats import binom, norm

from loraml_theory.statistics.shared_base import shift_sizes
from loraml_theory.statistics.task_span import TaskSpan
from loraml_theory.structure import Array

APART = 2.0
"""Tasks form groups if every two of different groups are at least this many times as far apart as neighbours within."""
CLEAR = 3.0
"""Tasks are neighbours only if the z-value of their alignment, where it is known, is at least this."""
NOTHING = 1e-12
"""Relative distance of tasks that are the same."""

Groups = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, eq=False)
class Alignment:
    r"""Inner products of the tasks' shifts, and their variances by chance.

    Where S_t keeps its singular values and its rows (or its columns), and its directions on the other side are turned
    at random among the m that all tasks use (see `_directions`), ``<S_t, S_s>`` has mean 0 and the variance
    ``||S_t^T S_s||_F^2 / m`` (or ``||S_t S_s^T||_F^2 / m``). The larger of the two is taken; turned on both sides it
    would be smaller still.

    Parameters
    ----------
    products
        ``<S_t, S_s>``, ``(T, T)``.
    variances
        ``(T, T)``.
    """

    products: Array
    variances: Array

    def cosines(self) -> Array:
        """Return the cosines of the angles between shifts, ``(T, T)``; 0 where a task has no shift."""
        sizes = np.sqrt(np.diag(self.products))
        return _over(self.products, np.outer(sizes, sizes))

    def z(self) -> Array:
        """Return the inner products over their standard deviations by chance, ``(T, T)``."""
        return _over(self.products, np.sqrt(self.variances))

    def chance(self, tasks: Sequence[int]) -> float:
        """Return the probability that most pairs of these tasks are by chance as well aligned as most are.

        The inner products of different pairs are uncorrelated, and taken as independent and normal: the z-value that
        more than half of the n pairs reach is reached by as many with the tail of a binomial law.
        """
        pairs = np.triu_indices(len(tasks), 1)
        z = np.sort(self.z()[np.ix_(tasks, tasks)][pairs])
        reached = len(z) // 2 + 1
        return float(binom.sf(reached - 1, len(z), norm.sf(z[len(z) - reached]))) if len(z) else 1.0


def alignment(span: TaskSpan) -> Alignment | None:
    """Compare the shifts of all pairs of tasks; None where their base is not known."""
    if span.base is None or span.shifts is None:
        return None
    S = (span.cores - span.base) / max(span.scale, 1e-300)
    turned = np.swapaxes(S, 1, 2)
    variances = np.zeros((span.T, span.T))
    for t in range(span.T):
        left = np.sum((turned[t] @ S) ** 2, axis=(1, 2)) / max(_directions(S), 1.0)
        right = np.sum((S[t] @ turned) ** 2, axis=(1, 2)) / max(_directions(turned), 1.0)
        variances[t] = np.maximum(left, right) * span.scale**4
    # What a task that is the base keeps of a shift is rounding, of the size of the other tasks' products.
    shifted = np.diag(span.shifts) > NOTHING * np.max(np.diag(span.gram))
    kept = np.outer(shifted, shifted)
    return Alignment(np.where(kept, span.shifts, 0.0), np.where(kept, variances, 0.0))


def together(found: Sequence[Alignment]) -> Alignment | None:
    """Return the alignment of several matrices as one; None of none."""
    if not found:
        return None
    return Alignment(
        np.sum([each.products for each in found], axis=0), np.sum([each.variances for each in found], axis=0)
    )


def _directions(S: Array) -> float:
    r"""Return the number of directions of all columns, ``(sum_i l_i)^2 / sum_i l_i^2``, l of ``sum_t S_t S_t^T``."""
    K = np.einsum("tij,tkj->ik", S, S)
    return float(np.trace(K) ** 2 / max(np.sum(K**2), 1e-300))


def distances(span: TaskSpan) -> tuple[Array, Array]:
    r"""Return ``||W_t - W_s||_F^2``, ``(T, T)``, and the energies of the shifts, ``(T,)``.

    Without a base the energies are those of independent shifts; three tasks do not determine them: all are then equal.
    """
    squares = np.diag(span.gram)
    apart = np.maximum(squares[:, None] + squares - 2 * span.gram, 0.0)
    if span.shifts is not None:
        return apart, np.diag(span.shifts)
    return apart, shift_sizes(np.sqrt(squares)) ** 2 if span.T > 3 else np.full(span.T, np.mean(squares))


def groups(apart: Array, energies: Array, aligned: Alignment | None = None) -> Groups:
    """Return the clearest grouping of tasks by distance, relative to what independent shifts would have.

    Parameters
    ----------
    apart, energies
        See `distances`; sums over matrices.
    aligned
        The alignment of the tasks, if their base is known.

    Returns
    -------
    Groups of indices in order; one for each task where no grouping is clear.

    Examples
    --------
    >>> groups(np.array([[0.0, 0.1, 2.0], [0.1, 0.0, 2.0], [2.0, 2.0, 0.0]]), np.ones(3))
    ((0, 1), (2,))
    """
    relative = _over(apart, energies[:, None] + energies)
    T = len(relative)
    clear = np.full((T, T), True) if aligned is None else (aligned.z() >= CLEAR) | (relative < NOTHING)
    best, found = APART, np.arange(T)
    for height in np.unique(relative[np.triu_indices(T, 1)]):
        labels = connected_components((relative <= height) & clear, directed=False)[1]
        across = relative[labels[:, None] != labels]
        if across.size and np.min(across) >= best * max(height, NOTHING):
            best, found = float(np.min(across)) / max(height, NOTHING), labels
    return tuple(sorted(tuple(np.flatnonzero(found == label).tolist()) for label in np.unique(found)))


def _over(numerator: Array, denominator: Array) -> Array:
    """Divide; 0 over 0 is 0."""
    found: Array = numerator / np.where(denominator > 0, denominator, 1.0)
    return found
