"""Gradient descent on LANES trials at once, compiled by numba; an entry of a matrix is a vector over the trials.

Matrices that are multiplied often are stored in panels of 8 rows (then one of 4, then single ones), within a panel
column by column, so that `_product` reads them in order and keeps a panel's results in registers. Vectors and factors
are stored column after column. All arrays are flat.

With ``H_t = (A - W_t) S_t`` and ``P = S U`` the adapters' gradients need no d x d product:

    symmetric   (G + G^T) U = (H + H^T) U + U (U^T P) + P (U^T U),
    asymmetric  G V = H V + U (V^T P),  G^T U = H^T U + P (U^T U),   P = S V,

so an inner step costs two (asymmetric: three) products of a d x d matrix and a d x k factor; H changes with A only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from sims.kernels.simd import LANES, fma, load, splat, store


def _compiled(function: Callable[..., Any]) -> Any:
    """Compile at the first call, without the interpreter's lock; keep the code on disk where that can be written."""
    try:
        return numba.njit(function, nogil=True, cache=True)
    except RuntimeError:  # numba found no folder for its cache
        return numba.njit(function, nogil=True)


_inlined = numba.njit(inline="always", nogil=True)  # a call would count references, which costs as much as a step


@_compiled
def _aligned(count):
    """Return room for so many vectors, from a cache line's start on."""
    room = np.empty(count * LANES + 8)
    offset = (-room.ctypes.data % 64) // 8
    return room[offset : offset + count * LANES]


@_compiled
def _place(row, rows, columns):
    """Return position and stride of a row in panels."""
    full = rows // 8 * 8
    if row < full:
        return row // 8 * 8 * columns + row % 8, 8
    if rows - full >= 4:
        if row < full + 4:
            return full * columns + row - full, 4
    return row * columns, 1


@_inlined
def _product(M, X, Y, rows, d, k):
    """Y = M X for M in panels, ``rows x d``, and k columns."""
    for c in range(k):
        x, y, m = c * d, c * rows, 0
        while y + 8 <= (c + 1) * rows:
            a0 = splat(0.0)
            a1 = a2 = a3 = a4 = a5 = a6 = a7 = a0
            for j in range(x, x + d):
                u = load(X, j)
                a0 = fma(load(M, m), u, a0)
                a1 = fma(load(M, m + 1), u, a1)
                a2 = fma(load(M, m + 2), u, a2)
                a3 = fma(load(M, m + 3), u, a3)
                a4 = fma(load(M, m + 4), u, a4)
                a5 = fma(load(M, m + 5), u, a5)
                a6 = fma(load(M, m + 6), u, a6)
                a7 = fma(load(M, m + 7), u, a7)
                m += 8
            store(Y, y, a0)
            store(Y, y + 1, a1)
            store(Y, y + 2, a2)
            store(Y, y + 3, a3)
            store(Y, y + 4, a4)
            store(Y, y + 5, a5)
            store(Y, y + 6, a6)
            store(Y, y + 7, a7)
            y += 8
        if y + 4 <= (c + 1) * rows:
            a0 = splat(0.0)
            a1 = a2 = a3 = a0
            for j in range(x, x + d):
                u = load(X, j)
                a0 = fma(load(M, m), u, a0)
                a1 = fma(load(M, m + 1), u, a1)
                a2 = fma(load(M, m + 2), u, a2)
                a3 = fma(load(M, m + 3), u, a3)
                m += 4
            store(Y, y, a0)
            store(Y, y + 1, a1)
            store(Y, y + 2, a2)
            store(Y, y + 3, a3)
            y += 4
        while y < (c + 1) * rows:
            a0 = splat(0.0)
            for j in range(x, x + d):
                a0 = fma(load(M, m), load(X, j), a0)
                m += 1
            store(Y, y, a0)
            y += 1


