r"""The equations of the critical points of LoRA-ML at k = 1, with the base eliminated.

For vectors ``u_1..u_T`` and a structure ``v_1..v_T``, both of m coordinates, let

    Q(u)_t = T u_t u_t^T - sum_s u_s u_s^T,        F(u; v)_t = (Q(u)_t - Q(v)_t) u_t.

F is T/2 times the gradient of ``g(u) = 1/2 sum_t ||D_t - mean_s D_s||_F^2``, ``D_t = u_t u_t^T - v_t v_t^T``. Products
are bilinear, without conjugation, so all of these are polynomials, of complex vectors too. F does not change its zeros
under ``u_t -> -u_t`` of any single t.
"""

from __future__ import annotations

from array_api_compat import device

from loraml_theory.libraries import array_namespace
from loraml_theory.structure import Array, transpose


def outer(u: Array, v: Array) -> Array:
    """Return ``u_t v_t^T``, ``(..., m), (..., m) -> (..., m, m)``."""
    return u[..., :, None] * v[..., None, :]


def spread(u: Array) -> Array:
    """Return Q(u), ``(..., T, m) -> (..., T, m, m)``."""
    return int(u.shape[-2]) * outer(u, u) - (transpose(u) @ u)[..., None, :, :]


def function(u: Array, Q: Array) -> Array:
    """Return F, ``(..., T, m)``, for ``Q = Q(v)``."""
    return ((spread(u) - Q) @ u[..., None])[..., 0]


def jacobian(u: Array, Q: Array) -> Array:
    r"""Return dF/du, ``(..., T m, T m)``, symmetric: T/2 times the Hessian of g.

    dF_t[i] / du_s[j] = (T delta_ts - 1) (delta_ij u_t^T u_s + u_t[j] u_s[i]) + delta_ts (Q(u)_t - Q(v)_t)[i, j]
    """
    xp = array_namespace(u)
    T, m = (int(size) for size in u.shape[-2:])
    same_task, same_row = (xp.eye(size, dtype=u.dtype, device=device(u)) for size in (T, m))
    columns = transpose(u)
    J = (u @ columns)[..., :, None, :, None] * same_row[:, None, :]
    J = J + u[..., :, None, None, :] * columns[..., None, :, :, None]
    J = J * (T * same_task - 1)[:, None, :, None]
    J = J + (spread(u) - Q)[..., :, :, None, :] * same_task[:, None, :, None]
    return xp.reshape(J, (*u.shape[:-2], T * m, T * m))


def value(u: Array, v: Array) -> Array:
    """Return g(u), ``(..., T, m), (..., T, m) -> (...)``; a complex number where u is complex."""
    E = (spread(u) - spread(v)) / int(u.shape[-2])
    return array_namespace(u).sum(E * E, axis=(-3, -2, -1)) / 2


def size(u: Array) -> Array:
    """Return the Euclidean norm of all entries, ``(..., T, m) -> (...)``, real."""
    xp = array_namespace(u)
    return xp.sqrt(xp.sum(xp.abs(u) ** 2, axis=(-2, -1)))
