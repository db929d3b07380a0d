r"""Filters of low-rank factors, each named for what it is, with what it does to singular values (CL-9 to CL-12).

The shift is ``B A`` with `A` wide, ``(..., r, n)``, and `B` tall, ``(..., m, r)``, as in peft; DEAL (X. Han et al.,
*Data Efficient Adaptation in Large Language Models via Continuous Low-Rank Fine-Tuning*) writes ``A B^T`` for the same.

Every filter is array-API code without singular vectors, so that automatic differentiation of torch tensors has no
quotient of differences of singular values in it and is finite where singular values coincide. Any real dtype will do.
"""

from __future__ import annotations

from array_api_compat import device

from loraml_theory.libraries import array_namespace
from loraml_theory.structure import Array, frobenius, transpose

TERMS = 14  # of the series of exp(X) - I at ||X||_F <= 1/2: the next is below 2^-15 / 15! < 1e-16


def haar_low_band(M: Array) -> Array:
    r"""Return the low-low band of the one-level 2-D Haar transform, ``(..., m, n) -> (..., ceil(m/2), ceil(n/2))``.

        L[i, j] = 1/2 (M[2i, 2j] + M[2i, 2j+1] + M[2i+1, 2j] + M[2i+1, 2j+1])

    Odd sizes are padded with one row or column of zeros. The transform is orthogonal, so ``||L||_F <= ||M||_F``.
    """
    _require_matrix("M", M)
    xp = array_namespace(M)
    rows, columns = (-(-int(size) // 2) for size in M.shape[-2:])
    M = _padded(M, 2 * rows - M.shape[-2], axis=-2)
    M = _padded(M, 2 * columns - M.shape[-1], axis=-1)
    blocks = xp.reshape(M, (*M.shape[:-2], rows, 2, columns, 2))
    return xp.sum(blocks, axis=(-3, -1)) / 2


def haar(A: Array, theta: Array) -> Array:
    r"""Multiply the low-low band of the 2-D Haar transform by `theta` and transform back: DEAL's filter as released.

        haar(A, theta) = A + P^T ((theta - 1) * L) Q,   L = P A Q^T,

    P and Q the averages over pairs of rows and of columns, divided by sqrt(2); the detail bands stay. It changes A by
    a matrix of rank at most ``ceil(r/2)`` and of Frobenius norm at most ``max|theta - 1| ||A||_F``, so that no singular
    value moves by more than that; at ``theta = 1`` it returns A exactly (CL-12).

    Parameters
    ----------
    A
        ``(..., r, n)``, of any shape; odd sizes are padded with zeros, and cut again.
    theta
        ``(..., ceil(r/2), ceil(n/2))``, or a shape that broadcasts to it.

    Raises
    ------
    ValueError
        If A is not a matrix, or `theta` does not fit.
    """
    band = haar_low_band(A)
    xp = array_namespace(A)
    if not _broadcasts(theta.shape, band.shape):
        raise ValueError(f"theta: got shape {tuple(theta.shape)}, expected {tuple(band.shape)}, the low-low band of A")
    change = (theta - 1) * band / 2
    *batch, rows, columns = band.shape
    blocks = xp.broadcast_to(change[..., :, None, :, None], (*batch, rows, 2, columns, 2))
    return A + xp.reshape(blocks, (*batch, 2 * rows, 2 * columns))[..., : A.shape[-2], : A.shape[-1]]


def diagonal(A: Array, g: Array) -> Array:
    r"""Scale the columns of A, ``A diag(g)``: what remains of DEAL's equation 10 once its kernels cancel (CL-10).

    Its singular values obey ``min|g| sigma_i(A) <= sigma_i(A diag(g)) <= max|g| sigma_i(A)``. On the input side of the
    shift, which the columns of A are, it is ``B A diag(g)`` in every gauge (CL-11); to scale the output side, pass
    ``B^T``.

    Parameters
    ----------
    A
        ``(..., r, n)``.
    g
        ``(..., n)``.

    Raises
    ------
    ValueError
        If A is not a matrix, or g does not fit.
    """
    _require_matrix("A", A)
    if g.ndim < 1 or g.shape[-1] != A.shape[-1]:
        raise ValueError(f"g: got shape {tuple(g.shape)}, expected (..., {A.shape[-1]}), one number per column of A")
    return A * g[..., None, :]


def wiener(Y: Array, sigma: Array | float) -> Array:
    r"""Subtract noise of a known level from every singular value of a tall factor: DEAL's equation 7 (CL-9).

        wiener(Y, sigma) = sum_k ((s_k^2 - sigma^2) / s_k) u_k v_k^T = Y (I - sigma^2 (Y^T Y)^{-1})

    with ``Y = sum_k s_k u_k v_k^T``.
    It maps the singular value s to ``s - sigma^2 / s``. At ``sigma <= min_k s_k``, which DEAL's equation 6 implies,
    that lies between 0 and s; beyond, small singular values change sign and grow, as the equation has it. Y needs full
    column rank: a zero singular value has no image.

    Parameters
    ----------
    Y
        ``(..., m, r)`` with m >= r: for the wide A pass its transpose.
    sigma
        Standard deviation of the noise in the sense ``D^T D = sigma^2 I``, a number or ``(...)``; `noise_level` if it
        is not known.

    Raises
    ------
    ValueError
        If Y is not tall.
    """
    _require_tall(Y)
    xp = array_namespace(Y)
    Q, R = xp.linalg.qr(Y)
    level = sigma if isinstance(sigma, int | float) else sigma[..., None, None]
    return Y - level**2 * transpose(xp.linalg.solve(R, transpose(Q)))


def noise_level(Y: Array) -> Array:
    """Return the largest sigma at which `wiener` changes no sign: the smallest singular value of Y, ``(...)``.

    Under ``Y = X + D``, ``D^T D = sigma^2 I`` and ``X^T D = 0`` it is sigma exactly wherever X has dependent columns.

    Raises
    ------
    ValueError
        If Y is not tall.
    """
    _require_tall(Y)
    return array_namespace(Y).linalg.svdvals(Y)[..., -1]


def heat(A: Array, B: Array, s: Array | float) -> Array:
    r"""Return the A that makes ``B A`` the shift with damped small singular values, ``x -> x (1 - exp(-s x^2))``.

        heat(A, B, s) = (I - exp(-s (A A^T)(B^T B))) A,

    since ``M (I - exp(-s M^T M))`` has these singular values and ``A f(A^T B^T B A) = f(A A^T B^T B) A``. One r x r
    exponential and products of ``(m + n) r^2``; the shift is a function of B A alone, in every gauge, and A moves with
    the gauge as it did (CL-11). A reading of DEAL's "heat kernel", not its equation 10.

    At ``B = 0`` or ``A = 0`` the result is 0 and its derivative as well: the filter acts like ``s x^3`` there.

    Parameters
    ----------
    A, B
        ``(..., r, n)`` and ``(..., m, r)``.
    s
        Inverse square of the singular value that is damped by 63 %, >= 0, a number or ``(...)``.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    _require_matrix("A", A)
    if B.ndim < 2 or B.shape[-1] != A.shape[-2]:
        raise ValueError(
            f"A, B: got shapes {tuple(A.shape)} and {tuple(B.shape)}, expected (..., r, n) and (..., m, r)"
        )
    time = s if isinstance(s, int | float) else s[..., None, None]
    return -_expm1(-time * ((A @ transpose(A)) @ (transpose(B) @ B))) @ A


def _expm1(X: Array) -> Array:
    """Return ``exp(X) - I`` by its Taylor series at X / 2^j and j steps of ``E(2X) = E(X)^2 + 2 E(X)``."""
    xp = array_namespace(X)
    norm = frobenius(X)
    norm = xp.max(xp.where(xp.isfinite(norm), norm, xp.zeros_like(norm))) if 0 not in norm.shape else 0 * xp.sum(norm)
    halvings = int(xp.astype(xp.ceil(xp.log2(1 + 2 * norm)), xp.int64))  # whole numbers have no derivative to lose
    X = X / 2.0**halvings
    E = X / TERMS
    for order in range(TERMS - 1, 0, -1):
        E = (X + X @ E) / order
    for _ in range(halvings):
        E = E @ E + 2 * E
    return E


def _padded(M: Array, missing: int, *, axis: int) -> Array:
    if not missing:
        return M
    xp = array_namespace(M)
    shape = list(M.shape)
    shape[axis] = missing
    return xp.concat([M, xp.zeros(tuple(shape), dtype=M.dtype, device=device(M))], axis=axis)


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    """Return whether an array of `shape` broadcasts to the last axes of `to`; more leading axes are refused."""
    return len(shape) <= len(to) and all(a in (1, b) for a, b in zip(reversed(shape), reversed(to), strict=False))


def _require_matrix(name: str, M: Array) -> None:
    if M.ndim < 2 or 0 in M.shape[-2:]:
        raise ValueError(f"{name}: got shape {tuple(M.shape)}, expected a matrix, (..., m, n)")


def _require_tall(Y: Array) -> None:
    _require_matrix("Y", Y)
    if Y.shape[-2] < Y.shape[-1]:
        raise ValueError(f"Y: got shape {tuple(Y.shape)}, expected (..., m, r) with m >= r; transpose a wide factor")
