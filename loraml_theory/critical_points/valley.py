r"""Coordinates for critical points near infinity, where all factors are nearly one long vector.

Along ``u_t = eps_t w``, eps_t = ±1, the value of g does not depend on w, so critical points with ``eps_t u_t`` close to
one long vector lie in a long valley, and the Jacobian's condition grows as the sixth power of its length. With w the
mean of ``eps_t u_t`` and ``a = c^T w`` for a fixed unit vector c, let

    W = w / a,        sigma = a^{-2},        d_t = a (eps_t u_t - w),        q_t = W + sigma d_t = eps_t u_t / a,

so c^T W = 1 and the d_t sum to 0. With ``B_t = (W + sigma d_t / 2) d_t^T + its transpose``,

    E_t = T B_t - sum_s B_s - Q(v)_t = Q(u)_t - Q(v)_t

is computed without cancellation. The E_t sum to 0, so the sum of the equations ``E_t q_t = 0`` is sigma times the
equation ``sum_t E_t d_t = 0``. With it in the place of the last one, the system is regular at infinity, sigma = 0, too.
The m + (T - 1) m unknowns are ``p = W - (1 - sigma) conj(c)``, from which ``sigma = c^T p``, and d_1..d_{T-1}.
"""

from __future__ import annotations

from typing import NamedTuple

from array_api_compat import device

from loraml_theory.critical_points.equations import function, jacobian, outer, size
from loraml_theory.libraries import array_namespace
from loraml_theory.structure import Array, transpose

LONG, NARROW, ANISOTROPIC = 2.5, 0.3, 0.2
"""A point is in the valley if w is longer than this times the structure, all ``eps_t u_t`` differ from it by less than
this share of it, and w^T w is at least this share of what it is for real w: near 0 the system is singular."""

LEAVE = 0.7
"""It is so until w is shorter, or the difference larger, than these by this factor."""

TINY = 1e-3
"""Size of a structure, in its own units, below which the size of a point does not matter."""

TURNED = 2.0
"""Length of W at which c is chosen anew; it is 1 where c is chosen."""


class Chart(NamedTuple):
    """Coordinates of paths: which are in the valley ``(P,)``, their signs eps ``(P, T, 1)`` and c ``(P, 1, m)``.

    The coordinates x, ``(P, T, m)``, of the others are the points themselves.
    """

    inside: Array
    signs: Array
    c: Array

    def inwards(self, u: Array, du: Array) -> tuple[Array, Array]:
        """Return the coordinates of points, and their derivatives along du."""
        xp = array_namespace(u)
        wide = self.inside[:, None, None]
        e, de = self.signs * u, self.signs * du
        w, dw = (xp.mean(y, axis=-2, keepdims=True) for y in (e, de))
        a, da = (xp.sum(self.c * y, axis=-1, keepdims=True) for y in (w, dw))
        a = xp.where(wide, a, xp.ones_like(a))
        p = w / a - (1 - 1 / a**2) * xp.conj(self.c)
        dp = dw / a - w * da / a**2 - 2 * da / a**3 * xp.conj(self.c)
        d, dd = a * (e - w), da * (e - w) + a * (de - dw)
        both = (p, d, u), (dp, dd, du)
        x, dx = (xp.where(wide, xp.concat([y, z[:, :-1, :]], axis=-2), plain) for y, z, plain in both)
        return x, dx

    def outwards(self, x: Array, dx: Array) -> tuple[Array, Array]:
        """Return the points of coordinates, and their derivatives along dx."""
        xp = array_namespace(x)
        wide = self.inside[:, None, None]
        W, sigma, d = parts(x, self.c)
        dW, dsigma, dd = parts(dx, self.c, constant=0)
        a = 1 / xp.sqrt(xp.where(wide, sigma, xp.ones_like(sigma)))
        da = -(a**3) * dsigma / 2
        u, du = a * W + d / a, da * W + a * dW + dd / a - d * da / a**2
        return xp.where(wide, self.signs * u, x), xp.where(wide, self.signs * du, dx)

    def miss(self, x: Array, dx: Array, scale: Array) -> Array:
        """Return the size of a change relative to that of a point, ``(P,)``; sigma to what it is at the entry."""
        xp = array_namespace(dx)
        dW, dsigma, dd = parts(dx, self.c, constant=0)
        sigma, d = xp.abs(dsigma[:, 0, 0]) * (LONG * scale) ** 2, size(dd) / (scale**2 + size(x[:, 1:, :]))
        narrow = xp.sqrt(size(dW) ** 2 + sigma**2 + d**2)
        return xp.where(self.inside, narrow, size(dx) / (size(x) + TINY * scale))

    def blur(self, x: Array) -> Array:
        """Return how much larger the relative error of a point is than that of its coordinates, at least 1."""
        xp = array_namespace(x)
        sigma = xp.abs(parts(x, self.c)[1][:, 0, 0])
        return xp.where(self.inside, 1 / xp.clip(sigma, min=1e-300, max=1.0), xp.ones_like(sigma))

    def valid(self, x: Array, scale: Array) -> Array:
        """Return for which paths these are still the right coordinates, ``(P,)``."""
        xp = array_namespace(x)
        W, sigma, d = parts(x, self.c)
        sigma, length = xp.abs(sigma[:, 0, 0]), size(W)
        near = (length >= LEAVE * LONG * scale * xp.sqrt(sigma)) & (LEAVE * size(d) * sigma <= NARROW * length)
        near = near & (length <= TURNED) & (_square(W) >= LEAVE * ANISOTROPIC * length**2)
        return xp.where(self.inside, near, ~chart(x, scale).inside)


