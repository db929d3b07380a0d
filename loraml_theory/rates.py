r"""Predicted errors, one function per statement.

Throughout, Delta is the error of a fitted parameter, ``||.||_F^2`` a sum of squares, sigma and sigma_x
standard deviations, and "in-sample" means ``tr(Delta S Delta^T)``, the mean squared error on the fitted
inputs.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from math import inf
from typing import TYPE_CHECKING

import numpy as np
from array_api_compat import device

from loraml_theory.libraries import array_namespace
from loraml_theory.moments import bartlett_factor
from loraml_theory.spectra import INDEPENDENT
from loraml_theory.structure import Array, GroundTruth, joint_factor, transpose

if TYPE_CHECKING:
    from numpy.random import Generator


def degrees_of_freedom(rank: int, d_out: int, d_in: int | None = None) -> int:
    r"""Return ``r (d_out + d_in - r)``, the dimension of the set of matrices of rank r (FT-2)."""
    d_in = d_out if d_in is None else d_in
    rank = min(rank, d_out, d_in)
    return rank * (d_out + d_in - rank)


def in_sample_error(rank: int, d: int, n: float, *, sigma: float) -> float:
    r"""Predict ``E tr(Delta S Delta^T) = sigma^2 r (2d - r) / n``, to first order for every n >= d (FT-2)."""
    return sigma**2 * degrees_of_freedom(rank, d) / n


def parameter_error(rank: int, d: int, n: float, *, sigma: float, sigma_x: float = 1.0) -> float:
    r"""Predict ``E ||Delta||_F^2`` of rank-r fine-tuning where the true residual has rank exactly r (FT-2).

        (sigma^2 / sigma_x^2) [ r d / (n - d - 1) + r (d - r) / (n - r - 1) ]

    To first order in sigma; exact at r = d (the full fit), ``sigma^2 d^2 / (sigma_x^2 (n - d - 1))``.

    Raises
    ------
    ValueError
        If n <= d + 1, where the expectation does not exist.
    """
    if n <= d + 1:
        raise ValueError(f"n: got {n}, expected more than d + 1 = {d + 1}")
    rank = min(rank, d)
    rest = rank * (d - rank) / (n - rank - 1) if rank < d else 0.0
    return (sigma / sigma_x) ** 2 * (rank * d / (n - d - 1) + rest)


def excess_rank_degrees(rng: Generator, k: int, rank: int, d: int, *, draws: int = 4000) -> tuple[float, float]:
    r"""Predict ``n E tr(Delta S Delta^T) / sigma^2`` for fine-tuning at a rank above the true rank k (FT-2).

        k (2d - k) + E sum_{i <= r - k} s_i(G)^2,   G standard normal, (d - k) x (d - k)

    The second term is the noise that truncation selects; it has no closed form and is averaged over `draws`.

    Returns
    -------
    The value and its standard error.
    """
    G = rng.standard_normal((draws, d - k, d - k))
    selected = np.sum(np.linalg.svd(G, compute_uv=False)[:, : rank - k] ** 2, axis=-1)
    return degrees_of_freedom(k, d) + float(selected.mean()), float(selected.std(ddof=1) / np.sqrt(draws))


def many_task_floor(U_test: Array, *, scale: float = 1.0) -> Array:
    r"""Return the squared error that rank k leaves after standard retraining on infinitely many random tasks (SR-5).

        sum_{i > k} sigma_i^2(R_{T+1}* - k s^2 I):  the d - k smallest of (lambda_i - k s^2)^2 and d - k times k^2 s^4

    with lambda_i the eigenvalues of ``U^T U``: the mean shift of factors with independent normal entries of standard
    deviation s tends to ``k s^2 I``.

    Parameters
    ----------
    U_test
        The test task's factor, ``(..., d, k)``.
    scale
        s.
    """
    xp = array_namespace(U_test)
    return _floor_of_spectrum(xp.linalg.svdvals(U_test) ** 2, int(U_test.shape[-2]), scale)


def _floor_of_spectrum(spectrum: Array, d: int, scale: float) -> Array:
    """Return `many_task_floor` from the k eigenvalues of ``U^T U``, ``(..., k)``."""
    xp, k = array_namespace(spectrum), int(spectrum.shape[-1])
    mean = k * scale**2
    rest = xp.zeros((*spectrum.shape[:-1], d - k), dtype=spectrum.dtype, device=device(spectrum)) + mean**2
    squares = xp.concat([(spectrum - mean) ** 2, rest], axis=-1)
    return xp.sum(xp.sort(squares, axis=-1)[..., : d - k], axis=-1)


def mean_many_task_floor(
    rng: Generator, d: int, k: int, *, scale: float = 1.0, draws: int = 20_000
) -> tuple[float, float, float]:
    r"""Predict the mean of `many_task_floor` over test tasks drawn as the others (SR-5).

        s^4 [k^2 (d - k) - E sum_{i <= k} max(0, k^2 - (lambda_i - k)^2)]   for d >= 2k

    with lambda_i the eigenvalues of a k x k Wishart matrix of d degrees of freedom; averaged over `draws`.

    Returns
    -------
    The mean, its standard error, and the standard deviation of one draw.
    """
    factors = scale * bartlett_factor(rng, (draws,), k, d)
    floors = _floor_of_spectrum(np.linalg.eigvalsh(factors @ transpose(factors)), d, scale)
    spread = float(floors.std(ddof=1))
    return float(floors.mean()), spread / draws**0.5, spread


def signal_to_noise(residual: np.ndarray, rank: int, n: float, *, sigma: float, sigma_x: float = 1.0) -> float:
    r"""Return ``sigma_r(residual) / (2 (sigma/sigma_x) sqrt(d/n))``; FT-2's condition is that it be large.

    Its square bounds the relative size of what FT-2 neglects. Infinite without noise.
    """
    d = residual.shape[-1]
    noise = 2 * sigma / sigma_x * np.sqrt(d / n)
    return float(np.linalg.svd(residual, compute_uv=False)[rank - 1] / noise) if noise > 0 else inf


def sigma_for(residual: np.ndarray, rank: int, n: float, *, ratio: float, sigma_x: float = 1.0) -> float:
    """Return the noise standard deviation at which `signal_to_noise` is `ratio`."""
    return signal_to_noise(residual, rank, n, sigma=1.0, sigma_x=sigma_x) / ratio


def standard_rank(k: int, T: int, d: int) -> int:
    """Return the rank that a generic new task needs from standard retraining, ``min(d, k(T+1))`` (SR-2)."""
    return min(d, k * (T + 1))


def meta_rank(k: int, T: int, d: int) -> int:
    """Return the rank that a generic new task needs from LoRA-ML: k for T >= 3 (ML-3), min(d, 3k) for T = 2 (ML-2)."""
    return k if T >= 3 else min(d, 3 * k)


def adaptation_rank(method: str, k: int, T: int, d: int) -> int:
    """Return `standard_rank` for the method ``sr``, `meta_rank` for ``lora-ml``.

    Raises
    ------
    ValueError
        For any other method.
    """
    ranks = {"sr": standard_rank, "lora-ml": meta_rank}
    if method not in ranks:
        raise ValueError(f"method: got {method!r}, expected 'sr' or 'lora-ml'")
    return ranks[method](k, T, d)


def off_tangent_spectrum(truth: GroundTruth) -> Array:
    r"""Return the eigenvalues of ``sum_t P_t^perp`` on d x d matrices, ascending, ``(..., d^2)``.

    ``P_t^perp`` projects off the tangent space ``{E U_t*^T + U_t* E^T}``: antisymmetric matrices stay as they
    are, symmetric X becomes ``(I - P_t) X (I - P_t)`` with P_t the projector on span(U_t*). The smallest
    eigenvalue is 0 if and only if A* is not identified to first order (ML-3).

    Notes
    -----
    On a space of dimension q = min(d, kT) that holds all spans the operator splits exactly: symmetric matrices of the
    space (dimension q(q+1)/2), the space times its complement (the eigenvalues of ``sum_t (I - P_t)`` on the space,
    d - q times each), and everything else, where it is T.
    """
    U = truth.U_retraining
    xp, d = array_namespace(U), truth.d
    spans = _spans(U)
    joint = xp.linalg.svd(joint_factor(spans), full_matrices=False)[0]
    q = int(joint.shape[-1])
    inside = transpose(joint)[..., None, :, :] @ spans
    off = xp.eye(q, dtype=U.dtype, device=device(U)) - inside @ transpose(inside)
    within, across = xp.linalg.eigvalsh(_on_symmetric(off)), xp.linalg.eigvalsh(xp.sum(off, axis=-3))
    rest = xp.zeros((*U.shape[:-3], d * d - within.shape[-1] - q * (d - q)), dtype=U.dtype, device=device(U)) + truth.T
    return xp.sort(xp.concat([within, *[across] * (d - q), rest], axis=-1), axis=-1)


def _spans(U: Array) -> Array:
    """Return orthonormal bases of column spaces, ``(..., d, k)``, columns taken as directions; padded with zeros."""
    xp = array_namespace(U)
    lengths = xp.sqrt(xp.sum(U * U, axis=-2, keepdims=True))
    left, values, _ = xp.linalg.svd(U / xp.where(lengths > 0, lengths, xp.ones_like(lengths)), full_matrices=False)
    kept = values > U.shape[-2] * float(xp.finfo(U.dtype).eps) * xp.max(values, axis=-1, keepdims=True)
    return left * xp.astype(kept, U.dtype)[..., None, :]


def _on_symmetric(off: Array) -> Array:
    """Return ``X -> sum_t off_t X off_t`` in the basis ``B_ij = (e_i e_j^T + e_j e_i^T) / norm_ij``, i <= j."""
    xp, q = array_namespace(off), int(off.shape[-1])
    pairs = list(combinations_with_replacement(range(q), 2))
    i, j = (xp.asarray([pair[a] for pair in pairs], dtype=xp.int64, device=device(off)) for a in (0, 1))
    norm = xp.asarray([2.0 if a == b else 2**0.5 for a, b in pairs], dtype=off.dtype, device=device(off))
    total = xp.zeros_like(norm)
    for t in range(off.shape[-3]):  # one task at a time: the sum over all at once is too large at large q
        of_i, of_j = (xp.take(off[..., t, :, :], rows, axis=-2) for rows in (i, j))
        total = total + xp.take(of_i, i, axis=-1) * xp.take(of_j, j, axis=-1)
        total = total + xp.take(of_i, j, axis=-1) * xp.take(of_j, i, axis=-1)
    return 2 * total / (norm[:, None] * norm[None, :])


def recovery_condition(truth: GroundTruth) -> Array:
    """Return ``1 / lambda_min(sum_t P_t^perp)``, the amplification of misfits in the base near the truth (ML-3).

    ``(...)``, infinite where A* is not identified to first order.
    """
    smallest = off_tangent_spectrum(truth)[..., 0]
    xp = array_namespace(smallest)
    found = smallest > INDEPENDENT**2
    return xp.where(found, 1 / xp.where(found, smallest, xp.ones_like(smallest)), xp.full_like(smallest, inf))


def least_trace(d: int, k: int) -> float:
    r"""Return the least ``(T/d^2) tr[(sum_t P_t^perp)^{-1}]`` of any tasks, and its limit for many random ones (ML-9).

        c = [d (d - 1)/2 + d/(d - k) + m/(1 - b)] / d^2,   b = (d k - k (k - 1)/2 - k/d)/m,   m = d (d + 1)/2 - 1

    The mean of ``P_t^perp`` over all rotations is 1 on antisymmetric matrices, ``(d - k)/d`` on the identity and 1 - b
    on symmetric matrices of trace 0.

    Examples
    --------
    >>> [round(least_trace(10, k), 3) for k in (1, 2, 3)]
    [1.122, 1.291, 1.532]
    """
    traceless = d * (d + 1) / 2 - 1
    b = (d * k - k * (k - 1) / 2 - k / d) / traceless
    return (d * (d - 1) / 2 + d / (d - k) + traceless / (1 - b)) / d**2


def base_error(truth: GroundTruth, N: float, *, sigma: float, sigma_x: float = 1.0) -> float:
    r"""Predict ``E ||A_hat - A*||_F^2`` of LoRA-ML from N samples per task, T >= 3, to first order (ML-9).

        (sigma^2 / (sigma_x^2 N)) tr[(sum_t P_t^perp)^{-1}]   >=   sigma^2 d^2 c / (sigma_x^2 N T),   c = `least_trace`

    Infinite where A* is not identified to first order.
    """
    spectrum = off_tangent_spectrum(truth)
    if spectrum[0] <= spectrum.size * np.finfo(float).eps * spectrum[-1]:
        return inf
    return float((sigma / sigma_x) ** 2 / N * np.sum(1 / spectrum))
