"""Why a structure has fewer regular critical points than a generic one: some lie on sets of positive dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from loraml_theory.critical_points.enumeration import lost_ends
from loraml_theory.critical_points.equations import function, jacobian, size, spread
from loraml_theory.critical_points.start_sets import StartSet
from loraml_theory.libraries import array_namespace
from loraml_theory.structure import Array

if TYPE_CHECKING:
    from numpy.random import Generator

NULL = 1e-6
"""A singular value of the Jacobian below this share of the largest counts as zero."""

STEPS = 20
ON_SET = 1e-12
"""Largest residual of a critical point, relative to the cube of its size."""

FAR = 3.0
"""Longer ends, relative to the structure, do not count: near infinity even isolated points look degenerate."""

MOVED = 0.05
"""Length of a move along the kernel, relative to the point."""


class Degeneracy(NamedTuple):
    """Number of paths without a regular end, and of those that end on a set of positive dimension."""

    lost: int
    on_sets: int


def degeneracy(rng: Generator, v: Array, start: StartSet) -> Degeneracy:
    """Look where the paths of a structure end that have no regular end.

    Such an end is moved to the nearest critical point by Gauss–Newton steps. If there the Jacobian has a kernel, and a
    move along it leads, by such steps, to another critical point at about this distance, the end lies on a set of
    positive dimension. This is numerical evidence, not a proof.

    Parameters
    ----------
    rng
        Source of the arcs.
    v
        A structure, real, ``(T, m)``.
    start
        A start set of the same shape.
    """
    xp = array_namespace(v)
    scaled = v / size(v) * float(v.shape[0] * v.shape[1]) ** 0.5
    ends = lost_ends(rng, scaled, start)
    if int(ends.shape[0]) == 0:
        return Degeneracy(0, 0)
    Q = xp.astype(spread(scaled), ends.dtype)
    at = _nearest(ends, Q)
    values, rows = xp.linalg.svd(jacobian(at, Q))[1:]
    kernel = xp.reshape(xp.conj(rows[:, -1, :]), at.shape)
    moved = _nearest(at + MOVED * size(at)[:, None, None] * kernel, Q)
    distance = size(moved - at)
    singular = values[:, -1] <= NULL * values[:, 0]
    other = (distance >= MOVED * size(at) / 2) & (distance <= MOVED * size(at) * 2)
    both = singular & other & (size(at) <= FAR * size(scaled)) & _critical(at, Q) & _critical(moved, Q)
    return Degeneracy(int(ends.shape[0]), int(xp.sum(xp.astype(both, xp.int64))))


def _nearest(u: Array, Q: Array) -> Array:
    """Return the points after Gauss–Newton steps of least norm, ``(n, T, m)``."""
    xp = array_namespace(u)
    for _ in range(STEPS):
        F = xp.reshape(function(u, Q), (int(u.shape[0]), -1, 1))
        u = u - xp.reshape(xp.linalg.pinv(jacobian(u, Q), rtol=NULL) @ F, u.shape)
    return u


def _critical(u: Array, Q: Array) -> Array:
    return size(function(u, Q)) <= ON_SET * (1 + size(u) ** 3)
