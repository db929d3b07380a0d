r"""Tracking of critical points from one structure to another, many paths at once.

Along an arc of structures ``v(s)``, s from 0 to 1, a regular critical point u moves as

    J(u; v) u' = -dF/ds,        dF/ds_t = -(dQ(v(s))_t / ds) u_t.

A step is predicted by the cubic through the last two points with their tangents, and corrected by two Newton steps; the
second one has its matrix in common with the next tangent. Every path has its own step size.
"""

from __future__ import annotations

from typing import NamedTuple

from array_api_compat import device

from loraml_theory.critical_points.equations import function, jacobian, outer, size, spread
from loraml_theory.critical_points.valley import valley
from loraml_theory.libraries import array_namespace
from loraml_theory.structure import Array, transpose

FIRST, SMALLEST, LARGEST = 0.01, 1e-9, 0.2
"""First, smallest and largest step; a path that needs smaller ones is lost."""

MOST_STEPS = 600
RESOLVED = 1e-2
"""The second Newton step is at most this share of what the first one may be."""

LONGEST = 1e8
"""A path whose point is longer than this times the structure is lost: it goes to infinity."""

TINY = 1e-3
"""Size of a structure, in its own units, below which the size of a point does not matter."""


class Arc(NamedTuple):
    """Structures ``v(s) = (1 - s) start + s end + s (1 - s) bulge``, complex, ``(P, T, m)`` each."""

    start: Array
    end: Array
    bulge: Array

    def at(self, s: Array) -> tuple[Array, Array]:
        """Return v(s) and dv/ds, ``(P,) -> (P, T, m)``."""
        s = s[:, None, None]
        v = (1 - s) * self.start + s * self.end + s * (1 - s) * self.bulge
        return v, self.end - self.start + (1 - 2 * s) * self.bulge


class Ends(NamedTuple):
    """Last points of paths, ``(P, T, m)``, and whether they arrived at the end of the arc, ``(P,)``."""

    u: Array
    arrived: Array


class _Paths(NamedTuple):
    """The state of paths under way: arc, place, step, point and tangent, and the same one step before."""

    index: Array
    arc: Arc
    s: Array
    h: Array
    u: Array
    slope: Array
    s_before: Array
    u_before: Array
    slope_before: Array

    def some(self, index: Array) -> _Paths:
        take = array_namespace(self.u).take
        arc = Arc(*(take(part, index, axis=0) for part in self.arc))
        return _Paths(*(arc if part is self.arc else take(part, index, axis=0) for part in self))


def track(u: Array, arc: Arc, *, tolerance: float) -> Ends:
    """Track critical points of ``arc.start`` to critical points of ``arc.end``.

    Parameters
    ----------
    u
        Critical points of the start, complex, ``(P, T, m)``.
    arc
        The structures that each passes.
    tolerance
        Largest change of a point, relative to its size, by the first Newton step that corrects a prediction.
    """
    xp = array_namespace(u)
    paths = _begin(u, arc)
    ended: list[tuple[Array, Array, Array]] = []
    for step in range(MOST_STEPS):
        paths = _advance(paths, tolerance)
        arrived = paths.s >= 1.0
        over = arrived | (paths.h < SMALLEST) | ~(size(paths.u) < LONGEST * (1 + size(paths.arc.end)))
        over = over | (step + 1 == MOST_STEPS)
        if bool(xp.any(over)):
            out, on = xp.nonzero(over)[0], xp.nonzero(~over)[0]
            ended.append(tuple(xp.take(part, out, axis=0) for part in (paths.index, paths.u, arrived)))
            if int(on.shape[0]) == 0:
                break
            paths = paths.some(on)
    index, ends, there = (xp.concat(list(parts), axis=0) for parts in zip(*ended, strict=True))
    order = xp.argsort(index)
    return Ends(xp.take(ends, order, axis=0), xp.take(there, order, axis=0))


