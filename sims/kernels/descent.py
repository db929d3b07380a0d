"""Gradient descent on LANES trials at once, compiled by numba; an entry of a matrix is a vector over the trials.

Matrices that multiply are stored in panels of 8 rows, with perhaps a last one of 4, their rows padded to a multiple of
4; within a panel column by column, so that `_product` reads them in order and keeps a panel's results in registers.
Vectors and factors are stored column by column. Names in capitals are addresses, see `sims.kernels.lanes`.

With ``H_t = (A - W_t) S_t`` and ``P = S U`` the adapters' gradients need no d x d product:

    symmetric   (G + G^T) U = (H + H^T) U + U (U^T P) + P (U^T U),
    asymmetric  G V = H V + U (V^T P),  G^T U = H^T U + P (U^T U),   P = S V,

so an inner step costs two (asymmetric: three) products of a d x d matrix and a d x k factor; H changes with A only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

from sims.kernels.simd import LANES, fma, load, splat, store


def _compiled(function: Callable[..., Any]) -> Any:
    """Compile at the first call, without the interpreter's lock; cache the code on disk where possible."""
    try:
        return numba.njit(function, nogil=True, cache=True)
    except RuntimeError:  # numba found no folder for its cache
        return numba.njit(function, nogil=True)


VECTOR_BYTES = LANES * 8


@_compiled
def padded(rows):
    """Return the next multiple of 4."""
    return (rows + 3) // 4 * 4


@_compiled
def _place(row, rows, columns):
    """Return position and stride of a row in panels with this many padded rows."""
    full = rows // 8 * 8
    if row < full:
        return row // 8 * 8 * columns + row % 8, 8
    return full * columns + row - full, 4


@_compiled
def _product(M, X, Y, rows, d, k):
    """Y = M X for M in panels, ``rows x d``, and k columns; a panel stays in the cache for all of them."""
    row = 0
    while row + 8 <= rows:
        for c in range(k):
            m, y = row * d, c * rows + row
            a0 = splat(0.0)
            a1 = a2 = a3 = a4 = a5 = a6 = a7 = a0
            for j in range(c * d, c * d + d):
                x = load(X, j)
                a0 = fma(load(M, m), x, a0)
                a1 = fma(load(M, m + 1), x, a1)
                a2 = fma(load(M, m + 2), x, a2)
                a3 = fma(load(M, m + 3), x, a3)
                a4 = fma(load(M, m + 4), x, a4)
                a5 = fma(load(M, m + 5), x, a5)
                a6 = fma(load(M, m + 6), x, a6)
                a7 = fma(load(M, m + 7), x, a7)
                m += 8
            store(Y, y, a0)
            store(Y, y + 1, a1)
            store(Y, y + 2, a2)
            store(Y, y + 3, a3)
            store(Y, y + 4, a4)
            store(Y, y + 5, a5)
            store(Y, y + 6, a6)
            store(Y, y + 7, a7)
        row += 8
    if row < rows:
        for c in range(k):
            m, y = row * d, c * rows + row
            a0 = splat(0.0)
            a1 = a2 = a3 = a0
            for j in range(c * d, c * d + d):
                x = load(X, j)
                a0 = fma(load(M, m), x, a0)
                a1 = fma(load(M, m + 1), x, a1)
                a2 = fma(load(M, m + 2), x, a2)
                a3 = fma(load(M, m + 3), x, a3)
                m += 4
            store(Y, y, a0)
            store(Y, y + 1, a1)
            store(Y, y + 2, a2)
            store(Y, y + 3, a3)


@_compiled
def _inner_product(X, x, Y, y, d, size):
    """Return ``size sum_i X_i Y_i`` of columns that start at x and y."""
    even = odd = splat(0.0)
    for i in range(0, d - 1, 2):
        even = fma(load(X, x + i), load(Y, y + i), even)
        odd = fma(load(X, x + i + 1), load(Y, y + i + 1), odd)
    if d % 2:
        even = fma(load(X, x + d - 1), load(Y, y + d - 1), even)
    return splat(size) * (even + odd)


@_compiled
def _symmetric_step(M, U, Y, NEW, rows, d, k, size):
    """NEW = U - size (K U + U (U^T P) + P (U^T U)); M holds K over S, Y gets K U over P."""
    minus = splat(-size)
    _product(M, U, Y, rows, d, k)
    for c in range(k):
        for e in range(k):
            g = _inner_product(U, e * d, Y, c * rows + d, d, -size)
            h = _inner_product(U, e * d, U, c * d, d, -size)
            for i in range(d):
                u = fma(minus, load(Y, c * rows + i), load(U, c * d + i)) if e == 0 else load(NEW, c * d + i)
                u = fma(load(U, e * d + i), g, u)
                store(NEW, c * d + i, fma(load(Y, e * rows + d + i), h, u))


@_compiled
def _asymmetric_step(M, H_TRANSPOSED, U, V, Y, Z, U_NEW, V_NEW, rows, d, k, size):
    """U_NEW = U - size (H V + U (V^T P)), V_NEW = V - size (H^T U + P (U^T U)); M holds H over S, Y gets H V over P."""
    minus, short = splat(-size), padded(d)
    _product(M, V, Y, rows, d, k)
    _product(H_TRANSPOSED, U, Z, short, d, k)
    for c in range(k):
        for e in range(k):
            g = _inner_product(V, e * d, Y, c * rows + d, d, -size)
            h = _inner_product(U, e * d, U, c * d, d, -size)
            for i in range(d):
                if e == 0:
                    u = fma(minus, load(Y, c * rows + i), load(U, c * d + i))
                    v = fma(minus, load(Z, c * short + i), load(V, c * d + i))
                else:
                    u = load(U_NEW, c * d + i)
                    v = load(V_NEW, c * d + i)
                store(U_NEW, c * d + i, fma(load(U, e * d + i), g, u))
                store(V_NEW, c * d + i, fma(load(Y, e * rows + d + i), h, v))


