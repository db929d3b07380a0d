r"""LoRA-ML with the base eliminated, for numbers of any kind that add and multiply.

With ``D_t = U_t U_t^T - R_t*`` and ``E_t = D_t - mean_s D_s`` (the residual at the minimising base)

    g(U) = min_A f(A, U) = 1/2 sum_t ||E_t||_F^2,
    dg/dU_t = 2 E_t U_t,
    d^2 g / dU_t[i,a] dU_s[j,b]
        = 2 (delta_ts - 1/T) (delta_ij (U_t^T U_s)[a,b] + U_t[j,a] U_s[i,b]) + 2 delta_ts delta_ab E_t[i,j].

The envelope theorem gives the gradient, since f is stationary in A; A* does not enter. The entries may be
rationals, balls or symbols; `ProjectedLoRAML` is the same in floating point.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from loraml_theory.exact.rational import shifts

Numbers = NDArray[np.object_]


def residuals(U: Numbers, U_star: Numbers) -> Numbers:
    """Return E_t, ``(T, d, d)``, for factors of the retraining tasks, ``(T, d, r)`` and ``(T, d, k)``."""
    D = shifts(U) - shifts(U_star)
    return D - np.sum(D, axis=0) / len(D)


def value(U: Numbers, U_star: Numbers) -> Any:
    """Return g(U)."""
    E = residuals(U, U_star)
    return np.sum(E * E) / 2


def gradient(U: Numbers, U_star: Numbers) -> Numbers:
    """Return dg/dU, ``(T, d, r)``."""
    E = residuals(U, U_star)
    return np.stack([2 * (E_t @ U_t) for E_t, U_t in zip(E, U, strict=True)])


def hessian(U: Numbers, U_star: Numbers) -> Numbers:
    """Return the Hessian, ``(T d r, T d r)``, in the order of ``U.reshape(-1)``."""
    T, d, r = U.shape
    E = residuals(U, U_star)
    H = np.empty((T, d, r, T, d, r), dtype=object)
    for t in range(T):
        for s in range(t, T):
            block = np.multiply.outer(U[t], U[s]).transpose(2, 1, 0, 3)  # [i, a, j, b] = U_t[j, a] U_s[i, b]
            gram = U[t].T @ U[s]
            for i in range(d):
                block[i, :, i, :] = block[i, :, i, :] + gram
            block = block * 2 - block * 2 / T if t == s else block * -2 / T
            if t == s:
                for a in range(r):
                    block[:, a, :, a] = block[:, a, :, a] + 2 * E[t]
            H[t, :, :, s] = block
            H[s, :, :, t] = block.transpose(2, 3, 0, 1)
    return H.reshape(T * d * r, T * d * r)


def second_order(U: Numbers, U_star: Numbers, direction: Numbers) -> Any:
    r"""Return ``D^2 g[V, V] = sum_t (2 <V_t, E_t V_t> + ||L_t - mean_s L_s||_F^2)``, L_t = V_t U_t^T + U_t V_t^T."""
    E = residuals(U, U_star)
    L = np.stack([V_t @ U_t.T + U_t @ V_t.T for U_t, V_t in zip(U, direction, strict=True)])
    L = L - np.sum(L, axis=0) / len(L)
    return np.sum(L * L) + sum(2 * np.sum(V_t * (E_t @ V_t)) for E_t, V_t in zip(E, direction, strict=True))
