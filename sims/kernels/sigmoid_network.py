"""AdamW on one two-layer network with adapters, all its tasks, many steps per call; compiled by numba.

    loss = sum_t sum_s w_ts (c^T sigmoid((A + U_t V_t^T) x_ts) - y_ts)^2

Neighbouring samples share a vector. A block of samples goes forwards and backwards while it is in the L1 cache:
the activations of two hidden units for `GROUP` vectors of samples at a time, so that one division serves two sigmoids,
then the d x d gradient in tiles of two by five whose sums stay in registers.

All arrays are flat and of one type. Matrices lie row by row; the samples of a task feature by feature, padded by
samples of weight 0 to a multiple of `GROUP` vectors. A point is A (d, d), c (d), U (T, d, k) and V (T, d, k) in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from sims.kernels.vectors import VECTOR_BYTES, fma, load, sigmoids, splat, store, total

GROUP = 4  # vectors of samples that go forwards together
_BLOCK = 40  # d times the groups of a block: its data fit in the L1 cache


def _compiled(function: Callable[..., Any]) -> Any:
    """Compile at the first call, without the interpreter's lock; cache the code on disk where possible."""
    try:
        return numba.njit(function, nogil=True, cache=True, error_model="numpy")
    except RuntimeError:  # numba found no folder for its cache
        return numba.njit(function, nogil=True, error_model="numpy")


@_compiled
def _forward(W, c, x, y, weight, S, pred, d, samples, at, lanes):
    """Put activations and the weighted residuals 2 w (c^T s - y) of one group of samples into S and `pred`."""
    zero = splat(W.dtype.type(0))
    p0 = p1 = p2 = p3 = zero
    for i in range(0, d, 2):
        other = min(i + 1, d - 1)  # the last unit of an odd number is its own partner
        a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = zero
        for j in range(d):
            at_j = j * samples + at
            a, b = splat(W[i * d + j]), splat(W[other * d + j])
            x0, x1 = load(x, at_j), load(x, at_j + lanes)
            x2, x3 = load(x, at_j + 2 * lanes), load(x, at_j + 3 * lanes)
            a0, a1, a2, a3 = fma(a, x0, a0), fma(a, x1, a1), fma(a, x2, a2), fma(a, x3, a3)
            b0, b1, b2, b3 = fma(b, x0, b0), fma(b, x1, b1), fma(b, x2, b2), fma(b, x3, b3)
        a0, b0 = sigmoids(a0, b0)
        a1, b1 = sigmoids(a1, b1)
        a2, b2 = sigmoids(a2, b2)
        a3, b3 = sigmoids(a3, b3)
        place, weight_of = i * samples + at, splat(c[i])
        store(S, place, a0)
        store(S, place + lanes, a1)
        store(S, place + 2 * lanes, a2)
        store(S, place + 3 * lanes, a3)
        p0, p1, p2, p3 = fma(weight_of, a0, p0), fma(weight_of, a1, p1), fma(weight_of, a2, p2), fma(weight_of, a3, p3)
        if other > i:
            place, weight_of = other * samples + at, splat(c[other])
            store(S, place, b0)
            store(S, place + lanes, b1)
            store(S, place + 2 * lanes, b2)
            store(S, place + 3 * lanes, b3)
            p0, p1 = fma(weight_of, b0, p0), fma(weight_of, b1, p1)
            p2, p3 = fma(weight_of, b2, p2), fma(weight_of, b3, p3)
    store(pred, 0, load(weight, at) * (p0 - load(y, at)))
    store(pred, lanes, load(weight, at + lanes) * (p1 - load(y, at + lanes)))
    store(pred, 2 * lanes, load(weight, at + 2 * lanes) * (p2 - load(y, at + 2 * lanes)))
    store(pred, 3 * lanes, load(weight, at + 3 * lanes) * (p3 - load(y, at + 3 * lanes)))


@_compiled
def _backward(c, S, residual, c_sums, d, samples, at, lanes):
    """Turn the activations of a group in S into the gradients by z, and add to the sums of residual times s."""
    for i in range(d):
        place, weight_of, sum_ = i * samples + at, splat(c[i]), load(c_sums, i * lanes)
        for g in range(GROUP):
            s, r = load(S, place + g * lanes), load(residual, g * lanes)
            sum_ = fma(r, s, sum_)
            store(S, place + g * lanes, weight_of * r * (s - s * s))
        store(c_sums, i * lanes, sum_)


