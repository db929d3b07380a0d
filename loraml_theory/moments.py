"""Second moments of tasks: everything the linear model's losses need of the data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import inf, isinf, sqrt
from typing import TYPE_CHECKING

import numpy as np
from array_api_compat import device

from loraml_theory.arguments import (
    require_batch,
    require_count,
    require_generator,
    require_one_library,
    require_real_floating,
    require_scale,
)
from loraml_theory.libraries import array_namespace
from loraml_theory.structure import Array, transpose

if TYPE_CHECKING:
    from numpy.random import Generator


def symmetric_power(S: Array, *powers: float) -> Array | tuple[Array, ...]:
    r"""Return ``S^power`` of symmetric PSD matrices ``(..., d, d)``, on the range of S only; one for each power.

    Eigenvalues below ``d * eps * lambda_max`` count as zero, so ``symmetric_power(S, -1)`` is the
    pseudo-inverse. One eigendecomposition for all powers keeps ``S^{1/2} S^{-1/2}`` the projector on the range.
    """
    xp = array_namespace(S)
    values, vectors = xp.linalg.eigh(S)
    cut = S.shape[-1] * float(xp.finfo(S.dtype).eps) * xp.max(xp.abs(values), axis=-1, keepdims=True)
    kept = values > cut
    safe = xp.where(kept, values, xp.ones_like(values))
    results = tuple(
        (vectors * xp.where(kept, safe**power, xp.zeros_like(values))[..., None, :]) @ transpose(vectors)
        for power in powers
    )
    return results if len(powers) > 1 else results[0]


@dataclass(frozen=True, eq=False)
class Moments:
    r"""Sufficient statistics of one task or many for the squared loss, in centred form.

    With ``S = X X^T / n``, ``C = Y X^T / n`` (means over samples) a task's loss at the parameter M is

        l(M) = 1/2 ||Y - M X||_F^2 / n = 1/2 tr((M - W) S (M - W)^T) + 1/2 noise,

    where ``W = C S^+`` is the least-squares parameter of least norm and
    ``noise = tr(Y Y^T)/n - tr(W S W^T)``. The centred form keeps the loss exact near its minimum, where
    ``tr(M S M^T) - 2 tr(C M^T) + tr(Y Y^T)/n`` would lose every digit. In the population S = sigma_x^2 I, W
    is the true parameter and noise = sigma^2 d_out.

    Parameters
    ----------
    S
        Second moment of the inputs, ``(..., d_in, d_in)``, symmetric PSD.
    W
        Least-squares parameter, ``(..., d_out, d_in)``.
    noise
        Mean over samples of the squared residual, summed over outputs, ``(...)``.
    n
        Number of samples behind each task: one number, or one per task (the axis before the matrices);
        ``inf`` for the population.

    Notes
    -----
    Leading axes are batches; the retraining objectives read the last of them as the task.
    """

    S: Array
    W: Array
    noise: Array
    n: float | tuple[float, ...]

    @property
    def C(self) -> Array:
        """Cross moment ``Y X^T / n = W S``, ``(..., d_out, d_in)``."""
        return self.weigh(self.W)

    @property
    def yy(self) -> Array:
        """Mean squared target ``tr(Y Y^T) / n``, ``(...)``."""
        return array_namespace(self.W).sum(self.C * self.W, axis=(-2, -1)) + self.noise

    @cached_property
    def weights(self) -> tuple[float, ...] | None:
        """Weights ``n_t / mean(n)`` that make a sum over tasks a sum over samples; None when all are 1."""
        if not isinstance(self.n, tuple) or len(set(self.n)) == 1:
            return None
        if any(isinf(n) for n in self.n):
            raise ValueError(f"n: got {self.n}, expected all tasks finite or all infinite")
        mean = sum(self.n) / len(self.n)
        return tuple(n / mean for n in self.n)

    @cached_property
    def variance(self) -> float | None:
        """The s > 0 with ``S = s I`` exactly in every batch element, as in the population; otherwise None."""
        xp = array_namespace(self.S)
        s = float(self.S[(0,) * self.S.ndim]) if min(self.S.shape) > 0 else 0.0
        eye = xp.eye(self.S.shape[-1], dtype=self.S.dtype, device=device(self.S))
        return s if s > 0 and bool(xp.all(s * eye == self.S)) else None

    def weigh(self, M: Array) -> Array:
        """Return ``M S``, by a scaling where ``S = s I``."""
        return M @ self.S if self.variance is None else self.variance * M

    def task(self, t: int) -> Moments:
        """Return the moments of task t (0-based on the task axis; negative counts from the end)."""
        n = self.n[t] if isinstance(self.n, tuple) else self.n
        return Moments(self.S[..., t, :, :], self.W[..., t, :, :], self.noise[..., t], n)

    def around(self, base: Array) -> Moments:
        """Return the moments of the residual problem ``Y - base X`` on X: W becomes ``W - base``.

        On a singular S the part of `base` outside the range of S is invisible and stays in the difference;
        it does not change the loss.

        Raises
        ------
        TypeError
            If `base` is not an array of the moments' library.
        """
        require_one_library(moments=self.W, base=base)
        return replace(self, W=self.W - base)

    def ridge(self, strength: float) -> Moments:
        r"""Return the moments whose loss is ``l(M) + (strength/2) ||M||_F^2``.

        ``S -> S + strength I``, ``W -> W S (S + strength I)^{-1}``; the penalty's constant moves into
        `noise`.

        Raises
        ------
        ValueError
            If strength is negative or not finite.
        """
        require_scale("ridge", strength)
        if strength == 0:
            return self
        xp = array_namespace(self.S)
        eye = xp.eye(self.S.shape[-1], dtype=self.S.dtype, device=device(self.S))
        S = self.S + strength * eye
        W = transpose(xp.linalg.solve(S, transpose(self.C)))
        # tr(W0 S0 W0^T) - tr(W S W^T) = tr((W0 - W) S0 W0^T), since W S = W0 S0: no cancellation
        penalty = xp.sum((self.W - W) * self.C, axis=(-2, -1))
        return replace(self, S=S, W=W, noise=self.noise + penalty)


def from_samples(X: Array, Y: Array) -> Moments:
    """Return the moments of data.

    Parameters
    ----------
    X
        Inputs, ``(..., d_in, n)``, one sample per column, float64.
    Y
        Targets, ``(..., d_out, n)``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a finite float64 array, or the shapes do not fit.
    """
    require_real_floating("X", X)
    require_real_floating("Y", Y)
    require_one_library(X=X, Y=Y)
    if X.ndim < 2 or Y.ndim < 2 or X.shape[-1] != Y.shape[-1] or X.shape[-1] < 1 or X.shape[:-2] != Y.shape[:-2]:
        shapes = f"{tuple(X.shape)} and {tuple(Y.shape)}"
        raise ValueError(
            f"X, Y: got shapes {shapes}, expected (..., d_in, n) and (..., d_out, n), n >= 1: a sample is a column"
        )
    n = int(X.shape[-1])
    S = X @ transpose(X) / n
    W = (Y @ transpose(X) / n) @ symmetric_power(S, -1)
    residual = Y - W @ X
    noise = array_namespace(X).sum(residual * residual, axis=(-2, -1)) / n
    return Moments(S, W, noise, float(n))


def population(W: Array, *, sigma_x: float = 1.0, sigma: float = 0.0) -> Moments:
    """Return the moments of infinitely many samples of ``y = W x + eps``.

    Parameters
    ----------
    W
        True parameters, ``(..., d_out, d_in)``.
    sigma_x, sigma
        Standard deviations of each entry of x and of eps.
    """
    _require_model(W, sigma_x, sigma)
    xp = array_namespace(W)
    d_out, d_in = W.shape[-2:]
    eye = xp.eye(d_in, dtype=W.dtype, device=device(W))
    S = xp.broadcast_to(sigma_x**2 * eye, (*W.shape[:-2], d_in, d_in))
    noise = xp.full(tuple(W.shape[:-2]), sigma**2 * d_out, dtype=W.dtype, device=device(W))
    return Moments(S, W, noise, inf)


def draw(
    rng: Generator, W: Array, n: int, *, sigma_x: float = 1.0, sigma: float, batch: tuple[int, ...] = ()
) -> Moments:
    r"""Draw the moments of n Gaussian samples of ``y = W x + eps`` exactly; the cost does not depend on n >= d_in.

    With L the Bartlett factor, ``n S = n L L^T ~ Wishart(n, sigma_x^2 I)``; given S,

        W_ls = W + (sigma / sqrt(n)) G L^{-1},   noise = (sigma^2 / n) chi^2_{d_out (n - d_in)},

    G standard normal, all independent. For n < d_in, where S is singular, the n samples themselves are drawn.

    Parameters
    ----------
    rng
        Source of randomness.
    W
        True parameters, ``(..., d_out, d_in)``; every matrix gets its own independent data.
    n
        Number of samples, at least 1.
    sigma_x, sigma
        Standard deviations of each entry of x and of eps.
    batch
        Further leading axes, of independent repetitions.

    Raises
    ------
    ValueError
        If n < 1 or a standard deviation is out of range.

    Notes
    -----
    From C given S: ``C = W S + (sigma / sqrt(n)) G L^T``, hence
    ``C S^{-1} = W + (sigma / sqrt(n)) G L^{-1}``.
    """
    _require_model(W, sigma_x, sigma)
    require_generator(rng)
    n = require_count("n", n)
    xp = array_namespace(W)
    d_out, d_in = W.shape[-2:]
    lead = (*require_batch(batch), *W.shape[:-2])

    def array(values: np.ndarray) -> Array:
        return xp.asarray(values, dtype=W.dtype, device=device(W))

    if n < d_in:
        X = array(sigma_x * rng.standard_normal((*lead, d_in, n)))
        return from_samples(X, W @ X + array(sigma * rng.standard_normal((*lead, d_out, n))))
    L = array(sigma_x / np.sqrt(n) * bartlett_factor(rng, lead, d_in, n))
    G = array(rng.standard_normal((*lead, d_out, d_in)))
    error = sigma / sqrt(n) * transpose(xp.linalg.solve(transpose(L), transpose(G)))
    chi_square = rng.chisquare(d_out * (n - d_in), lead) if n > d_in else np.zeros(lead)
    return Moments(L @ transpose(L), W + error, array(sigma**2 / n * chi_square), float(n))


def bartlett_factor(rng: Generator, lead: tuple[int, ...], d: int, n: int) -> np.ndarray:
    """Draw lower triangular L with ``L L^T ~ Wishart_d(n, I)``, ``(*lead, d, d)``, n >= d (Bartlett 1933)."""
    L = np.tril(rng.standard_normal((*lead, d, d)), -1)
    diagonal = np.arange(d)
    L[..., diagonal, diagonal] = np.sqrt(rng.chisquare(n - diagonal, (*lead, d)))
    return L


def _require_model(W: Array, sigma_x: float, sigma: float) -> None:
    require_scale("sigma_x", sigma_x, positive=True)
    require_scale("sigma", sigma)
    require_real_floating("W", W)
    if W.ndim < 2 or min(W.shape[-2:]) < 1:
        raise ValueError(f"W: got shape {tuple(W.shape)}, expected (..., d_out, d_in), both at least 1")
