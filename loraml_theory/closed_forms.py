"""Every closed form of the claims: minimisers without iteration, and their errors."""

from __future__ import annotations

from itertools import combinations, permutations
from math import inf
from typing import NamedTuple

from array_api_compat import device

from loraml_theory.arguments import require_count, require_kind, require_real_floating
from loraml_theory.libraries import array_namespace
from loraml_theory.moments import Moments, symmetric_power
from loraml_theory.structure import Array, GroundTruth, transpose


def standard_retraining(moments: Moments, *, ridge: float = 0.0) -> Array:
    r"""Return the minimiser of standard retraining, of least norm where the inputs do not determine it.

        A_SR = (sum_t n_t C_t) (sum_t n_t S_t)^+        (SR-1)

    In the population this is ``A* + (1/T) sum_t R_t*``.

    Parameters
    ----------
    moments
        ``(..., T, ...)``: the last batch axis is the task.
    ridge
        Strength of a penalty ``(ridge/2) ||A||_F^2`` per task.

    Returns
    -------
    A_SR, ``(..., d_out, d_in)``.
    """
    require_kind("moments", moments, Moments)
    moments = moments.ridge(ridge)
    xp = array_namespace(moments.W)
    S, C, weights = moments.S, moments.C, moments.weights
    if weights is not None:
        w = xp.asarray(weights, dtype=S.dtype, device=device(S))[:, None, None]
        S, C = w * S, w * C
    total = xp.sum(S, axis=-3)
    return xp.sum(C, axis=-3) @ symmetric_power(total, -1)


def best_rank_error(M: Array, rank: int) -> Array:
    r"""Return ``min ||M - X||_F^2 = sum_{i > rank} sigma_i(M)^2`` over X of rank <= `rank`, ``(...)``."""
    rank = _rank_in_range(rank, M)
    values = array_namespace(M).linalg.svdvals(M)
    return array_namespace(M).sum(values[..., rank:] ** 2, axis=-1)


def truncate(M: Array, rank: int) -> Array:
    """Return the best approximation of rank at most `rank` in the Frobenius norm, by the truncated SVD."""
    rank = _rank_in_range(rank, M)
    left, values, right = array_namespace(M).linalg.svd(M, full_matrices=False)
    return (left[..., :, :rank] * values[..., None, :rank]) @ right[..., :rank, :]


def reduced_rank_regression(moments: Moments, rank: int, *, ridge: float = 0.0) -> Array:
    r"""Return the global minimiser of ``l(M) + (ridge/2) ||M||_F^2`` over matrices of rank at most `rank`.

        M = G_r S^{-1/2},   G = C S^{-1/2},   G_r its SVD truncated to `rank`        (FT-1)

    with the ridge added to S. Unique if ``sigma_r(G) > sigma_{r+1}(G)`` and S is regular; on a singular S the
    minimiser of least norm.

    Parameters
    ----------
    moments
        Any batch axes, all of which are kept: a task axis gives one fit per task.
    rank
        At least 0; from min(d_out, d_in) on, the unconstrained fit.
    """
    require_kind("moments", moments, Moments)
    moments = moments.ridge(ridge)
    root, inverse_root = symmetric_power(moments.S, 0.5, -0.5)
    return truncate(moments.W @ root, rank) @ inverse_root


def fine_tune(moments: Moments, base: Array, rank: int, *, ridge: float = 0.0) -> Array:
    r"""Return ``base + shift`` with the globally best shift of rank at most `rank` (FT-1).

    Parameters
    ----------
    moments
        The test task's moments.
    base
        The retrained parameter, ``(..., d_out, d_in)``.
    rank
        Adapter rank.
    ridge
        Strength of a penalty ``(ridge/2) ||shift||_F^2``.
    """
    require_kind("moments", moments, Moments)
    require_real_floating("base", base)
    return base + reduced_rank_regression(moments.around(base), rank, ridge=ridge)


