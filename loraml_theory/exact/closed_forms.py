"""The closed forms of SR-1, ML-2, ML-3 and ML-6 over the rational numbers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from flint import fmpq

from loraml_theory.exact.rational import Rationals, RationalTruth, array, diagonal, matrix
from loraml_theory.exact.spaces import column_space, intersection, pivots, rank


def standard_retraining(W: Rationals) -> Rationals:
    """Return the minimiser of ``1/2 sum_t ||A - W_t||_F^2``: the mean of ``W``, ``(T, d, d)`` (SR-1)."""
    mean: Rationals = np.sum(W, axis=0) / len(W)
    return mean


def orthogonal(skew: Rationals) -> Rationals:
    """Return the Cayley transform ``(I - K)^{-1} (I + K)`` of a skew-symmetric K: a rational orthogonal matrix.

    Examples
    --------
    >>> from loraml_theory.exact import rationals
    >>> orthogonal(rationals([[0, 0.5], [-0.5, 0]])).tolist()
    [[3/5, 4/5], [-4/5, 3/5]]
    """
    eye = diagonal([1] * len(skew))
    return array(matrix(eye - skew).inv() * matrix(eye + skew))


def boost(slopes: Sequence[fmpq], left: Sequence[Rationals], right: Sequence[Rationals]) -> Rationals:
    r"""Return a rational element of O(k, k), ``H J H^T = J``, J = diag(I_k, -I_k).

        H = diag(left) [[C, S], [S, C]] diag(right),   C = diag((1+s^2)/(1-s^2)),   S = diag(2s/(1-s^2)):

    the rational points of the hyperbola ``C^2 - S^2 = 1``, ``s = tanh(rapidity / 2)``.

    Parameters
    ----------
    slopes
        The k numbers s, each with ``s^2 != 1``; a rapidity is 0 where s is.
    left, right
        Pairs of orthogonal matrices, ``(k, k)``; see `orthogonal`.

    Examples
    --------
    >>> one = [diagonal([1])] * 2
    >>> boost([fmpq(1, 2)], one, one).tolist()
    [[5/3, 4/3], [4/3, 5/3]]
    """
    cosh = diagonal([(1 + s * s) / (1 - s * s) for s in slopes])
    sinh = diagonal([2 * s / (1 - s * s) for s in slopes])
    blocks = [[left[0] @ cosh @ right[0], left[0] @ sinh @ right[1]], [left[1] @ sinh @ right[0], None]]
    blocks[1][1] = left[1] @ cosh @ right[1]
    return np.block(blocks)


def two_task_orbit(truth: RationalTruth, H: Rationals) -> tuple[Rationals, Rationals]:
    """Return ``A = A* + R_1* - U_1 U_1^T`` and ``[U_1, U_2] = [U_1*, U_2*] H`` (ML-2); H is not checked."""
    k = truth.k
    mixed = np.concatenate([truth.U_star[0], truth.U_star[1]], axis=1) @ H
    first = mixed[:, :k]
    return truth.A_star + truth.R[0] - first @ first.T, np.stack([first, mixed[:, k:]])


def recover(W: Rationals, k: int) -> Rationals:
    r"""Recover the base from the retraining tasks' parameters, ``(T, d, d)``, without eigenvectors (ML-6).

    For the first triple (t, s, r) whose three differences have rank 2k: the column spaces of ``W_t - W_s`` and
    ``W_t - W_r`` meet in span(U_t*), basis E_t, those of ``W_t - W_s`` and ``W_s - W_r`` in span(U_s*), basis E_s.
    With F = [E_t, E_s], ``(F^T F)^{-1} F^T (W_t - W_s) F (F^T F)^{-1} = diag(K_t, -K_s)``, and
    ``A = W_t - E_t K_t E_t^T``.

    Raises
    ------
    ValueError
        If no triple of tasks determines the base in this way.
    """
    for t, s, r in combinations(range(len(W)), 3):
        spaces = _spaces(W, (t, s, r), k)
        if spaces is None or rank(np.concatenate(spaces, axis=1)) < 2 * k:
            continue
        E_t, F = spaces[0], np.concatenate(spaces, axis=1)
        inverse = array(matrix(F.T @ F).inv()) @ F.T
        K = inverse @ (W[t] - W[s]) @ inverse.T
        return W[t] - E_t @ K[:k, :k] @ E_t.T
    raise ValueError("W: no triple of tasks has differences of rank 2k whose column spaces meet in k dimensions")


def _spaces(W: Rationals, triple: tuple[int, int, int], k: int) -> tuple[Rationals, Rationals] | None:
    """Return bases of span(U_t*) and span(U_s*), or None where the triple's differences do not show them."""
    t, s, r = triple
    ts, tr, sr = (column_space(W[a] - W[b]) for a, b in ((t, s), (t, r), (s, r)))
    if not ts.shape[1] == tr.shape[1] == sr.shape[1] == 2 * k:
        return None
    E_t, E_s = intersection(ts, tr), intersection(ts, sr)
    return (E_t, E_s) if E_t.shape[1] == E_s.shape[1] == k else None


def pins_base(W: Rationals, k: int) -> bool:
    r"""Return whether a triple of tasks leaves LoRA-ML a single base of zero loss: the proof of ML-3, decided over Q.

    At zero loss ``U_t U_t^T - U_s U_s^T = W_t - W_s``. Where all three differences of a triple have rank 2k, their
    column spaces are span[U_t, U_s], so span(U_t) lies in the intersection of two, with basis E_t, and
    ``A - W_t = -E_t X_t E_t^T`` for a symmetric X_t. Two solutions differ by ``E_t Y_t E_t^T``, the same matrix for
    the three t. The triple pins the base if that linear system has no solution but Y = 0.
    """
    return any(_pins(W, triple, k) for triple in combinations(range(len(W)), 3))


def _pins(W: Rationals, triple: tuple[int, int, int], k: int) -> bool:
    t, s, r = triple
    spaces = {frozenset(pair): column_space(W[pair[0]] - W[pair[1]]) for pair in ((t, s), (t, r), (s, r))}
    E = [intersection(*(space for pair, space in spaces.items() if task in pair)) for task in triple]
    if any(space.shape[1] != 2 * k for space in spaces.values()) or min(basis.shape[1] for basis in E) < k:
        return False
    joint = np.concatenate(E, axis=1)
    if rank(joint) == joint.shape[1]:
        return (
            True  # the column spaces of the E_t meet only in 0, so the common matrix is 0: the last step of the proof
        )
    rows = pivots(joint.T)  # rows that determine all others: the equations on them are all there are
    first, second, third = (_symmetric_products(basis[rows]) for basis in E)
    system = np.block([[first, -second, 0 * third], [first, 0 * second, -third]])
    return rank(system) == int(system.shape[1])


def _symmetric_products(E: Rationals) -> Rationals:
    """Return the matrices ``E_i E_j^T + E_j E_i^T``, i <= j, of the columns of E, each as a column of length d^2."""
    m = int(E.shape[1])
    products = [np.outer(E[:, i], E[:, j]) + np.outer(E[:, j], E[:, i]) for i in range(m) for j in range(i, m)]
    return np.stack([product.reshape(-1) for product in products], axis=1)
