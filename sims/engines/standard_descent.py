"""Gradient descent of standard retraining without steps: its iterates have a closed form."""

from __future__ import annotations

import numpy as np

from loraml_theory.moments import Moments


def iterates(moments: Moments, A: np.ndarray, *, steps: np.ndarray, step_size: float) -> np.ndarray:
    r"""Return the points of gradient descent on ``(1/T) sum_t l_t(A)`` after the given numbers of steps.

        A_{s+1} = A_s - eta (A_s S - C),   S = (1/T) sum_t S_t,  C = (1/T) sum_t W_t S_t,

    is linear: with ``S = Q diag(lambda) Q^T``, column j of ``A_s Q`` is ``p^s`` times its start plus
    ``(1 - p^s) / lambda_j`` times column j of ``C Q``, ``p = 1 - eta lambda_j``.

    Parameters
    ----------
    moments
        ``(B, T, d, d)``.
    A
        Start, ``(B, d, d)``.
    steps
        ``(records,)``, whole numbers.
    step_size
        eta.

    Returns
    -------
    ``(records, B, d, d)``; not finite where the descent overflowed.
    """
    S, C = moments.S.mean(axis=1), (moments.W @ moments.S).mean(axis=1)
    values, Q = np.linalg.eigh(S)
    start, constant = A @ Q, C @ Q
    points = np.empty((len(steps), *A.shape))
    with np.errstate(over="ignore", invalid="ignore"):
        for r, step in enumerate(steps):
            power, total = _powers(step_size * values, int(step))
            columns = power[:, None, :] * start + step_size * total[:, None, :] * constant
            points[r] = columns @ Q.swapaxes(-1, -2) if step else A
    return points


def _powers(x: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ``(1 - x)^step`` and ``1 + (1 - x) + .. + (1 - x)^(step - 1)``, accurate also for small x."""
    small = np.abs(x) < 0.5
    log = step * np.log1p(-np.where(small, x, 0.0))
    power = np.where(small, np.exp(log), (1 - x) ** step)
    total = np.where(small, -np.expm1(log), 1 - power) / np.where(x == 0, 1.0, x)
    return power, np.where(x == 0, float(step), total)
