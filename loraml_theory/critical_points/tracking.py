r"""Tracking of critical points from one structure to another, many paths at once.

Along an arc of structures ``v(s)``, s from 0 to 1, a regular critical point u moves as

    J(u; v) u' = -dF/ds,        dF/ds_t = -(dQ(v(s))_t / ds) u_t.

A step is predicted by the cubic through the last two points with their tangents, and corrected by two Newton steps; the
second one has its matrix in common with the next tangent. Every path has its own step size, its own coordinates x, see
`valley`, and its own orthogonal frame, see `frames`.
"""

from __future__ import annotations

from math import inf
from typing import Any, NamedTuple

from array_api_compat import device

from loraml_theory.critical_points.equations import outer, size, spread
from loraml_theory.critical_points.frames import boost
from loraml_theory.critical_points.valley import LONG, TINY, Chart, chart, plain_equations, valley_equations
from loraml_theory.libraries import array_namespace
from loraml_theory.structure import Array, transpose

FIRST, SMALLEST, LARGEST = 0.01, 1e-9, 0.2
"""First, smallest and largest step; a path that needs smaller ones is lost."""

MOST_STEPS = 800
RESOLVED = 1e-2
"""The second Newton step is at most this share of what the first one may be."""

LONGEST = 1e8
"""A path whose point is longer than this times the structure is lost: it goes to infinity."""


POLISH = 4
"""Newton steps at the end of a path."""

CONVERGED = 1e-4
"""Largest error of a point, relative to it: next to singular points, and of long ones, rounding leaves no more."""

ROUNDING = 1e-13
"""Least error of coordinates, relative to them."""


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
    """Last points of paths, ``(P, T, m)``, and their errors, absolute, infinite without a regular end, ``(P,)``."""

    u: Array
    error: Array


class _Paths(NamedTuple):
    """The state of paths under way: frame, the arc in it, coordinates, place, step, point, tangent, and those before.

    The frames ``(P, m, m)`` are the orthogonal matrices that were applied to the points and structures.
    """

    index: Array
    frame: Array
    arc: Arc
    chart: Chart
    s: Array
    h: Array
    x: Array
    slope: Array
    s_before: Array
    x_before: Array
    slope_before: Array


def track(u: Array, arc: Arc, *, tolerance: float) -> Ends:
    """Track critical points of ``arc.start`` to critical points of ``arc.end``, and polish these.

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
    ended: list[tuple[Array, ...]] = []
    for step in range(MOST_STEPS):
        paths = _advance(paths, tolerance)
        arrived = paths.s >= 1.0
        over = arrived | (paths.h < SMALLEST) | ~(size(paths.x) < LONGEST * (1 + size(paths.arc.end)))
        over = over | (step + 1 == MOST_STEPS)
        if bool(xp.any(over)):
            out, on = xp.nonzero(over)[0], xp.nonzero(~over)[0]
            ended.append(_some((paths.index, paths.x, *paths.chart, arrived, paths.frame), out))
            if int(on.shape[0]) == 0:
                break
            paths = _some(paths, on)
    index, *parts = (xp.concat(list(part), axis=0) for part in zip(*ended, strict=True))
    x, inside, signs, c, there, frame = _some(tuple(parts), xp.argsort(index))
    last = Chart(inside, signs, c).outwards(x, x)[0] @ frame
    return _polished(last, there, arc.end)


def _polished(last: Array, arrived: Array, v: Array) -> Ends:
    """Return the points after Newton steps; those of paths without a regular end as they are.

    The steps are in a frame that is made anew, since those along a path gather rounding.
    """
    xp = array_namespace(last)
    G, worth = boost(last)
    eye = xp.eye(int(last.shape[-1]), dtype=last.dtype, device=device(last))
    G = xp.where(worth[:, None, None], G, eye)
    turned, v = last @ transpose(G), v @ transpose(G)
    here = chart(turned, size(v))
    Q, (end, _) = spread(v), here.inwards(turned, turned)
    for _ in range(POLISH):
        step, _ = newton_step(end, here, Q, Q)
        end = end + step
    u, moved = here.outwards(end, step)
    scale, rounding = size(u) + TINY, ROUNDING * (here.blur(end) + size(G) ** 2)
    error = xp.maximum(size(moved) / scale, rounding)
    u = u @ G
    regular = arrived & (error <= CONVERGED)
    error = xp.where(regular, error * (size(u) + TINY), xp.full_like(error, inf))
    return Ends(xp.where(regular[:, None, None], u, last), error)


def newton_step(x: Array, here: Chart, Q: Array, dQ: Array) -> tuple[Array, Array]:
    """Return ``-J^{-1} F`` and, for ``dQ = dQ(v(s))/ds``, the tangent x', ``(P, T, m)`` each, all in coordinates."""
    xp = array_namespace(x)
    groups = [xp.nonzero(group)[0] for group in (~here.inside, here.inside)]
    plain, long = (_some((x, here.c, Q, dQ), group) for group in groups)
    systems = plain_equations(*plain), valley_equations(*long)
    value, J, along = (xp.concat(list(parts), axis=0) for parts in zip(*systems, strict=True))
    right = xp.stack([xp.reshape(part, (int(x.shape[0]), -1)) for part in (-value, along)], axis=-1)
    solved = xp.take(xp.linalg.solve(_never_singular(J), right), xp.argsort(xp.concat(groups)), axis=0)
    return xp.reshape(solved[..., 0], x.shape), xp.reshape(solved[..., 1], x.shape)