def chart(u: Array, scale: Array) -> Chart:
    """Return the coordinates at points ``(P, T, m)`` of structures of size ``(P,)``."""
    xp = array_namespace(u)
    first = xp.sum(xp.real(xp.conj(u[:, :1, :]) * u), axis=-1, keepdims=True)
    signs = xp.where(first < 0, -xp.ones_like(first), xp.ones_like(first))
    w = xp.mean(signs * u, axis=-2, keepdims=True)
    length = size(w)
    wide = xp.where(length > 0, length, xp.ones_like(length))[:, None, None]
    inside = (length > LONG * scale) & (size(signs * u - w) < NARROW * length)
    inside = inside & (_square(w) >= ANISOTROPIC * length**2)
    return Chart(inside, signs, xp.conj(w) / wide)


def parts(x: Array, c: Array, *, constant: int = 1) -> tuple[Array, Array, Array]:
    """Return W, sigma and d of coordinates ``(..., T, m)``; with 0 for the constant, of a change of coordinates."""
    xp = array_namespace(x)
    p, d = x[..., :1, :], x[..., 1:, :]
    sigma = xp.sum(c * p, axis=-1, keepdims=True)
    d = xp.concat([d, -xp.sum(d, axis=-2, keepdims=True)], axis=-2)
    return p + (constant - sigma) * xp.conj(c), sigma, d


class Linear(NamedTuple):
    """The equations at points, ``(P, T, m)``, their derivative ``(P, T m, T m)``, and minus that along a dQ."""

    value: Array
    derivative: Array
    along: Array


def plain_equations(u: Array, _c: Array, Q: Array, dQ: Array) -> Linear:
    """Return F and its derivative with respect to u."""
    return Linear(function(u, Q), jacobian(u, Q), (dQ @ u[..., None])[..., 0])


def valley_equations(x: Array, c: Array, Q: Array, dQ: Array) -> Linear:
    """Return the equations of the valley and their derivative with respect to its coordinates."""
    xp = array_namespace(x)
    T, m = (int(n) for n in x.shape[-2:])
    W, sigma, d = parts(x, c)
    q = W + sigma * d
    E = _spread(W + sigma * d / 2, d) - Q
    eye = xp.reshape(xp.eye(T * m, dtype=x.dtype, device=device(x)), (T * m, T, m))
    dW, dsigma, dd = parts(eye, c[:, None, ...], constant=0)
    W, sigma, d, q_, E_ = (y[:, None, ...] for y in (W, sigma, d, q, E))
    dE = _spread(dW + dsigma * d / 2, d) + _spread(q_, dd)
    rise = _rows(dE, q_, d) + _rows(E_, dW + dsigma * d + sigma * dd, dd)
    derivative = transpose(xp.reshape(rise, (int(x.shape[0]), T * m, T * m)))
    return Linear(_rows(E, q, d[:, 0, ...]), derivative, _rows(dQ, q, d[:, 0, ...]))


def _square(w: Array) -> Array:
    """Return ``|w^T w|``, ``(P, 1, m) -> (P,)``."""
    xp = array_namespace(w)
    return xp.abs(xp.sum(w * w, axis=(-2, -1)))


def _spread(y: Array, z: Array) -> Array:
    """Return ``T B_t - sum_s B_s`` for ``B_t = y_t z_t^T + z_t y_t^T``, ``(..., T, m, m)``."""
    B = outer(y, z)
    B = B + transpose(B)
    return int(z.shape[-2]) * B - array_namespace(B).sum(B, axis=-3, keepdims=True)


def _rows(E: Array, q: Array, d: Array) -> Array:
    """Return ``E_t q_t`` for all t but the last, and ``sum_t E_t d_t``, ``(..., T, m)``."""
    xp = array_namespace(E)
    first = (E @ q[..., None])[..., :-1, :, 0]
    return xp.concat([first, xp.sum((E @ d[..., None])[..., 0], axis=-2, keepdims=True)], axis=-2)
