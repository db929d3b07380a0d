"""The base of three tasks or more without iteration where shifts are U V^T and matrices rectangular (ML-6)."""

from __future__ import annotations

from itertools import combinations, permutations
from math import inf
from typing import NamedTuple

from array_api_compat import device

from loraml_theory.libraries import array_namespace
from loraml_theory.structure import Array, transpose


class AsymmetricRecovery(NamedTuple):
    r"""Result of `asymmetric_recovery`.

    Parameters
    ----------
    A
        Recovered base, ``(..., p, q)``.
    U, V
        Recovered factors of all T tasks, ``(..., T, p, k)`` and ``(..., T, q, k)``, up to ``U G, V G^{-T}``.
    condition
        ``(...)``, of the best triple: one over the product of the smallest singular values of its joint bases, on
        either side, and the smaller of the sine of the smallest angle that an intersection leaves and of the
        differences' ``s_2k / s_1``. Infinite where no triple is independent to rounding.
    """

    A: Array
    U: Array
    V: Array
    condition: Array


def asymmetric_recovery(W: Array, k: int) -> AsymmetricRecovery:
    r"""Recover base and factors from ``W_t = A* + U_t* V_t*^T``, T >= 3, without iteration (ML-6).

    1. ``W_t - W_s`` has column space span[U_t*, U_s*] and row space span[V_t*, V_s*]: its 2k leading singular vectors
       ``L_ts`` and ``R_ts``.
    2. The spaces of two pairs meet in span(U_t*): ``L_ts`` times the last k right singular vectors of
       ``(I - L_tr L_tr^T) L_ts``; the right side is similar.
    3. In the bases [E_t, E_s] on the left and [F_t, F_s] on the right the difference is ``diag(K_t, -K_s)``, and the
       shift is ``E_t K_t F_t^T``.
    4. ``A`` is ``W_t`` minus its shift; every task's shift is the part of rank k of ``W_s - A``; A is then the mean of
    ``W_s`` minus its shift.

    Steps 1 to 3 are done for the ordered triple (t, s, r) of least condition.

    Parameters
    ----------
    W
        Parameters of the T tasks, ``(..., T, p, q)``, exact or with noise.
    k
        Rank of the shifts.

    Raises
    ------
    ValueError
        If T < 3 or 3k > min(p, q).

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> base, U, V = rng.standard_normal((6, 9)), rng.standard_normal((3, 6, 2)), rng.standard_normal((3, 9, 2))
    >>> found = asymmetric_recovery(base + U @ V.transpose(0, 2, 1), k=2)
    >>> bool(np.allclose(found.A, base))
    True
    """
    T, p, q = (int(n) for n in W.shape[-3:])
    if T < 3 or k < 1 or 3 * k > min(p, q):
        raise ValueError(
            f"W, k: got T = {T}, matrices {(p, q)}, k = {k}, expected T >= 3 and 1 <= k <= {min(p, q) // 3}"
        )
    xp = array_namespace(W)
    spans = {}
    for t, s in combinations(range(T), 2):
        left, values, right = xp.linalg.svd(W[..., t, :, :] - W[..., s, :, :], full_matrices=False)
        spans[t, s] = left[..., : 2 * k], values[..., : 2 * k], transpose(right[..., : 2 * k, :])
    A, condition = W[..., 0, :, :], xp.full_like(W[..., 0, 0, 0], inf)
    for t, s, r in permutations(range(T), 3):
        if t < s:  # (s, t, r) splits the same difference by the same intersections
            shift, new = _split(spans[t, s], spans[min(t, r), max(t, r)], spans[min(s, r), max(s, r)])
            A = xp.where((new < condition)[..., None, None], W[..., t, :, :] - shift, A)
            condition = xp.minimum(new, condition)
    left, values, right = xp.linalg.svd(W - A[..., None, :, :], full_matrices=False)
    scales = xp.sqrt(values[..., None, :k])
    U, V = left[..., :, :k] * scales, transpose(right[..., :k, :]) * scales
    return AsymmetricRecovery(xp.mean(W - U @ transpose(V), axis=-3), U, V, condition)


def _split(ts: tuple[Array, ...], tr: tuple[Array, ...], sr: tuple[Array, ...]) -> tuple[Array, Array]:
    """Return task t's shift and the condition of finding it, from the leading triplets of three differences."""
    xp = array_namespace(ts[0])
    k = int(ts[1].shape[-1]) // 2
    inverses, starts, reciprocal = [], [], _spread(ts[1])
    eye = xp.eye(2 * k, dtype=ts[0].dtype, device=device(ts[0]))
    for side in (0, 2):  # intersect the difference's space with the other two: task t's span, task s's span
        own, coordinates = ts[side], []
        for other in (tr[side], sr[side]):
            outside = own - other @ (transpose(other) @ own)
            _, sines, right = xp.linalg.svd(outside, full_matrices=False)
            coordinates.append(transpose(right[..., k:, :]))
            reciprocal = xp.minimum(reciprocal, sines[..., k - 1])
        joint = xp.concat(coordinates, axis=-1)
        least = xp.linalg.svdvals(joint)[..., -1]
        solvable = least > 100 * float(xp.finfo(joint.dtype).eps)
        reciprocal = xp.where(solvable, reciprocal * least, xp.zeros_like(least))
        inverses.append(xp.linalg.inv(xp.where(solvable[..., None, None], joint, eye)))
        starts.append(own @ coordinates[0])
    K_t = ((inverses[0] * ts[1][..., None, :]) @ transpose(inverses[1]))[..., :k, :k]
    known = reciprocal > 100 * float(xp.finfo(reciprocal.dtype).eps)
    condition = 1 / xp.where(known, reciprocal, xp.ones_like(reciprocal))
    return starts[0] @ K_t @ transpose(starts[1]), xp.where(known, condition, xp.full_like(condition, inf))


def _spread(values: Array) -> Array:
    """Return the smallest over the largest value on the last axis, 0 where all are 0."""
    xp = array_namespace(values)
    largest = values[..., 0]
    return values[..., -1] / xp.where(largest > 0, largest, xp.ones_like(largest))
