r"""The limit of a fine-tuned error: the irreducible part, the test task's noise, the rest of the base's noise."""

from __future__ import annotations

import numpy as np

from loraml_theory.closed_forms import best_rank_error
from loraml_theory.rates import in_sample_error, parameter_error

EXACT = 1e-9  # a squared singular value below this share of the largest is rounding


def predicted_error(
    residual: np.ndarray,
    factors: np.ndarray | int,
    *,
    rank: int,
    N: float,
    n: int,
    sigma: float,
    in_sample: bool = False,
) -> float:
    r"""Predict the error of rank-r fine-tuning from a retrained base, to first order.

    If no shift of this rank reaches the test task, ``sum_{i > r} sigma_i^2(residual)``, the limit for any n (SR-3).
    Otherwise FT-2's error from the test task's noise plus `left_over` from the base's.

    Parameters
    ----------
    residual
        ``W_test - A`` for the base A found in the population, ``(d, d)``.
    factors
        The adapters ``(T, d, k)`` that absorb part of the noise of retraining, or T if there are none.
    rank, N, n, sigma
        Adapter rank, samples of each retraining task and of the test task, standard deviation of the noise.
    in_sample
        Predict ``tr(Delta S Delta^T)`` instead of ``||Delta||_F^2``.
    """
    irreducible = float(best_rank_error(residual, rank))
    if irreducible > EXACT * float(np.sum(residual**2)):
        return irreducible
    d = residual.shape[-1]
    noise = (in_sample_error if in_sample else parameter_error)(rank, d, n, sigma=sigma)
    return noise + sigma**2 / N * left_over(residual, factors, rank)


def left_over(residual: np.ndarray, factors: np.ndarray | int, rank: int) -> float:
    r"""Return ``N / sigma^2`` times the error of the base that rank-r fine-tuning cannot remove.

        tr[Q (sum_t P_t^perp)^+ Q],   Q X = (I - P_left) X (I - P_right)

    with P_t^perp as in `rates.off_tangent_spectrum`, and P_left, P_right the projectors on the leading r singular
    vectors of the residual. Without adapters each P_t^perp is the identity and this is ``(d - r)^2 / T``.

    Notes
    -----
    Outside the span of all vectors involved, of dimension q, the sum is T, so that the trace is a quadratic
    polynomial in d - q with leading coefficient 1/T: two traces, in q and q + 1 dimensions, determine it.
    """
    d = residual.shape[-1]
    if isinstance(factors, int):
        return (d - min(rank, d)) ** 2 / factors
    left, _, right = np.linalg.svd(residual)
    parts = [*factors, left[:, :rank], right[:rank].T]
    basis, values, _ = np.linalg.svd(np.concatenate([part / np.linalg.norm(part) for part in parts], axis=1))
    q = int(np.sum(values > 1e-10 * values[0]))
    if d <= q + 1:
        return _trace(parts)
    small, larger = (_trace([np.pad(basis[:, :q].T @ part, ((0, more), (0, 0))) for part in parts]) for more in (0, 1))
    m, share = d - q, 1 / len(factors)
    return small + (larger - small - share) * m + share * m**2


def _trace(parts: list[np.ndarray]) -> float:
    """Return the trace for the factors and the two singular subspaces, the last two of `parts`."""
    *factors, left, right = parts
    d, rank = left.shape
    rest = [np.linalg.qr(part, mode="complete")[0][:, rank:] for part in (left, right)]
    off = np.kron(*rest)  # (d^2, (d - r)^2), for matrices flattened by rows
    values, vectors = np.linalg.eigh(sum(_off_tangent(U) for U in factors))
    kept = values > d * d * np.finfo(float).eps * values[-1]
    return float(np.sum((vectors[:, kept].T @ off) ** 2 / values[kept, None]))


def _off_tangent(U: np.ndarray) -> np.ndarray:
    """Return the matrix of ``X -> antisymmetric part + (I - P)(symmetric part)(I - P)``, ``(d^2, d^2)``."""
    d = U.shape[0]
    basis, _ = np.linalg.qr(U)
    rest = np.eye(d) - basis @ basis.T
    swap = np.eye(d * d).reshape(d, d, d, d).swapaxes(0, 1).reshape(d * d, d * d)
    identity = np.eye(d * d)
    return (identity - swap) / 2 + np.kron(rest, rest) @ (identity + swap) / 2
