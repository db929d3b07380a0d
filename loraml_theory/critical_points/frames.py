r"""Frames in which long isotropic critical points are short: F(G u; G v) = G F(u; v) for complex orthogonal G.

Factors may all be long and nearly parallel to one vector N with N^T N = 0, although their products ``u_t^T u_s`` are
not as large: near infinity on the cone of such vectors Newton's method needs more digits than float64 has. With
``b = conj(N)``, so ``N^T b = 1`` and ``b^T b = 0``, the boost

    G = I + (1/lambda - 1) N b^T + (lambda - 1) b N^T

is orthogonal; it shortens N and lengthens b by lambda. With lambda^2 the ratio of the parts along N and b, a long point
becomes about as short as its products allow, and the structure about as long as the point.
"""

from __future__ import annotations

from array_api_compat import device

from loraml_theory.critical_points.equations import outer, size
from loraml_theory.libraries import array_namespace
from loraml_theory.structure import Array, transpose

SHORTER = 0.5
"""A boost is worth while if the point becomes shorter than this times itself."""

ISOTROPIC = 0.5
"""Largest ``|w^T w|`` of the main direction of a point, a unit vector, that is taken for nearly isotropic."""

LARGEST = 1e10
"""Largest ratio of the parts along N and b that counts."""

SQUARINGS, CORRECTIONS = 5, 4
"""Of ``sum_t u_t u_t^H`` for its main direction w, and of w until it is isotropic; they converge cubically."""


def boost(u: Array) -> tuple[Array, Array]:
    """Return the boosts G of points, and where they are worth while, ``(P, T, m) -> (P, m, m), (P,)``.

    Elsewhere G is the identity. The rows of a boosted point or structure are ``u @ transpose(G)``.
    """
    xp = array_namespace(u)
    m = int(u.shape[-1])
    N = _main_direction(u)
    isotropic = xp.abs(xp.sum(N * N, axis=-1)) <= ISOTROPIC
    for _ in range(CORRECTIONS):
        N = _unit(N - xp.conj(N) * xp.sum(N * N, axis=-1, keepdims=True) / 2)
    b = xp.conj(N)
    along, across = (size(u @ part[..., None]) for part in (b, N))
    total = size(u) ** 2
    worth = isotropic & (total - (along - across) ** 2 < SHORTER**2 * total)
    ratio = xp.where(worth, along, xp.ones_like(along)) / xp.where(
        worth, xp.maximum(across, along / LARGEST), xp.ones_like(along)
    )
    stretch = xp.astype(xp.sqrt(ratio), u.dtype)[:, None, None]
    eye = xp.eye(m, dtype=u.dtype, device=device(u))
    return eye + (1 / stretch - 1) * outer(N, b) + (stretch - 1) * outer(b, N), worth


def _main_direction(u: Array) -> Array:
    """Return the unit vector along which the factors of a point mainly lie, ``(P, m)``."""
    xp = array_namespace(u)
    K = transpose(u) @ xp.conj(u)
    for _ in range(SQUARINGS):
        length = size(K)[:, None, None]
        K = K / xp.where(length > 0, length, xp.ones_like(length))
        K = K @ K
    entry = xp.arange(int(u.shape[-1]), dtype=xp.float64, device=device(u))
    return _unit((K @ xp.astype(xp.cos(entry * entry), u.dtype)[:, None])[..., 0])


def _unit(w: Array) -> Array:
    xp = array_namespace(w)
    length = size(w[:, None, :])[:, None]
    return w / xp.where(length > 0, length, xp.ones_like(length))
