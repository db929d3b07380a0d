r"""Fixing the gauge ``U_t -> U_t Q_t``: a pattern of zeros that picks one point of every orbit nearby.

g depends on U_t through ``U_t U_t^T`` alone, so at k > 1 its stationary points are never isolated. With rows
r_1..r_{k-1} of U_t rotated so that row r_i is zero right of column i, and the entries (r_i, i) not 0, the coordinates
that stay free meet the orbit's tangent space ``{U_t K : K skew}`` only in 0, and together they span everything: in
``(U_t K)[r_i, j] = sum_{l <= i} U_t[r_i, l] K[l, j]``, j > i, row after row determines K.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = tuple[tuple[int, ...], ...]
"""For each task the rows r_1..r_{k-1}."""


def fix(U: Floats) -> tuple[Floats, Rows]:
    """Rotate factors, ``(T, d, k)``, into the gauge; the rows are the longest that are left, column by column.

    Examples
    --------
    >>> fixed, rows = fix(np.array([[[3.0, 4.0], [1.0, 0.0]]]))
    >>> fixed.round(12).tolist(), rows
    ([[[5.0, 0.0], [0.6, -0.8]]], ((0,),))
    """
    pairs = [_fix_one(factor) for factor in U]
    return np.stack([factor for factor, _ in pairs]), tuple(rows for _, rows in pairs)


def _fix_one(U: Floats) -> tuple[Floats, tuple[int, ...]]:
    U, k = U.copy(), U.shape[1]
    rows: list[int] = []
    for i in range(k - 1):
        lengths = np.linalg.norm(U[:, i:], axis=1)
        lengths[rows] = -1.0
        row = int(np.argmax(lengths))
        Q = np.linalg.qr(np.column_stack([U[row, i:], np.eye(k - i)]))[0]
        U[:, i:] = U[:, i:] @ (Q * np.where(np.arange(k - i) == 0, np.sign(Q[:, 0] @ U[row, i:]) or 1.0, 1.0))
        U[row, i + 1 :] = 0.0
        rows.append(row)
    return U, tuple(rows)


def free(rows: Rows, d: int, k: int) -> NDArray[np.bool_]:
    """Return which entries of U, ``(T, d, k)``, the gauge leaves free."""
    mask = np.ones((len(rows), d, k), dtype=bool)
    for t, chosen in enumerate(rows):
        for i, row in enumerate(chosen):
            mask[t, row, i + 1 :] = False
    return mask