@_compiled
def _tile_2_5(G, g, x, at_x, sums, at_sums, d, samples, steps, lanes):
    """Add the products of two rows of G and five of x over some vectors of samples to ten sums."""
    row, next_ = at_sums, at_sums + d * lanes
    a0, a1, a2 = load(sums, row), load(sums, row + lanes), load(sums, row + 2 * lanes)
    a3, a4 = load(sums, row + 3 * lanes), load(sums, row + 4 * lanes)
    b0, b1, b2 = load(sums, next_), load(sums, next_ + lanes), load(sums, next_ + 2 * lanes)
    b3, b4 = load(sums, next_ + 3 * lanes), load(sums, next_ + 4 * lanes)
    for s in range(0, steps * lanes, lanes):
        a, b = load(G, g + s), load(G, g + samples + s)
        x0, x1, x2 = load(x, at_x + s), load(x, at_x + samples + s), load(x, at_x + 2 * samples + s)
        x3, x4 = load(x, at_x + 3 * samples + s), load(x, at_x + 4 * samples + s)
        a0, a1, a2, a3, a4 = fma(a, x0, a0), fma(a, x1, a1), fma(a, x2, a2), fma(a, x3, a3), fma(a, x4, a4)
        b0, b1, b2, b3, b4 = fma(b, x0, b0), fma(b, x1, b1), fma(b, x2, b2), fma(b, x3, b3), fma(b, x4, b4)
    store(sums, row, a0)
    store(sums, row + lanes, a1)
    store(sums, row + 2 * lanes, a2)
    store(sums, row + 3 * lanes, a3)
    store(sums, row + 4 * lanes, a4)
    store(sums, next_, b0)
    store(sums, next_ + lanes, b1)
    store(sums, next_ + 2 * lanes, b2)
    store(sums, next_ + 3 * lanes, b3)
    store(sums, next_ + 4 * lanes, b4)


@_compiled
def _tile_1_1(G, g, x, at_x, sums, at_sums, steps, lanes):
    """Add the product of one row of G and one of x over some vectors of samples to one sum."""
    even = load(sums, at_sums)
    odd = even - even
    for s in range(0, steps * lanes, 2 * lanes):
        even = fma(load(G, g + s), load(x, at_x + s), even)
        odd = fma(load(G, g + s + lanes), load(x, at_x + s + lanes), odd)
    store(sums, at_sums, even + odd)


@_compiled
def _outer_product(G, x, sums, d, samples, at, steps, lanes):
    """Add G x^T over some vectors of samples, from `at` on, to d x d sums."""
    for i in range(0, d, 2):
        for j in range(0, d, 5):
            if i + 1 < d and j + 4 < d:
                at_sums = (i * d + j) * lanes
                _tile_2_5(G, i * samples + at, x, j * samples + at, sums, at_sums, d, samples, steps, lanes)
            else:
                for row in range(i, min(i + 2, d)):
                    for column in range(j, min(j + 5, d)):
                        at_sums = (row * d + column) * lanes
                        _tile_1_1(G, row * samples + at, x, column * samples + at, sums, at_sums, steps, lanes)


