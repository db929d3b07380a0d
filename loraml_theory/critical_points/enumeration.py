"""All critical points of structures at k = 1: paths from a start set, again and again until none is missing."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

from array_api_compat import device

from loraml_theory.critical_points.equations import outer, size, spread
from loraml_theory.critical_points.start_sets import StartSet
from loraml_theory.critical_points.tracking import TINY, Arc, newton_step, track
from loraml_theory.critical_points.valley import valley
from loraml_theory.libraries import array_namespace
from loraml_theory.structure import Array

if TYPE_CHECKING:
    from numpy.random import Generator

TOLERANCES = (2e-2, 1e-2, 1e-2, *(3e-3,) * 4, *(1e-3,) * 6)
"""Tolerances of the tracker, one for each attempt; every attempt takes other arcs."""

BULGE = 0.5
"""Standard deviation of an arc's bulge, relative to the structure's entries."""

POLISH = 4
"""Newton steps at the end of a path."""

CONVERGED = 1e-4
"""Largest last Newton step, relative to the point: of long points rounding leaves no more."""

NOISE, ROUNDING = 30.0, 1e-13
"""Two points are one if they differ by less than `NOISE` times their errors, which are the last Newton steps, but at
least `ROUNDING` relative to the point."""

FORMS = 3


class Enumeration(NamedTuple):
    """Critical points of B structures, one a sign orbit.

    Attributes
    ----------
    u
        The points, ``(B, N, T, m)``, complex; the first `found` of each structure are points, the others 0.
    found
        Number of different regular points, ``(B,)``; all if it is N, see docs/landscape.md.
    """

    u: Array
    found: Array


def enumerate_points(
    rng: Generator, v: Array, start: StartSet, *, tolerances: tuple[float, ...] = TOLERANCES
) -> Enumeration:
    """Find the critical points of structures.

    Parameters
    ----------
    rng
        Source of the arcs.
    v
        Structures, real, ``(B, T, m)``.
    start
        A start set of the same shape.
    tolerances
        Tolerance of each attempt, see `track`. The first is made for all structures, each other one for those that
        are not complete yet, and what it finds is added.

    Notes
    -----
    Every structure is scaled to the start's norm, so that units do not matter.
    """
    xp = array_namespace(v)
    B, (N, T, m) = int(v.shape[0]), start.u.shape
    unit = size(v)[:, None, None] / (T * m) ** 0.5
    scaled = v / unit
    u = xp.zeros((B, N, T, m), dtype=xp.complex128, device=device(v))
    error = xp.full((B, N), inf, dtype=v.dtype, device=device(v))
    found = xp.zeros(B, dtype=xp.int64, device=device(v))
    for tolerance in tolerances:
        todo = xp.nonzero(found < N)[0]
        if int(todo.shape[0]) == 0:
            break
        ends, accuracy = _attempt(rng, xp.take(scaled, todo, axis=0), start, tolerance)
        points = xp.concat([xp.take(u, todo, axis=0), ends], axis=1)
        errors = xp.concat([xp.take(error, todo, axis=0), accuracy], axis=1)
        errors = xp.where(distinct(points, errors), errors, xp.full_like(errors, inf))
        place = xp.argsort(xp.astype(~xp.isfinite(errors), xp.int64), axis=1, stable=True)[:, :N]
        rows = place + int(points.shape[1]) * xp.arange(int(todo.shape[0]), device=device(v))[:, None]
        chosen, width = xp.reshape(rows, (-1,)), int(todo.shape[0])
        u = _replaced(u, todo, xp.reshape(xp.take(xp.reshape(points, (-1, T, m)), chosen, axis=0), (width, N, T, m)))
        error = _replaced(error, todo, xp.reshape(xp.take(xp.reshape(errors, (-1,)), chosen, axis=0), (width, N)))
        found = xp.sum(xp.astype(xp.isfinite(error), xp.int64), axis=1)
    return Enumeration(u * unit[:, None, ...], found)


def distinct(u: Array, error: Array) -> Array:
    """Return which points are not the same, up to signs, as one before, ``(B, P, T, m), (B, P) -> (B, P)``.

    Parameters
    ----------
    u
        The points, told apart by a few linear forms of their shifts.
    error
        Error of each, absolute; infinite for what is not a point.
    """
    xp = array_namespace(u)
    B, P, T, m = (int(n) for n in u.shape)
    entry = xp.arange(T * m * m, dtype=xp.float64, device=device(u))
    forms = xp.stack([xp.cos(entry * entry + i) for i in range(FORMS)], axis=-1)
    seen = xp.reshape(outer(u, u), (B, P, -1)) @ xp.astype(forms, u.dtype)
    gap = xp.max(xp.abs(seen[:, :, None, :] - seen[:, None, :, :]), axis=-1)
    blur = NOISE * xp.where(xp.isfinite(error), error, xp.zeros_like(error)) * size(u) + TINY**4
    before = xp.arange(P, device=device(u))[:, None] > xp.arange(P, device=device(u))
    valid = xp.isfinite(error)
    same = (gap <= blur[:, :, None] + blur[:, None, :]) & before & valid[:, None, :]
    return valid & ~xp.any(same, axis=-1)


def lost_ends(rng: Generator, v: Array, start: StartSet) -> Array:
    """Return the last points of the paths to one structure ``(T, m)`` that have no regular end, ``(n, T, m)``."""
    xp = array_namespace(v)
    u, error = _attempt(rng, v[None, ...], start, TOLERANCES[-1])
    return xp.take(u[0, ...], xp.nonzero(~xp.isfinite(error[0, ...]))[0], axis=0)


def _attempt(rng: Generator, v: Array, start: StartSet, tolerance: float) -> tuple[Array, Array]:
    """Track the start set to every structure; return the ends ``(B, N, T, m)`` and errors, infinite where lost."""
    xp = array_namespace(v)
    B, (N, T, m) = int(v.shape[0]), start.u.shape
    bulge = xp.asarray(BULGE * rng.standard_normal((2, B, T, m)), device=device(v))
    parts = (
        xp.asarray(start.v, device=device(v)),
        xp.astype(v, xp.complex128),
        bulge[0, ...] + 1j * bulge[1, ...],
    )
    each = xp.reshape(xp.broadcast_to(xp.arange(B, device=device(v))[:, None], (B, N)), (-1,))
    arc = Arc(*(xp.take(xp.broadcast_to(part, (B, T, m)), each, axis=0) for part in parts))
    first = xp.reshape(xp.broadcast_to(xp.asarray(start.u, device=device(v)), (B, N, T, m)), (B * N, T, m))
    u, arrived = track(first, arc, tolerance=tolerance)
    Q, polished = spread(arc.end), u
    for _ in range(POLISH):
        step, _ = newton_step(polished, Q)
        polished = valley(polished, size(arc.end)).step(polished, -step)
    scale = size(polished) + TINY
    regular = arrived & (size(step) <= CONVERGED * scale)
    error = xp.where(regular, xp.clip(size(step), min=ROUNDING * scale), xp.full_like(scale, inf))
    u = xp.where(regular[:, None, None], polished, u)
    return xp.reshape(u, (B, N, T, m)), xp.reshape(error, (B, N))


def _replaced(whole: Array, rows: Array, by: Array) -> Array:
    """Return `whole` with some of its rows replaced."""
    xp = array_namespace(whole)
    size_, count = int(whole.shape[0]), int(rows.shape[0])
    source = xp.arange(size_, device=device(whole))
    hit = source[:, None] == rows
    index = xp.where(xp.any(hit, axis=1), size_ + xp.argmax(xp.astype(hit, xp.int64), axis=1), source)
    return xp.take(xp.concat([whole, by], axis=0), index, axis=0) if count else whole
