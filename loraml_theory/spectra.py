"""Ranks, inertia and independence as floating point can know them: counted, bracketed, or undecided."""

from __future__ import annotations

from itertools import combinations
from math import inf
from typing import NamedTuple

from loraml_theory.libraries import array_namespace
from loraml_theory.structure import Array, joint_factor, transpose

INDEPENDENT = 1e-10
"""Separations above are independence; float64 resolves them to 6 digits."""

DEPENDENT = 1e-13
"""Separations below are rounding of exact dependence."""


class Bracket(NamedTuple):
    """A count between `low` and `high`, both int arrays; it is known where they are equal."""

    low: Array
    high: Array


class Inertia(NamedTuple):
    """Numbers of positive and negative eigenvalues."""

    positive: Bracket
    negative: Bracket


def rounding_level(scale: Array, d: int) -> Array:
    r"""Return ``8 sqrt(d) eps scale``, above the rounding of sums and products of matrices of norm `scale`.

    Singular values below it are indistinguishable from 0; ten times more is clearly not 0.
    """
    xp = array_namespace(scale)
    return 8 * d**0.5 * float(xp.finfo(scale.dtype).eps) * scale


def bracket(values: Array, level: Array) -> Bracket:
    """Count the values above ten times `level` (low) and above `level` (high) on the last axis."""
    xp = array_namespace(values)

    def count(cut: Array) -> Array:
        return xp.sum(xp.astype(values > cut[..., None], xp.int64), axis=-1)

    return Bracket(count(10 * level), count(level))


def numerical_rank(M: Array, level: Array) -> Bracket:
    """Return the rank of ``(..., m, n)`` given the level below which singular values are rounding."""
    return bracket(array_namespace(M).linalg.svdvals(M), level)


def inertia(M: Array, level: Array) -> Inertia:
    """Return the inertia of the symmetric part of ``(..., d, d)``."""
    values = array_namespace(M).linalg.eigvalsh((M + transpose(M)) / 2)
    return Inertia(bracket(values, level), bracket(-values, level))


def separation(U: Array) -> Array:
    r"""Return the smallest singular value of ``[U_1, ..., U_m]`` with columns of length one, ``(...)``.

    Zero if and only if the factors ``U``, ``(..., m, d, k)``, are jointly dependent; also where m k > d.
    Columns are normalised since independence does not depend on their lengths.
    """
    xp = array_namespace(U)
    joint = joint_factor(U)
    lengths = xp.sqrt(xp.sum(joint * joint, axis=-2, keepdims=True))
    joint = joint / xp.where(lengths > 0, lengths, xp.ones_like(lengths))
    if joint.shape[-1] > joint.shape[-2]:
        return xp.zeros_like(joint[..., 0, 0])
    return xp.linalg.svdvals(joint)[..., -1]


def best_triple_separation(U: Array) -> Array:
    """Return the largest `separation` over all triples of the tasks of ``U``, ``(..., T, d, k)``; T >= 3."""
    xp = array_namespace(U)
    if U.shape[-3] < 3:
        raise ValueError(f"U: got {U.shape[-3]} tasks, expected at least 3")
    best = xp.zeros_like(U[..., 0, 0, 0])
    for triple in combinations(range(U.shape[-3]), 3):
        best = xp.maximum(best, separation(xp.stack([U[..., t, :, :] for t in triple], axis=-3)))
    return best


def congruence_floor(factor: Array, smallest: Array | float) -> Array:
    r"""Return ``sigma_min(F)^2 smallest``, below every non-zero eigenvalue of ``F D F^T`` in modulus (Ostrowski).

    A dependent factor breaks the assumption behind the bound; it is then infinite, so that a theorem asserted there is
    judged.

    Parameters
    ----------
    factor
        F, ``(..., d, m)``.
    smallest
        Smallest modulus of a non-zero eigenvalue of D, a number or ``(...)``.
    """
    xp = array_namespace(factor)
    least = xp.linalg.svdvals(factor)[..., -1]
    dependent = separation(factor[..., None, :, :]) < DEPENDENT
    return xp.where(dependent, xp.full_like(least, inf), least**2 * smallest)