@_compiled
def _task_gradient(W, c, x, y, weight, room, d, samples, lanes):
    """Leave the sums over samples of the gradients by W and by c in the room, one vector each."""
    S, residual, W_sums, c_sums = room
    W_sums[:] = 0
    c_sums[:] = 0
    group = GROUP * lanes
    block = max(1, _BLOCK // d) * group
    for begin in range(0, samples, block):
        end = min(begin + block, samples)
        for at in range(begin, end, group):
            _forward(W, c, x, y, weight, S, residual, d, samples, at, lanes)
            _backward(c, S, residual, c_sums, d, samples, at, lanes)
        _outer_product(S, x, W_sums, d, samples, begin, (end - begin) // lanes, lanes)


@_compiled
def _add_gradients(point, gradient, W_gradient, c_sums, task, sizes, lanes):
    """Add a task's gradients: W = A + U V^T has dA = dW, dU = dW V, dV = dW^T U."""
    T, d, k = sizes
    for entry in range(d * d):
        gradient[entry] += W_gradient[entry]
    for i in range(d):
        gradient[d * d + i] += total(load(c_sums, i * lanes))
    U = d * d + d + task * d * k
    V = U + T * d * k
    for i in range(d):
        for j in range(d):
            entry = W_gradient[i * d + j]
            for q in range(k):
                gradient[U + i * k + q] += entry * point[V + j * k + q]
                gradient[V + j * k + q] += entry * point[U + i * k + q]


@_compiled
def _set_weights(point, W, task, sizes):
    """Put A + U_t V_t^T into W."""
    T, d, k = sizes
    U = d * d + d + task * d * k
    V = U + T * d * k
    for i in range(d):
        for j in range(d):
            entry = point[i * d + j]
            for q in range(k):
                entry += point[U + i * k + q] * point[V + j * k + q]
            W[i * d + j] = entry


@_compiled
def gradient(point, out, x, y, weight, sizes, room):
    """Put the loss's gradient by the whole point into `out`; `room` is from `working_room`."""
    T, d, _ = sizes
    W, W_gradient, working = room
    lanes = VECTOR_BYTES // point.itemsize
    samples = y.size // T
    out[:] = 0
    c = point[d * d : d * d + d]
    for task in range(T):
        here = slice(task * samples, (task + 1) * samples)
        _set_weights(point, W, task, sizes)
        inputs = x[task * d * samples : (task + 1) * d * samples]
        _task_gradient(W, c, inputs, y[here], weight[here], working, d, samples, lanes)
        for entry in range(d * d):
            W_gradient[entry] = total(load(working[2], entry * lanes))
        _add_gradients(point, out, W_gradient, working[3], task, sizes, lanes)


@_compiled
def working_room(point, sizes, samples):
    """Return working memory."""
    _, d, _ = sizes
    lanes = VECTOR_BYTES // point.itemsize
    working = (
        np.empty(d * samples, point.dtype),
        np.empty(GROUP * lanes, point.dtype),
        np.empty(d * d * lanes, point.dtype),
        np.empty(d * lanes, point.dtype),
    )
    return np.empty(d * d, point.dtype), np.empty(d * d, point.dtype), working


@_compiled
def _adamw(state, slope, first, numbers):
    """Take one step; `numbers` are the decay's factor, both averages' shares, epsilon, and both corrections."""
    point, mean, square = state
    shrink, share, kept, new = numbers[0], numbers[1], numbers[2], numbers[3]
    epsilon, length, scale = numbers[4], numbers[5], numbers[6]
    for i in range(first, point.size):
        g = slope[i]
        mean[i] += share * (g - mean[i])
        square[i] = kept * square[i] + new * g * g
        point[i] = shrink * point[i] - length * mean[i] / (scale * np.sqrt(square[i]) + epsilon)


@_compiled
def descend(state, x, y, weight, sizes, first, done, steps, settings):
    """Take steps of AdamW in place.

    Parameters
    ----------
    state
        Point and both of AdamW's moving averages, ``(size,)`` each.
    x, y, weight
        ``(T d S,)``, ``(T S,)``, ``(T S,)``: inputs, targets and twice the weights w of the samples.
    sizes
        T, d, k.
    first
        Index of the first trained entry: 0, or d^2 + d for adapters alone.
    done, steps
        Steps taken before, and to take.
    settings
        Step size, weight decay, the two averages' decay rates and epsilon.
    """
    point = state[0]
    step_size, weight_decay, mean_rate, square_rate, epsilon = settings
    slope = np.empty_like(point)
    room = working_room(point, sizes, y.size // sizes[0])
    numbers = np.empty(7, point.dtype)
    numbers[0], numbers[1] = 1 - step_size * weight_decay, 1 - mean_rate
    numbers[2], numbers[3], numbers[4] = square_rate, 1 - square_rate, epsilon
    for step in range(done + 1, done + steps + 1):
        gradient(point, slope, x, y, weight, sizes, room)
        numbers[5] = step_size / (1 - mean_rate**step)
        numbers[6] = 1 / np.sqrt(1 - square_rate**step)
        _adamw(state, slope, first, numbers)