def newton_step(u: Array, Q: Array, dQ: Array | None = None) -> tuple[Array, Array]:
    """Return ``J^{-1} F`` and, for ``dQ = dQ(v(s))/ds``, the tangent u', ``(P, T, m)`` each."""
    xp = array_namespace(u)
    flat = (int(u.shape[0]), -1)
    right = [xp.reshape(function(u, Q), flat)]
    if dQ is not None:
        right.append(xp.reshape((dQ @ u[..., None])[..., 0], flat))
    solved = xp.linalg.solve(_never_singular(jacobian(u, Q)), xp.stack(right, axis=-1))
    return xp.reshape(solved[..., 0], u.shape), xp.reshape(solved[..., -1], u.shape)


def _begin(u: Array, arc: Arc) -> _Paths:
    """Return paths at s = 0, with a point before on the tangent."""
    xp = array_namespace(u)
    zero = xp.zeros_like(xp.real(u[:, 0, 0]))
    slope = newton_step(u, *_moving(arc, zero))[1]
    index = xp.arange(int(u.shape[0]), device=device(u))
    return _Paths(index, arc, zero, zero + FIRST, u, slope, zero - FIRST, u - FIRST * slope, slope)


def _advance(paths: _Paths, tolerance: float) -> _Paths:
    """Take one step with every path; where it is refused, only its size changes."""
    xp = array_namespace(paths.u)
    h = xp.minimum(paths.h, 1 - paths.s)
    s = xp.where(paths.h < 1 - paths.s, paths.s + h, xp.ones_like(h))
    Q, dQ = _moving(paths.arc, s)
    gap = (paths.s - paths.s_before)[:, None, None]
    bent = valley(paths.u, size(paths.arc.end))
    now, before = (paths.u, gap * paths.slope), (paths.u_before, gap * paths.slope_before)
    predicted = bent.extrapolated(before, now, h / gap[:, 0, 0])
    first, _ = newton_step(predicted, Q)
    nearer = bent.step(predicted, -first)
    rest, slope = newton_step(nearer, Q, dQ)
    u = bent.step(nearer, -rest)
    scale = size(u) + TINY * size(paths.arc.end)
    miss = size(first) / scale
    good = (miss <= tolerance) & (size(rest) / scale <= RESOLVED * tolerance)
    # the prediction's error is of fourth order in the step
    wished = 0.8 * (tolerance / xp.clip(miss, min=1e-8 * tolerance)) ** 0.25
    factor = xp.where(good, xp.clip(wished, min=0.5, max=2.0), xp.clip(wished, min=0.1, max=0.5))
    factor = xp.where(xp.isfinite(factor), factor, xp.full_like(factor, 0.1))
    wide = good[:, None, None]
    return paths._replace(
        s=xp.where(good, s, paths.s),
        h=xp.clip(h * factor, max=LARGEST),
        u=xp.where(wide, u, paths.u),
        slope=xp.where(wide, slope, paths.slope),
        s_before=xp.where(good, paths.s, paths.s_before),
        u_before=xp.where(wide, paths.u, paths.u_before),
        slope_before=xp.where(wide, paths.slope, paths.slope_before),
    )


def _moving(arc: Arc, s: Array) -> tuple[Array, Array]:
    """Return Q(v(s)) and its derivative, ``(P, T, m, m)`` each."""
    v, dv = arc.at(s)
    turn = outer(v, dv)
    turn = turn + transpose(turn)
    return spread(v), int(v.shape[-2]) * turn - array_namespace(v).sum(turn, axis=-3, keepdims=True)


def _never_singular(J: Array) -> Array:
    """Return J with its diagonal turned by about a rounding, since solvers refuse exactly singular matrices."""
    xp = array_namespace(J)
    rounding = 1e-16j * (1e-300 + xp.max(xp.abs(J), axis=(-2, -1)))[:, None, None]
    return J + rounding * xp.eye(int(J.shape[-1]), dtype=J.dtype, device=device(J))