def boost(rapidities: Array, left: Array | None = None, right: Array | None = None) -> Array:
    r"""Return an element of the indefinite orthogonal group O(k, k): ``H J H^T = J``, J = diag(I_k, -I_k).

        H = diag(left) [[cosh D, sinh D], [sinh D, cosh D]] diag(right),   D = diag(rapidities)

    Every element of the group has this form for some orthogonal block-diagonal `left` and `right` (the
    hyperbolic CS decomposition).

    Parameters
    ----------
    rapidities
        ``(..., k)``.
        left, right
        Pairs of orthogonal matrices, ``(..., 2, k, k)``; identities if not given.
    """
    xp = array_namespace(rapidities)
    k = int(rapidities.shape[-1])
    eye = xp.eye(k, dtype=rapidities.dtype, device=device(rapidities))
    cosh, sinh = xp.cosh(rapidities)[..., None] * eye, xp.sinh(rapidities)[..., None] * eye
    blocks = [[cosh, sinh], [sinh, cosh]]
    if left is not None:
        blocks = [[left[..., i, :, :] @ blocks[i][j] for j in range(2)] for i in range(2)]
    if right is not None:
        blocks = [[blocks[i][j] @ right[..., j, :, :] for j in range(2)] for i in range(2)]
    return xp.concat([xp.concat(row, axis=-1) for row in blocks], axis=-2)


def two_task_orbit(truth: GroundTruth, H: Array) -> tuple[Array, Array]:
    r"""Return the minimiser of population LoRA-ML at T = 2 that belongs to H in O(k, k) (ML-2).

        [U_1, U_2] = [U_1*, U_2*] H,   A = A* + R_1* - U_1 U_1^T

    Parameters
    ----------
    truth
        T = 2.
    H
        ``(..., 2k, 2k)`` with ``H J H^T = J``; see `boost`. Not checked: a control passes others.

    Returns
    -------
    A ``(..., d, d)`` and U ``(..., 2, d, k)``.

    Raises
    ------
    ValueError
        If the truth does not have two retraining tasks.
    """
    require_kind("truth", truth, GroundTruth)
    require_real_floating("H", H)
    if truth.T != 2:
        raise ValueError(f"truth: got T = {truth.T}, expected T = 2")
    xp, k = array_namespace(truth.U_star), truth.k
    first, second = truth.U_star[..., 0, :, :], truth.U_star[..., 1, :, :]
    mixed = xp.concat([first, second], axis=-1) @ H
    U = xp.stack([mixed[..., :k], mixed[..., k:]], axis=-3)
    A = truth.A_star + first @ transpose(first) - U[..., 0, :, :] @ transpose(U[..., 0, :, :])
    return A, U


class SpectralRecovery(NamedTuple):
    r"""Result of `spectral_recovery`.

    Attributes
    ----------
    A
        Recovered base, ``(..., d, d)``.
    U
        Recovered factors of all T tasks, ``(..., T, d, k)``, up to an orthogonal factor on the right.
    condition
        ``(...)``: amplification of rounding, relative to ``max_t ||W_t||_F``. One over the sine of the smallest
        angle that the intersections leave, and over the squared smallest singular value of the joint basis: it depends
        on the spans alone, not on the sizes of the shifts. Infinite where no triple is independent to rounding, or
        a shift is below the rounding of another.
    """

    A: Array
    U: Array
    condition: Array


def spectral_recovery(W: Array, k: int) -> SpectralRecovery:
    r"""Recover base and factors from the retraining tasks' parameters without iteration (ML-6, T >= 3).

    1. ``W_t - W_s`` has column space span[U_t*, U_s*]: its 2k eigenvectors of largest modulus, B_ts.
    2. The spaces of two pairs meet in span(U_t*): ``B_ts`` times the last k right singular vectors of
       ``(I - B_tr B_tr^T) B_ts``.
    3. In the basis [E_t, E_s] the difference is ``diag(K_t, -K_s)``; ``R_t* = E_t K_t E_t^T``, the oblique
       projection that annihilates U_s*.
    4. ``A = W_t - R_t*``; every task's factor is the PSD part of rank k of ``W_s - A``; A is then the mean of
       ``W_s - U_s U_s^T``.

    Steps 1 to 3 are done for the ordered triple (t, s, r) of least condition.

    Parameters
    ----------
    W
        Parameters of the T retraining tasks, ``(..., T, d, d)``: exact, or least-squares estimates, whose
        differences are symmetrised.
    k
        Rank of the shifts.

    Raises
    ------
    ValueError
        If T < 3 or 3k > d.
    """
    require_real_floating("W", W)
    if W.ndim < 3 or W.shape[-1] != W.shape[-2]:
        raise ValueError(f"W: got shape {tuple(W.shape)}, expected (..., T, d, d)")
    T, d, k = int(W.shape[-3]), int(W.shape[-1]), require_count("k", k)
    if T < 3 or 3 * k > d:
        raise ValueError(f"W, k: got T = {T}, d = {d}, k = {k}, expected T >= 3 and 1 <= k <= d/3")
    xp = array_namespace(W)
    eigen = {(t, s): _outer_eigenpairs(W[..., t, :, :] - W[..., s, :, :], k) for t, s in combinations(range(T), 2)}
    A, condition = W[..., 0, :, :], xp.full_like(W[..., 0, 0, 0], inf)
    for t, s, r in permutations(range(T), 3):
        if t < s:  # (s, t, r) splits the same difference by the same two intersections
            R_t, new = _split(eigen[t, s], eigen[min(t, r), max(t, r)], eigen[min(s, r), max(s, r)])
            A = xp.where((new < condition)[..., None, None], W[..., t, :, :] - R_t, A)
            condition = xp.minimum(new, condition)
    U = psd_factor(W - A[..., None, :, :], k)
    return SpectralRecovery(xp.mean(W - U @ transpose(U), axis=-3), U, condition)


