r"""Coordinates for critical points near infinity, where all factors are nearly one long vector.

Along ``u_t = eps_t w``, eps_t = ±1, the value of g does not depend on w, so critical points with ``eps_t u_t`` close to
one long vector lie in a long valley: Newton's method for u converges only next to them. With w the mean of
``eps_t u_t`` and ``a = c^T w`` for a fixed c,

    W = w / a,        sigma = a^{-2},        d_t = a (eps_t u_t - w)

are coordinates in which F is regular at infinity, sigma = 0, too: there ``u_t u_t^T - mean`` is of order 1.
"""

from __future__ import annotations

from typing import NamedTuple

from loraml_theory.critical_points.equations import size
from loraml_theory.libraries import array_namespace
from loraml_theory.structure import Array

LONG, NARROW = 2.5, 0.3
"""A point is in the valley if w is longer than this times the structure, and all ``eps_t u_t`` differ from it by less
than this share of it."""


class Valley(NamedTuple):
    """The coordinates of paths: signs eps ``(P, T, 1)``, c ``(P, 1, m)``, and which paths use them, ``(P,)``."""

    signs: Array
    c: Array
    inside: Array

    def step(self, u: Array, change: Array) -> Array:
        """Return u after a change that is linear in the coordinates, or in u for paths outside, ``(P, T, m)``."""
        here, slope = self._coordinates(u, change)
        return self._moved(u + change, tuple(x + dx for x, dx in zip(here, slope, strict=True)))

    def extrapolated(self, before: tuple[Array, Array], now: tuple[Array, Array], r: Array) -> Array:
        """Continue the cubic through two points with their slopes, per unit of their distance, by r, ``(P,)``."""
        r = r[:, None, None]
        plain = _cubic(before[0], before[1], now[0], now[1], r)
        y_before, slope_before = self._coordinates(*before)
        y, slope = self._coordinates(*now)
        return self._moved(
            plain, tuple(_cubic(*four, r) for four in zip(y_before, slope_before, y, slope, strict=True))
        )

    def _coordinates(self, u: Array, du: Array) -> tuple[tuple[Array, Array, Array], tuple[Array, Array, Array]]:
        """Return W, sigma and d at u, and their derivatives along du."""
        xp = array_namespace(u)
        e, de = self.signs * u, self.signs * du
        w, dw = (xp.mean(x, axis=-2, keepdims=True) for x in (e, de))
        a, da = (xp.sum(self.c * x, axis=-1, keepdims=True) for x in (w, dw))
        a = xp.where(self.inside[:, None, None], a, xp.ones_like(a))
        slope = dw / a - w * da / a**2, -2 * da / a**3, da * (e - w) + a * (de - dw)
        return (w / a, 1 / a**2, a * (e - w)), slope

    def _moved(self, outside: Array, y: tuple[Array, Array, Array]) -> Array:
        """Return the point of coordinates, or the other one for paths outside."""
        xp = array_namespace(outside)
        W, sigma, d = y
        wide = self.inside[:, None, None]
        a = 1 / xp.sqrt(xp.where(wide, sigma, xp.ones_like(sigma)))  # the branch with a positive real part, as at c^T w
        return xp.where(wide, self.signs * (a * W + d / a), outside)


def valley(u: Array, scale: Array) -> Valley:
    """Return the coordinates at points ``(P, T, m)`` of structures of size ``(P,)``."""
    xp = array_namespace(u)
    first = xp.sum(xp.real(xp.conj(u[:, :1, :]) * u), axis=-1, keepdims=True)
    signs = xp.where(first < 0, -xp.ones_like(first), xp.ones_like(first))
    w = xp.mean(signs * u, axis=-2, keepdims=True)
    length = size(w)
    wide = xp.where(length > 0, length, xp.ones_like(length))[:, None, None]
    inside = (length > LONG * scale) & (size(signs * u - w) < NARROW * length)
    return Valley(signs, xp.conj(w) / wide, inside)


def _cubic(before: Array, slope_before: Array, now: Array, slope: Array, r: Array) -> Array:
    step = now - before
    return now + r * (slope + r * ((2 * slope + slope_before - 3 * step) + r * (slope + slope_before - 2 * step)))
