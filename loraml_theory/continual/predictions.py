r"""What the theory predicts for a chain of tasks ``W_t = A* + R_t``, ``R_t = U_t U_t^T``, with inputs of covariance I.

R is ``(..., T, d, d)`` and U ``(..., T, d, k)``; losses are ``1/2 ||Delta - R_j||_F^2``.
"""

from __future__ import annotations

from array_api_compat import device

from loraml_theory.libraries import array_namespace
from loraml_theory.spectra import rounding_level
from loraml_theory.structure import Array, frobenius, transpose


def between(R: Array, rho: float) -> Array:
    r"""Return the shift after the chain of gradient descent, ``sum_t (1 - rho) rho^{T-t} R_t``, rho a number (CL-2).

    ``rho = (1 - eta)^m`` after m steps of eta on every task: 0 is converged, 1 is nothing learnt. Any numbers that add
    and multiply will do.
    """
    shift = 0 * R[..., 0, :, :]
    for t in range(int(R.shape[-3])):
        shift = rho * shift + (1 - rho) * R[..., t, :, :]
    return shift


def slope_at_convergence(R: Array) -> Array:
    r"""Return the derivative of the average loss in rho at 0, ``-<R_T - mean R, R_T - R_{T-1}>``, ``(...)`` (CL-2).

    Negative where stopping a little before convergence helps.
    """
    xp = array_namespace(R)
    last, before = R[..., -1, :, :], R[..., -2, :, :]
    return xp.sum((xp.mean(R, axis=-3) - last) * (last - before), axis=(-2, -1))


def slope_at_nothing(R: Array) -> Array:
    r"""Return the derivative of the average loss in rho at 1, ``T ||mean R||_F^2 >= 0``, ``(...)`` (CL-2)."""
    return R.shape[-3] * frobenius(array_namespace(R).mean(R, axis=-3)) ** 2


def increments(U: Array) -> Array:
    r"""Return what each task adds to the span, ``E_t = Q_t - Q_{t-1}``, ``(..., T, d, d)`` (CL-5).

    Q_t projects on span[U_1 .. U_t]. A singular value of ``(I - Q_{t-1}) U_t`` that is rounding adds nothing.
    """
    xp = array_namespace(U)
    T, d = int(U.shape[-3]), int(U.shape[-2])
    spanned = xp.zeros((*U.shape[:-3], d, d), dtype=U.dtype, device=device(U))
    found = []
    for t in range(T):
        factor = U[..., t, :, :]
        fresh = factor - spanned @ factor
        fresh = fresh - spanned @ fresh
        left, values, _ = xp.linalg.svd(fresh, full_matrices=False)
        level = 10 * rounding_level(frobenius(factor), d)
        new = xp.astype(values > level[..., None], U.dtype)[..., None, :] * left
        found.append(new @ transpose(new))
        spanned = spanned + found[-1]
    return xp.stack(found, axis=-3)


def orthogonal_shifts(R: Array, E: Array) -> Array:
    r"""Return O-LoRA's shift after every task, ``Delta_t = sum_{s <= t} R_s E_s``, ``(..., T, d, d)`` (CL-5)."""
    return array_namespace(R).cumulative_sum(R @ E, axis=-3)


def orthogonal_forgetting(R: Array, E: Array) -> Array:
    r"""Return what O-LoRA forgets, ``F_j = 1/2 sum_{t > j} ||R_t E_t||_F^2`` for j < T, ``(..., T-1)`` (CL-5)."""
    xp = array_namespace(R)
    sizes = frobenius(R @ E) ** 2 / 2
    return xp.stack([xp.sum(sizes[..., j + 1 :], axis=-1) for j in range(int(R.shape[-3]) - 1)], axis=-1)


def total_losses(R: Array, E: Array) -> tuple[Array, Array]:
    r"""Return the total losses after the chain of O-LoRA and of sequential LoRA, ``(...)`` each (CL-6).

    1/2 sum_j sum_s ||(R_s - R_j) E_s||_F^2   and   1/2 sum_j ||R_T - R_j||_F^2
    """
    xp = array_namespace(R)
    apart = R[..., :, None, :, :] - R[..., None, :, :, :]
    ours = xp.sum(frobenius(apart @ E[..., :, None, :, :]) ** 2, axis=(-2, -1)) / 2
    return ours, xp.sum(frobenius(apart[..., -1, :, :, :]) ** 2, axis=-1) / 2


def expected_excess(d: int, k: int, T: int) -> float:
    r"""Return the mean of O-LoRA's total loss less sequential LoRA's for factors of independent N(0, 1) (CL-6).

        k/2 sum_{s < T} max(0, d - ks) [(s - 1)(d + k + 1) + (T - 1 - s)(d - k + 1)]

    It is 0 at T = 2 and at d = k, and positive otherwise.
    """
    terms = (max(0, d - k * s) * ((s - 1) * (d + k + 1) + (T - 1 - s) * (d - k + 1)) for s in range(1, T))
    return k * sum(terms) / 2


def expected_sequential(d: int, k: int, T: int) -> float:
    """Return the mean of sequential LoRA's total loss for factors of independent N(0, 1), ``(T-1) k d (d+1)``."""
    return float((T - 1) * k * d * (d + 1))
