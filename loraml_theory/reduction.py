r"""LoRA-ML in the population reduces exactly to the span of the differences of the tasks' parameters.

Let ``S_t = s I`` and let the differences ``W_t - W_s`` be symmetric with ranges in the span of Q, an orthonormal basis
``(d, m)``; for ``W_t = A* + U_t* U_t*^T`` the span of [U_1*..U_T*] will do, ``m <= kT``. Write
``U_t = Q X_t + Q_perp Y_t`` and ``W_t' = Q^T (W_t - mean_s W_s) Q``. With g the objective after the base is eliminated
(`ProjectedLoRAML`), g' the same in dimension m for ``W_t'``, and bars for means over the tasks,

    g(U) = g'(X) + s sum_t ||X_t Y_t^T - mean||_F^2 + (s/2) sum_t ||Y_t Y_t^T - mean||_F^2.

Hence, with neither independence nor T >= 3 assumed:

1. ``min g = min g'``, and QX minimises g if and only if X minimises g'. The base is
   ``A = mean_t W_t - Q (mean_t X_t X_t^T) Q^T``.
2. QX is stationary for g if and only if X is for g'; along Q_perp the second derivative is
   ``2 s sum_t ||X_t dY_t^T - mean||_F^2 >= 0``. So a spurious minimum of g' stays a second-order stationary point in
   every dimension, and so does a saddle with its descent direction.
3. A global minimiser may leave the span only with ``X_t Y_t^T`` and ``Y_t Y_t^T`` the same for all t, X a minimiser of
   g'. If some X_t and X_s have jointly independent columns that forces Y = 0: the columns of the common
   ``X_t Y_t^T`` lie in span(X_t) and in span(X_s), which meet in 0, so it vanishes and with it Y_t, and then all
   ``Y_r Y_r^T = Y_t Y_t^T``. So every global minimiser lies in the span wherever ML-2 (two independent tasks) or ML-3
   (an independent triple) describes them all. Where all tasks are the same task, some lie outside.

Nothing here needs d: an instance with d = 1024, k = 16, T = 8 is one with d = 128.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from array_api_compat import device

from loraml_theory.libraries import array_namespace
from loraml_theory.structure import Array, frobenius, transpose

if TYPE_CHECKING:
    from numpy.random import Generator

OVERSAMPLING = 8  # columns of the sketch beyond the rank; keeps its smallest singular value from being tiny


class Reduction(NamedTuple):
    """Coordinates in the span of the differences.

    Parameters
    ----------
    Q
        Orthonormal basis, ``(..., d, m)``, ``m = min(d, kT)``.
    W
        Reduced parameters ``Q^T (W_t - mean) Q``, ``(..., T, m, m)``, symmetric.
    mean
        ``mean_t W_t``, ``(..., d, d)``.
    outside
        Relative size of what the span misses of the symmetric differences from the mean, ``(...)``: rounding for
        parameters as assumed, otherwise the size of what the reduction neglects.
    """

    Q: Array
    W: Array
    mean: Array
    outside: Array

    def lift(self, X: Array) -> Array:
        """Return ``U_t = Q X_t``, ``(..., T, m, k) -> (..., T, d, k)``."""
        return self.Q[..., None, :, :] @ X

    def base(self, X: Array) -> Array:
        """Return the minimising base ``mean_t W_t - Q (mean_t X_t X_t^T) Q^T``, ``(..., d, d)``."""
        shift = array_namespace(X).mean(X @ transpose(X), axis=-3)
        return self.mean - self.Q @ shift @ transpose(self.Q)


def reduce_to_span(rng: Generator, W: Array, k: int) -> Reduction:
    r"""Reduce population LoRA-ML to the span of the differences of the tasks' parameters.

    A difference ``W_t - W_T`` has rank at most 2k, so its product with a Gaussian matrix of 2k + 8 columns has its
    range almost surely; the leading left singular vectors of all products side by side span the sum of the ranges.

    Parameters
    ----------
    rng
        Source of the Gaussian matrix, which affects only the choice of the basis.
    W
        Parameters of the retraining tasks, ``(..., T, d, d)``.
    k
        Rank of the shifts.

    Raises
    ------
    ValueError
        If k is not in 1..d.
    """
    T, d = int(W.shape[-3]), int(W.shape[-1])
    if not 1 <= k <= d:
        raise ValueError(f"k: got {k}, expected 1 <= k <= d = {d}")
    xp = array_namespace(W)
    m = min(d, k * T)
    mean = xp.mean(W, axis=-3)
    apart = W - mean[..., None, :, :]
    apart = (apart + transpose(apart)) / 2
    sketch = xp.asarray(rng.standard_normal((d, min(d, 2 * k + OVERSAMPLING))), dtype=W.dtype, device=device(W))
    ranges = xp.moveaxis((apart[..., :-1, :, :] - apart[..., -1:, :, :]) @ sketch, -3, -2)
    ranges = xp.reshape(ranges, (*W.shape[:-3], d, -1))
    Q = xp.linalg.svd(ranges, full_matrices=False)[0][..., :m]
    reduced = transpose(Q)[..., None, :, :] @ apart @ Q[..., None, :, :]
    missed = apart - Q[..., None, :, :] @ reduced @ transpose(Q)[..., None, :, :]
    size = xp.sqrt(xp.sum(frobenius(apart) ** 2, axis=-1))
    outside = xp.sqrt(xp.sum(frobenius(missed) ** 2, axis=-1)) / xp.where(size > 0, size, xp.ones_like(size))
    return Reduction(Q, (reduced + transpose(reduced)) / 2, mean, outside)