def psd_factor(M: Array, rank: int) -> Array:
    """Return U, ``(..., d, rank)``, ``U U^T`` the PSD matrix of that rank nearest to M's symmetric part."""
    xp = array_namespace(M)
    values, vectors = xp.linalg.eigh((M + transpose(M)) / 2)
    top = values[..., None, -rank:]
    return vectors[..., -rank:] * xp.sqrt(xp.where(top > 0, top, xp.zeros_like(top)))


def _outer_eigenpairs(difference: Array, k: int) -> tuple[Array, Array]:
    """Return the k most negative and k most positive eigenvalues, ``(..., 2k)``, and their vectors."""
    xp = array_namespace(difference)
    values, vectors = xp.linalg.eigh((difference + transpose(difference)) / 2)
    return (
        xp.concat([values[..., :k], values[..., -k:]], axis=-1),
        xp.concat([vectors[..., :k], vectors[..., -k:]], axis=-1),
    )


def _split(ts: tuple[Array, Array], tr: tuple[Array, Array], sr: tuple[Array, Array]) -> tuple[Array, Array]:
    """Return R_t and the condition of finding it, from the eigenpairs of a triple's three differences."""
    xp = array_namespace(ts[0])
    k = int(ts[0].shape[-1]) // 2
    coordinates, gaps = [], []
    for other in (tr, sr):  # intersect range(W_t - W_s) with the other two ranges: span(U_t*), span(U_s*)
        outside = ts[1] - other[1] @ (transpose(other[1]) @ ts[1])
        _, sines, right = xp.linalg.svd(outside, full_matrices=False)  # sines resolve angles that cosines do not
        coordinates.append(transpose(right[..., k:, :]))
        gaps.append(sines[..., k - 1])
    joint = xp.concat(coordinates, axis=-1)
    reciprocal = xp.linalg.svdvals(joint)[..., -1] ** 2 * xp.minimum(gaps[0], gaps[1])
    # A span is known to eps over the spread of the difference's eigenvalues. That error is multiplied by the span's
    # own small shift, so the spread does not amplify; but the span must be resolved at all.
    spread = xp.minimum(xp.minimum(_spread(ts[0]), _spread(tr[0])), _spread(sr[0]))
    solvable = reciprocal * spread > 100 * float(xp.finfo(joint.dtype).eps)
    eye = xp.eye(2 * k, dtype=joint.dtype, device=device(joint))
    inverse = xp.linalg.inv(xp.where(solvable[..., None, None], joint, eye))
    K_t = ((inverse * ts[0][..., None, :]) @ transpose(inverse))[..., :k, :k]
    E_t = ts[1] @ coordinates[0]
    condition = 1 / xp.where(solvable, reciprocal, xp.ones_like(reciprocal))
    return E_t @ K_t @ transpose(E_t), xp.where(solvable, condition, xp.full_like(condition, inf))


def _spread(values: Array) -> Array:
    """Return the smallest over the largest modulus on the last axis, 0 where all are 0."""
    xp = array_namespace(values)
    largest = xp.max(xp.abs(values), axis=-1)
    return xp.min(xp.abs(values), axis=-1) / xp.where(largest > 0, largest, xp.ones_like(largest))


def _rank_in_range(rank: int, M: Array) -> int:
    """Return `rank`, cut to the largest that matrices of this shape have."""
    return min(require_count("rank", rank, least=0), *(int(n) for n in M.shape[-2:]))
