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

from loraml_theory.structure import GroundTruth

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


def adaptation_rank(method: str, k: int, T: int, d: int) -> int:
    r"""Return the rank that a generic new task needs.

    From standard retraining ``min(d, k(T+1))`` (SR-2); from LoRA-ML k for T >= 3 (ML-3) and ``min(d, 3k)``
    for T = 2 (ML-2).

    Parameters
    ----------
    method
        ``sr`` or ``lora-ml``.
    """
    if method == "sr":
        return min(d, k * (T + 1))
    if method == "lora-ml":
        return k if T >= 3 else min(d, 3 * k)
    raise ValueError(f"method: got {method!r}, expected 'sr' or 'lora-ml'")


def off_tangent_spectrum(truth: GroundTruth) -> np.ndarray:
    r"""Return the eigenvalues of ``sum_t P_t^perp`` on d x d matrices, ascending, ``(d^2,)``; NumPy only.

    ``P_t^perp`` projects off the tangent space ``{E U_t*^T + U_t* E^T}``: antisymmetric matrices stay as they
    are, symmetric X becomes ``(I - P_t) X (I - P_t)`` with P_t the projector on span(U_t*). The smallest
    eigenvalue is 0 if and only if A* is not identified to first order; its inverse is the condition number
    of recovery (ML-3).

    Notes
    -----
    With q = rank [U_1*..U_T*] the operator splits exactly: symmetric matrices of the joint span (dimension
    q(q+1)/2), the span times its complement (the eigenvalues of ``sum_t (I - P_t)`` on the span, d - q times
    each), and everything else, where it is T.
    """
    U = np.asarray(truth.U_retraining)
    T, d, _ = U.shape
    spans = [_span(U_t) for U_t in U]
    joint = _span(np.concatenate(spans, axis=1))
    q = joint.shape[1]
    off = np.stack([np.eye(q) - (joint.T @ E) @ (joint.T @ E).T for E in spans])
    pairs = list(combinations_with_replacement(range(q), 2))
    i, j = (np.array([p[a] for p in pairs]) for a in (0, 1))
    norm = np.where(i == j, 2.0, np.sqrt(2.0))
    inner = np.zeros((len(pairs), len(pairs)))
    # <B_ab, P B_ij P> in the orthonormal basis B_ij = (e_i e_j^T + e_j e_i^T) / norm_ij
    for P in off:
        inner += 2 * (P[i][:, i] * P[j][:, j] + P[i][:, j] * P[j][:, i]) / (norm[:, None] * norm[None, :])
    cross = np.repeat(np.linalg.eigvalsh(off.sum(axis=0)), d - q)
    rest = np.full(d * d - len(pairs) - cross.size, float(T))
    return np.sort(np.concatenate([np.linalg.eigvalsh(inner), cross, rest]))


def _span(U: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis of the column space of ``(d, m)``, columns taken as directions."""
    lengths = np.linalg.norm(U, axis=0)
    left, values, _ = np.linalg.svd(U[:, lengths > 0] / lengths[lengths > 0], full_matrices=False)
    return left[:, values > U.shape[0] * np.finfo(float).eps * values.max(initial=0.0)]


def base_error(truth: GroundTruth, N: float, *, sigma: float, sigma_x: float = 1.0) -> float:
    r"""Predict ``E ||A_hat - A*||_F^2`` of LoRA-ML from N samples a task, T >= 3, to first order (ML-7).

        (sigma^2 / (sigma_x^2 N)) tr[(sum_t P_t^perp)^{-1}]   >=   sigma^2 d^2 / (sigma_x^2 N T)

    Infinite where A* is not identified to first order.
    """
    spectrum = off_tangent_spectrum(truth)
    if spectrum[0] <= spectrum.size * np.finfo(float).eps * spectrum[-1]:
        return inf
    return float((sigma / sigma_x) ** 2 / N * np.sum(1 / spectrum))