def _begin(u: Array, arc: Arc) -> _Paths:
    """Return paths at s = 0, with a point before on the tangent."""
    xp = array_namespace(u)
    zero = xp.zeros_like(xp.real(u[:, 0, 0]))
    here = chart(u, size(arc.end))
    x, _ = here.inwards(u, xp.zeros_like(u))
    slope = newton_step(x, here, *_moving(arc, zero))[1]
    index = xp.arange(int(u.shape[0]), device=device(u))
    frame = xp.broadcast_to(
        xp.eye(int(u.shape[-1]), dtype=u.dtype, device=device(u)), (int(u.shape[0]), *(int(u.shape[-1]),) * 2)
    )
    return _Paths(index, frame, arc, here, zero, zero + FIRST, x, slope, zero - FIRST, x - FIRST * slope, slope)


def _advance(paths: _Paths, tolerance: float) -> _Paths:
    """Take one step with every path; where it is refused, only its size changes."""
    xp = array_namespace(paths.x)
    h, scale = xp.minimum(paths.h, 1 - paths.s), size(paths.arc.end)
    s = xp.where(paths.h < 1 - paths.s, paths.s + h, xp.ones_like(h))
    Q, dQ = _moving(paths.arc, s)
    first, _ = newton_step(predicted := _predicted(paths, h), paths.chart, Q, dQ)
    rest, slope = newton_step(predicted + first, paths.chart, Q, dQ)
    x = predicted + first + rest
    miss = paths.chart.miss(x, first, scale)
    left = paths.chart.miss(x, rest, scale) / RESOLVED
    good = (miss <= tolerance) & (left <= tolerance)
    # the prediction's error is of fourth order in the step, and what one Newton step leaves of it of eighth
    worst = xp.maximum(miss, xp.sqrt(tolerance * left))
    wished = 0.8 * (tolerance / xp.clip(worst, min=1e-8 * tolerance)) ** 0.25
    factor = xp.where(good, xp.clip(wished, min=0.5, max=2.0), xp.clip(wished, min=0.1, max=0.5))
    factor = xp.where(xp.isfinite(factor), factor, xp.full_like(factor, 0.1))
    wide = good[:, None, None]
    moved = paths._replace(
        s=xp.where(good, s, paths.s),
        h=xp.clip(h * factor, max=LARGEST),
        x=xp.where(wide, x, paths.x),
        slope=xp.where(wide, slope, paths.slope),
        s_before=xp.where(good, paths.s, paths.s_before),
        x_before=xp.where(wide, paths.x, paths.x_before),
        slope_before=xp.where(wide, paths.slope, paths.slope_before),
    )
    if bool(xp.any(~moved.chart.inside & ((size(moved.x) > LONG * scale) | _framed(moved.frame)))):
        moved = _boosted(moved)
    valid = moved.chart.valid(moved.x, size(moved.arc.end))
    return moved if bool(xp.all(valid)) else _turned(moved, valid, size(moved.arc.end))


def _predicted(paths: _Paths, h: Array) -> Array:
    """Return the cubic through the last two points with their tangents, a step h further on."""
    gap, r = (paths.s - paths.s_before)[:, None, None], (h / (paths.s - paths.s_before))[:, None, None]
    step, slope, before = paths.x - paths.x_before, gap * paths.slope, gap * paths.slope_before
    return paths.x + r * (slope + r * ((2 * slope + before - 3 * step) + r * (slope + before - 2 * step)))


def _framed(frame: Array) -> Array:
    """Return which frames are not the first one, ``(P,)``."""
    xp = array_namespace(frame)
    return size(frame - xp.eye(int(frame.shape[-1]), dtype=frame.dtype, device=device(frame))) > 0


def _boosted(paths: _Paths) -> _Paths:
    """Change the frames in which points are much longer than they are in others; not in the valley."""
    xp = array_namespace(paths.x)
    G, worth = boost(paths.x)
    worth = (worth & ~paths.chart.inside)[:, None, None]

    def turned(rows: Array) -> Array:
        return xp.where(worth, rows @ transpose(G), rows)

    return paths._replace(
        frame=xp.where(worth, G @ paths.frame, paths.frame),
        arc=Arc(*map(turned, paths.arc)),
        **{name: turned(getattr(paths, name)) for name in ("x", "slope", "x_before", "slope_before")},
    )


def _turned(paths: _Paths, valid: Array, scale: Array) -> _Paths:
    """Change the coordinates of paths whose present ones are not valid."""
    xp = array_namespace(paths.x)
    now, before = (
        paths.chart.outwards(*pair) for pair in ((paths.x, paths.slope), (paths.x_before, paths.slope_before))
    )
    other = chart(now[0], scale)
    x, slope = other.inwards(*now)
    x_before, slope_before = other.inwards(*before)
    wide = valid[:, None, None]
    return paths._replace(
        chart=Chart(
            xp.where(valid, paths.chart.inside, other.inside),
            xp.where(wide, paths.chart.signs, other.signs),
            xp.where(wide, paths.chart.c, other.c),
        ),
        x=xp.where(wide, paths.x, x),
        slope=xp.where(wide, paths.slope, slope),
        x_before=xp.where(wide, paths.x_before, x_before),
        slope_before=xp.where(wide, paths.slope_before, slope_before),
    )


def _some(parts: tuple[Array, ...], index: Array) -> Any:
    """Return the same tuple of arrays, and of such tuples, with some of the rows."""
    take = array_namespace(index).take
    each = (_some(part, index) if isinstance(part, tuple) else take(part, index, axis=0) for part in parts)
    return type(parts)._make(each) if hasattr(parts, "_make") else tuple(each)


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