@_inlined
def _gram(X, x, x_stride, Y, y, y_stride, Z, d, k, size):
    """Z = size X^T Y for factors whose columns start at x, x + x_stride, .. and y, y + y_stride, .."""
    scale = splat(size)
    for e in range(k):
        for c in range(k):
            even = odd = splat(0.0)
            i, j = x + e * x_stride, y + c * y_stride
            for _ in range(d // 2):
                even = fma(load(X, i), load(Y, j), even)
                odd = fma(load(X, i + 1), load(Y, j + 1), odd)
                i += 2
                j += 2
            if d % 2:
                even = fma(load(X, i), load(Y, j), even)
            store(Z, e * k + c, scale * (even + odd))


@_compiled
def _symmetric_steps(M, U, Y, g, h, d, k, steps, size):
    """U <- U - size (K U + U (U^T P) + P (U^T U)), several times; M holds K over S, Y the columns of Q over P."""
    minus = splat(-size)
    for _ in range(steps):
        _product(M, U, Y, 2 * d, d, k)
        _gram(U, 0, d, Y, d, 2 * d, g, d, k, -size)
        _gram(U, 0, d, U, 0, d, h, d, k, -size)
        for c in range(k):
            for i in range(d):
                new = fma(minus, load(Y, 2 * c * d + i), load(U, c * d + i))
                for e in range(k):
                    new = fma(load(U, e * d + i), load(g, e * k + c), new)
                    new = fma(load(Y, (2 * e + 1) * d + i), load(h, e * k + c), new)
                store(Y, 2 * c * d + i, new)  # the old columns of U are needed until the last is done
        for c in range(k):
            for i in range(d):
                store(U, c * d + i, load(Y, 2 * c * d + i))


@_compiled
def _asymmetric_steps(M, H_transposed, U, V, Y, Z, g, h, d, k, steps, size):
    """Move U by -size (H V + U (V^T P)) and V by -size (H^T U + P (U^T U)), several times; M holds H over S."""
    minus = splat(-size)
    for _ in range(steps):
        _product(M, V, Y, 2 * d, d, k)
        _product(H_transposed, U, Z, d, d, k)
        _gram(V, 0, d, Y, d, 2 * d, g, d, k, -size)
        _gram(U, 0, d, U, 0, d, h, d, k, -size)
        for c in range(k):
            for i in range(d):
                u = fma(minus, load(Y, 2 * c * d + i), load(U, c * d + i))
                v = fma(minus, load(Z, c * d + i), load(V, c * d + i))
                for e in range(k):
                    u = fma(load(U, e * d + i), load(g, e * k + c), u)
                    v = fma(load(Y, (2 * e + 1) * d + i), load(h, e * k + c), v)
                store(Y, 2 * c * d + i, u)
                store(V, c * d + i, v)
        for c in range(k):
            for i in range(d):
                store(U, c * d + i, load(Y, 2 * c * d + i))


@_compiled
def _pack(trials, vectors, position, stride):
    """Write a matrix's row of all trials, ``(trials, entries)``, as vectors; lanes beyond repeat the last trial."""
    for j in range(trials.shape[1]):
        for lane in range(LANES):
            vectors[(position + j * stride) * LANES + lane] = trials[min(lane, trials.shape[0] - 1), j]


@_compiled
def _unpack(vectors, trials, position):
    """Undo `_pack` for a row that is stored as it is."""
    for j in range(trials.shape[1]):
        for lane in range(trials.shape[0]):
            trials[lane, j] = vectors[(position + j) * LANES + lane]


@_compiled
def _pack_panels(matrices, panels, first, rows):
    """Write the rows of ``(trials, d, d)`` as rows `first`, .. of panels of so many rows."""
    for i in range(matrices.shape[1]):
        position, stride = _place(first + i, rows, matrices.shape[2])
        _pack(matrices[:, i], panels, position, stride)


@_compiled
def _pack_rows(matrices, vectors):
    """Write ``(trials, d, d)`` row after row."""
    for i in range(matrices.shape[1]):
        _pack(matrices[:, i], vectors, i * matrices.shape[2], 1)


@_compiled
def _unpack_rows(vectors, matrices):
    """Read ``(trials, d, d)`` row after row."""
    for i in range(matrices.shape[1]):
        _unpack(vectors, matrices[:, i], i * matrices.shape[2])


@_compiled
def _pack_factors(factors, vectors):
    """Write the columns of ``(trials, d, k)``."""
    for c in range(factors.shape[2]):
        _pack(factors[:, :, c], vectors, c * factors.shape[1], 1)


@_compiled
def _unpack_factors(vectors, factors):
    """Read the columns of ``(trials, d, k)``."""
    for c in range(factors.shape[2]):
        _unpack(vectors, factors[:, :, c], c * factors.shape[1])


@_compiled
def _split_gradient(F, C, M, H_transposed, d, symmetric):
    """Put H = F - C, or H + H^T, into the upper rows of M, and H^T into panels of its own; H replaces F."""
    for m in range(d * d):
        store(F, m, load(F, m) - load(C, m))
    for i in range(d):
        position, stride = _place(i, 2 * d, d)
        for j in range(d):
            entry = load(F, i * d + j)
            if symmetric:
                entry = entry + load(F, j * d + i)
            store(M, position + j * stride, entry)
        if not symmetric:
            position, stride = _place(i, d, d)
            for j in range(d):
                store(H_transposed, position + j * stride, load(F, j * d + i))


@_compiled
def _add_gradient(H, U, P, total, d, k):
    """Add G = H + U P^T to the total."""
    for i in range(d):
        for j in range(d):
            entry = load(total, i * d + j) + load(H, i * d + j)
            for c in range(k):
                entry = fma(load(U, c * d + i), load(P, c * d + j), entry)
            store(total, i * d + j, entry)


@_compiled
def _multiply(M, X, Y, rows, d, k):
    """Y = M X."""
    _product(M, X, Y, rows, d, k)


@_compiled
def _part(room, index, vectors):
    """Return the piece of that number of a room cut into pieces of so many vectors."""
    return room[index * vectors * LANES : (index + 1) * vectors * LANES]


@_compiled
def retrain(S, C, A0, U0, V0, records, inner_steps, inner_size, outer_size, symmetric, A_out, U_out, V_out):
    """Run the alternating descent of up to LANES trials; write the points at the recorded steps.

    Parameters
    ----------
    S, C
        Moments, ``(trials, T, d, d)``.
    A0, U0, V0
        ``(trials, d, d)``, ``(trials, T, d, k)`` and the same again; V0 is not read where symmetric.
    records
        Outer steps after which to record, increasing; the last ends the descent.
    A_out, U_out, V_out
        Results, with an axis of records before the others; V_out is not written where symmetric.
    """
    T, d, k = U0.shape[1:]
    M, S_all, C_all, H_transposed = _aligned(T * 2 * d * d), _aligned(T * d * d), _aligned(T * d * d), _aligned(d * d)
    A, total, H = _aligned(d * d), _aligned(d * d), _aligned(d * d)
    U_all, V_all, Y, Z = _aligned(T * d * k), _aligned(T * d * k), _aligned(2 * d * k), _aligned(d * k)
    g, h = _aligned(k * k), _aligned(k * k)
    _pack_rows(A0, A)
    for t in range(T):
        _pack_panels(S[:, t], _part(M, t, 2 * d * d), d, 2 * d)
        _pack_panels(S[:, t], _part(S_all, t, d * d), 0, d)
        _pack_rows(C[:, t], _part(C_all, t, d * d))
        _pack_factors(U0[:, t], _part(U_all, t, d * k))
        if not symmetric:
            _pack_factors(V0[:, t], _part(V_all, t, d * k))
    step = 0
    for record in range(records.size):
        while step < records[record]:
            total[:] = 0.0
            for t in range(T):
                M_t, S_t, U = _part(M, t, 2 * d * d), _part(S_all, t, d * d), _part(U_all, t, d * k)
                _multiply(S_t, A, H, d, d, d)  # row after row, A S and S A^T are the same
                _split_gradient(H, _part(C_all, t, d * d), M_t, H_transposed, d, symmetric)
                if symmetric:
                    V = U
                    _symmetric_steps(M_t, U, Y, g, h, d, k, inner_steps, inner_size)
                else:
                    V = _part(V_all, t, d * k)
                    _asymmetric_steps(M_t, H_transposed, U, V, Y, Z, g, h, d, k, inner_steps, inner_size)
                _multiply(S_t, V, Z, d, d, k)
                _add_gradient(H, U, Z, total, d, k)
            for m in range(A.size):
                A[m] -= outer_size / T * total[m]
            step += 1
        _unpack_rows(A, A_out[record])
        for t in range(T):
            _unpack_factors(_part(U_all, t, d * k), U_out[record, :, t])
            if not symmetric:
                _unpack_factors(_part(V_all, t, d * k), V_out[record, :, t])


@_compiled
def fine_tune(S, H, U0, V0, records, size, U_out, V_out):
    """Run the descent of up to LANES trials on ``l(base + U V^T)``, ``H = (base - W) S``; shapes as in `retrain`."""
    d, k = U0.shape[1:]
    M, H_transposed = _aligned(2 * d * d), _aligned(d * d)
    U, V, Y, Z = _aligned(d * k), _aligned(d * k), _aligned(2 * d * k), _aligned(d * k)
    g, h = _aligned(k * k), _aligned(k * k)
    _pack_panels(H, M, 0, 2 * d)
    _pack_panels(S, M, d, 2 * d)
    _pack_panels(H.transpose((0, 2, 1)), H_transposed, 0, d)
    _pack_factors(U0, U)
    _pack_factors(V0, V)
    step = 0
    for record in range(records.size):
        _asymmetric_steps(M, H_transposed, U, V, Y, Z, g, h, d, k, records[record] - step, size)
        step = records[record]
        _unpack_factors(U, U_out[record])
        _unpack_factors(V, V_out[record])
