"""All critical points of structures at k = 1: paths from a start set, again until none is missing."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

from array_api_compat import device

from loraml_theory.critical_points.equations import outer, size
from loraml_theory.critical_points.start_sets import StartSet
from loraml_theory.critical_points.tracking import Arc, track
from loraml_theory.critical_points.valley import TINY
from loraml_theory.libraries import array_namespace
from loraml_theory.structure import Array

if TYPE_CHECKING:
    from numpy.random import Generator

ARCS = 12
"""Number of arcs at most; each other one is for the structures that are not complete yet."""

TOLERANCES = (2e-2, 3e-3)
"""Tolerances of the tracker: the first for all paths of an arc, the other for those that end where another one does."""

BULGE = 0.5
"""Standard deviation of an arc's bulge, relative to the structure's entries."""

NOISE = 30.0
"""Two points are one if they differ by less than this times their errors, see `track`."""

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
    rng: Generator, v: Array, start: StartSet, *, tolerances: tuple[float, ...] = TOLERANCES, arcs: int = ARCS
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
    tolerances, arcs
        See `TOLERANCES` and `ARCS`.

    Notes
    -----
    Every structure is scaled to the start's norm, so that units do not matter. What an arc finds is added to what those
    before found.
    """
    xp = array_namespace(v)
    B, (N, T, m) = int(v.shape[0]), start.u.shape
    unit = size(v)[:, None, None] / (T * m) ** 0.5
    scaled = v / unit
    u = xp.zeros((B, N, T, m), dtype=xp.complex128, device=device(v))
    error = xp.full((B, N), inf, dtype=v.dtype, device=device(v))
    found = xp.zeros(B, dtype=xp.int64, device=device(v))
    for _ in range(arcs):
        todo = xp.nonzero(found < N)[0]
        if int(todo.shape[0]) == 0:
            break
        ends, accuracy = _arc(rng, xp.take(scaled, todo, axis=0), start, tolerances)
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
    before = xp.arange(int(u.shape[1]), device=device(u))
    return xp.isfinite(error) & ~xp.any(_same(u, error) & (before[:, None] > before), axis=-1)


def lost_ends(rng: Generator, v: Array, start: StartSet) -> Array:
    """Return the last points of the paths to one structure ``(T, m)`` that have no regular end, ``(n, T, m)``."""
    xp = array_namespace(v)
    u, error = _arc(rng, v[None, ...], start, TOLERANCES[-1:])
    return xp.take(u[0, ...], xp.nonzero(~xp.isfinite(error[0, ...]))[0], axis=0)


def _same(u: Array, error: Array) -> Array:
    """Return which points are the same up to signs, ``(B, P, P)``."""
    xp = array_namespace(u)
    B, P, T, m = (int(n) for n in u.shape)
    entry = xp.arange(T * m * m, dtype=xp.float64, device=device(u))
    forms = xp.stack([xp.cos(entry * entry + i) for i in range(FORMS)], axis=-1)
    seen = xp.reshape(outer(u, u), (B, P, -1)) @ xp.astype(forms, u.dtype)
    gap = xp.max(xp.abs(seen[:, :, None, :] - seen[:, None, :, :]), axis=-1)
    valid = xp.isfinite(error)
    blur = NOISE * xp.where(valid, error, xp.zeros_like(error)) * size(u) + TINY**4
    return (gap <= blur[:, :, None] + blur[:, None, :]) & valid[:, :, None] & valid[:, None, :]


def _arc(rng: Generator, v: Array, start: StartSet, tolerances: tuple[float, ...]) -> tuple[Array, Array]:
    """Track the start set along one arc to every structure.

    Returns
    -------
    The ends ``(B, N, T, m)`` and their errors, infinite where a path is lost.
    """
    xp = array_namespace(v)
    B, (N, T, m) = int(v.shape[0]), start.u.shape
    bulge = xp.asarray(BULGE * rng.standard_normal((2, B, T, m)), device=device(v))
    ways = xp.broadcast_to(xp.asarray(start.v, device=device(v)), (B, T, m)), v + 0j, bulge[0, ...] + 1j * bulge[1, ...]
    first = xp.asarray(start.u, device=device(v))
    paths = xp.arange(B * N, device=device(v))
    u = xp.zeros((B * N, T, m), dtype=first.dtype, device=device(v))
    error = xp.full((B * N,), inf, dtype=v.dtype, device=device(v))
    for tolerance in tolerances:
        arc = Arc(*(xp.take(part, paths // N, axis=0) for part in ways))
        ends, errors = track(xp.take(first, paths % N, axis=0), arc, tolerance=tolerance)
        u, error = _replaced(u, paths, ends), _replaced(error, paths, errors)
        same = _same(xp.reshape(u, (B, N, T, m)), xp.reshape(error, (B, N)))
        paths = xp.nonzero(xp.reshape(xp.sum(xp.astype(same, xp.int64), axis=-1) > 1, (-1,)))[0]
        if int(paths.shape[0]) == 0:
            break
    return xp.reshape(u, (B, N, T, m)), xp.reshape(error, (B, N))


def _replaced(whole: Array, rows: Array, by: Array) -> Array:
    """Return `whole` with some of its rows, each named once, replaced."""
    xp = array_namespace(whole)
    every = xp.arange(int(whole.shape[0]), device=device(whole))
    named = xp.concat([every, rows])
    order = xp.argsort(named, stable=True)
    last = xp.searchsorted(xp.take(named, order), every, side="right") - 1
    return xp.take(xp.concat([whole, by], axis=0), xp.take(order, last), axis=0)