@_compiled
def _copy(FROM, TO, vectors):
    for m in range(vectors):
        store(TO, m, load(FROM, m))


@_compiled
def _inner_steps(M, H_TRANSPOSED, U, V, Y, Z, rows, d, k, steps, size, symmetric):
    """Take inner steps, then set P; U and V have room for two factors, the old and the new."""
    U_NEW, V_NEW = U + d * k * VECTOR_BYTES, V + d * k * VECTOR_BYTES
    for _ in range(steps):
        if symmetric:
            _symmetric_step(M, U, Y, U_NEW, rows, d, k, size)
        else:
            _asymmetric_step(M, H_TRANSPOSED, U, V, Y, Z, U_NEW, V_NEW, rows, d, k, size)
        U, U_NEW = U_NEW, U
        V, V_NEW = V_NEW, V
    if steps % 2:
        _copy(U, U_NEW, d * k)
        if not symmetric:
            _copy(V, V_NEW, d * k)
    _product(M, U if symmetric else V, Y, rows, d, k)


@_compiled
def _set_curvature(H, C, t, stride, M, H_TRANSPOSED, rows, d, symmetric):
    """Put ``H_t - C_t``, symmetric: its sum with its transpose, into M's upper rows, its transpose into panels."""
    for i in range(d):
        row, row_stride = _place(i, rows, d)
        column, column_stride = _place(i, padded(d), d)
        for j in range(d):
            here, there = i * stride + t * d + j, j * stride + t * d + i
            entry, other = load(H, here) - load(C, here), load(H, there) - load(C, there)
            if symmetric:
                entry = entry + other
            else:
                store(H_TRANSPOSED, column + j * column_stride, other)
            store(M, row + j * row_stride, entry)


@_compiled
def _base_step(A, H, C, U, Y, T, d, k, stride, rows, size):
    """A <- A - size sum_t (H_t - C_t + U_t P_t^T), task by task."""
    minus = splat(-size)
    for i in range(d):
        a = i * d
        for t in range(T):
            h, p = i * stride + t * d, t * k * rows + d
            u = minus * load(U, 2 * t * k * d + i)
            for j in range(d):
                entry = fma(minus, load(H, h + j) - load(C, h + j), load(A, a + j))
                store(A, a + j, fma(u, load(Y, p + j), entry))
            for c in range(1, k):
                u = minus * load(U, (2 * t * k + c) * d + i)
                for j in range(d):
                    store(A, a + j, fma(u, load(Y, p + c * rows + j), load(A, a + j)))


@_compiled
def _outer_step(moments, point, room, sizes, inner_steps, inner_size, outer_size, symmetric):
    """Move the adapters of all tasks, then the base; addresses as in `retrain`."""
    (M, S, C), (A, U, V), (H, H_TRANSPOSED, Y, Z), (T, d, k) = moments, point, room, sizes
    rows, stride = padded(2 * d), padded(T * d)
    _product(S, A, H, stride, d, d)  # stored by rows, A S_t and S_t A^T are the same
    for t in range(T):
        m, u, y = t * rows * d * VECTOR_BYTES, 2 * t * d * k * VECTOR_BYTES, t * rows * k * VECTOR_BYTES
        _set_curvature(H, C, t, stride, M + m, H_TRANSPOSED, rows, d, symmetric)
        _inner_steps(M + m, H_TRANSPOSED, U + u, V + u, Y + y, Z, rows, d, k, inner_steps, inner_size, symmetric)
    _base_step(A, H, C, U, Y, T, d, k, stride, rows, outer_size / T)


@_compiled
def retrain(moments, point, room, out, sizes, records, inner_steps, inner_size, outer_size, symmetric):
    """Run the alternating descent of LANES trials; write the points at the recorded steps.

    Parameters
    ----------
    moments
        M, S, C: S_t of every task in panels, below room for d rows; S of all tasks together in panels; the rows of
        ``[C_1, .., C_T]``, padded.
    point
        A, U, V, which move; the adapters of a task have room for as many more after them. V only if not symmetric.
    room
        Working memory H, H_TRANSPOSED, Y, Z.
    out
        Results for A, U, V, record by record; adapters with their spare room.
    sizes
        T, d, k.
    records
        Outer steps after which to record, increasing; the last ends the descent.
    """
    T, d, k = sizes
    step, factors = 0, 2 * T * d * k
    for record in range(records.size):
        for _ in range(step, records[record]):
            _outer_step(moments, point, room, sizes, inner_steps, inner_size, outer_size, symmetric)
        step = records[record]
        _copy(point[0], out[0] + record * d * d * VECTOR_BYTES, d * d)
        _copy(point[1], out[1] + record * factors * VECTOR_BYTES, factors)
        if not symmetric:
            _copy(point[2], out[2] + record * factors * VECTOR_BYTES, factors)


@_compiled
def fine_tune(M, H_TRANSPOSED, point, room, out, sizes, records, size):
    """Run the descent of LANES trials on ``l(base + U V^T)``; M holds ``(base - W) S`` over S, see `retrain`."""
    (U, V), (Y, Z), (d, k) = point, room, sizes
    step, rows, factors = 0, padded(2 * d), 2 * d * k
    for record in range(records.size):
        _inner_steps(M, H_TRANSPOSED, U, V, Y, Z, rows, d, k, records[record] - step, size, False)
        step = records[record]
        _copy(U, out[0] + record * factors * VECTOR_BYTES, factors)
        _copy(V, out[1] + record * factors * VECTOR_BYTES, factors)
