r"""The losses of the linear model as objects: value, gradient and Hessian-vector product.

Every objective is a sum over tasks of ``l_t(M_t)`` with the quadratic loss l_t of `Moments`; only the map
from parameters to the task parameters ``M_t`` differs. With ``G_t = dl_t/dM_t = (M_t - W_t) S_t`` and
``M_t = A + U_t V_t^T`` the chain rule gives

    df/dA = sum_t w_t G_t,   df/dU_t = w_t G_t V_t,   df/dV_t = w_t G_t^T U_t,

and for symmetric adapters ``M_t = A + U_t U_t^T``, ``df/dU_t = w_t (G_t + G_t^T) U_t``. The weights w_t are
``n_t / mean(n)``, 1 where all tasks have equally many samples.

Sources: arXiv 2410.22264, equations 2 to 6; claims SR-1, ML-1 to ML-5, FT-1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from array_api_compat import device

from loraml_theory.adapters import (
    Linear,
    Parameters,
    curvature_terms,
    population_curvature,
    pull_back,
    shift,
    shift_derivative,
)
from loraml_theory.arguments import require_kind
from loraml_theory.libraries import array_namespace, total
from loraml_theory.moments import Moments, symmetric_power
from loraml_theory.structure import Array, frobenius


class Objective(Protocol):
    """What a solver needs: derivatives, the scale of rounding, and how many trailing axes a point has."""

    @property
    def moments(self) -> Moments:
        """The data."""
        ...

    @property
    def core_axes(self) -> tuple[int, int, int]:
        """Number of trailing axes of A, U and V that make up one point; all others are batch axes."""
        ...

    @property
    def gradient_scale(self) -> Array:
        """Size of the terms that cancel in the gradient, ``(...)``: what rounding is relative to."""
        ...

    def value(self, at: Parameters) -> Array:
        """Return f, ``(...)``."""
        ...

    def gradient(self, at: Parameters) -> Parameters:
        """Return the gradient, shaped like `at`."""
        ...

    def hessian_vector(self, at: Parameters, direction: Parameters) -> Parameters:
        """Return the second derivative at `at` applied to `direction`, shaped like `at`."""
        ...

    def linearise(self, at: Parameters) -> Linear:
        """Return `hessian_vector` at `at` as a function of the direction; what `at` fixes is computed once."""
        ...


class Differentiable:
    """`hessian_vector` by `linearise`."""

    moments: Moments

    def __post_init__(self) -> None:
        """Check the data; nothing downstream checks them again."""
        require_kind("moments", self.moments, Moments)

    def linearise(self, at: Parameters) -> Linear:
        """Return the second derivative at `at` as a linear function of the direction."""
        raise NotImplementedError

    def hessian_vector(self, at: Parameters, direction: Parameters) -> Parameters:
        """Return the second derivative at `at` applied to `direction`, shaped like `at`."""
        return self.linearise(at)(direction)


def _gradient_scales(moments: Moments, power: float) -> Array:
    """Return ``||S_t||_2 ||W_t||_F^power`` of every task.

    The terms of an adapter's gradient, ``W_t S_t U_t`` with ``||U_t|| ~ ||W_t||^{1/2}``, have this size at
    3/2, those of the base's at 1.
    """
    return array_namespace(moments.W).linalg.matrix_norm(moments.S, ord=2) * frobenius(moments.W) ** power


def _weighted(values: Array, weights: tuple[float, ...] | None, core_axes: int) -> Array:
    """Multiply task t of an array whose task axis precedes `core_axes` trailing axes by its weight."""
    if weights is None:
        return values
    xp = array_namespace(values)
    w = xp.asarray(weights, dtype=values.dtype, device=device(values))
    return values * xp.reshape(w, (-1,) + (1,) * core_axes)


def task_losses(moments: Moments, M: Array) -> Array:
    """Return ``l_t(M_t) = 1/2 tr((M_t - W_t) S_t (M_t - W_t)^T) + 1/2 noise_t``, ``(...)``."""
    E = M - moments.W
    return (total(moments.weigh(E) * E, axis=(-2, -1)) + moments.noise) / 2


@dataclass(frozen=True, eq=False)
class StandardRetraining(Differentiable):
    r"""Standard retraining, one parameter for all tasks: ``f(A) = sum_t w_t l_t(A)`` (SR-1).

    In the population with sigma_x = 1: ``1/2 sum_t ||A - W_t||_F^2``, up to the noise's constant.
    """

    moments: Moments

    @property
    def core_axes(self) -> tuple[int, int, int]:
        """A is ``(..., d_out, d_in)``."""
        return (2, 0, 0)

    @property
    def gradient_scale(self) -> Array:
        """``max_t ||S_t|| ||W_t||_F``."""
        return array_namespace(self.moments.W).max(_gradient_scales(self.moments, 1.0), axis=-1)

    def value(self, at: Parameters) -> Array:
        """Return f(A), ``(...)``."""
        losses = task_losses(self.moments, at.A[..., None, :, :])
        return total(_weighted(losses, self.moments.weights, 0), axis=-1)

    def gradient(self, at: Parameters) -> Parameters:
        """Return ``sum_t w_t (A - W_t) S_t``."""
        G = self.moments.weigh(at.A[..., None, :, :] - self.moments.W)
        return Parameters(A=_sum_tasks(G, self.moments))

    def linearise(self, at: Parameters) -> Linear:  # noqa: ARG002 - f is quadratic
        """Return ``dA -> dA sum_t w_t S_t``."""
        xp, S = array_namespace(self.moments.S), self.moments.S
        total = xp.sum(_weighted(S, self.moments.weights, 2), axis=-3)
        return lambda direction: Parameters(A=direction.A @ total)


def _sum_tasks(G: Array, moments: Moments) -> Array:
    return total(_weighted(G, moments.weights, 2), axis=-3)


@dataclass(frozen=True, eq=False)
class LoRAML(Differentiable):
    r"""Meta-learned retraining: ``f(A, U, V) = sum_t w_t l_t(A + U_t V_t^T)``, V = U when symmetric (ML-1).

    In the population with sigma_x = 1: ``1/2 sum_t ||A + U_t V_t^T - W_t||_F^2``. With a ridge

        f(A, U, V) = sum_t w_t [ l_t(A + U_t V_t^T) + (ridge/2) (||A||_F^2 + ||U_t V_t^T||_F^2) ],

    the penalty of `standard_retraining` on the base and that of `FineTuning` on every shift.

    Parameters
    ----------
    moments
        ``(..., T, ...)``: the last batch axis is the task.
    ridge
        Strength of the penalty, >= 0.

    Notes
    -----
    On tasks that no base and shifts fit exactly, f without a ridge need not attain its infimum: with
    ``A = -s u v^T`` and ``U_t V_t^T = s (u + b_t/s)(v + c_t/s)^T`` the sum tends to ``b_t v^T + u c_t^T``,
    of rank 2 with adapters of rank 1, while the base diverges with s. A penalty on ``A + U_t V_t^T`` alone,
    which `Moments.ridge` gives, does not prevent that; one on both terms does.
    """

    moments: Moments
    ridge: float = 0.0

    @property
    def core_axes(self) -> tuple[int, int, int]:
        """A is ``(..., d_out, d_in)``; U and V carry a task axis."""
        return (2, 3, 3)

    @property
    def gradient_scale(self) -> Array:
        """``max_t ||S_t|| ||W_t||_F^{3/2}`` of the moments with their ridge."""
        scales = _gradient_scales(self.moments.ridge(self.ridge), 1.5)
        return array_namespace(scales).max(scales, axis=-1)

    def value(self, at: Parameters) -> Array:
        """Return f, ``(...)``."""
        shifts = shift(at)
        losses = task_losses(self.moments, at.A[..., None, :, :] + shifts)
        losses = losses + self.ridge / 2 * (frobenius(at.A)[..., None] ** 2 + frobenius(shifts) ** 2)
        return total(_weighted(losses, self.moments.weights, 0), axis=-1)

    def loss_gradient(self, at: Parameters) -> Array:
        """Return ``w_t G_t``, the gradient in every task's parameter M_t, ``(..., T, d_out, d_in)``."""
        E = at.A[..., None, :, :] + shift(at) - self.moments.W
        return _weighted(self.moments.weigh(E), self.moments.weights, 2)

    def gradient(self, at: Parameters) -> Parameters:
        """Return the gradient, shaped like `at`."""
        G = self.loss_gradient(at)
        return pull_back(G + self._penalty_gradient(shift(at)), at)._replace(A=self._base_gradient(G, at.A))

    def linearise(self, at: Parameters) -> Linear:
        """Return the second derivative as a function of the direction."""
        G = self.loss_gradient(at) + self._penalty_gradient(shift(at))

        def derivative(direction: Parameters) -> Parameters:
            dShift = shift_derivative(at, direction)
            dG = _weighted(self.moments.weigh(direction.A[..., None, :, :] + dShift), self.moments.weights, 2)
            curved = curvature_terms(G, dG + self._penalty_gradient(dShift), at, direction)
            return curved._replace(A=self._base_gradient(dG, direction.A))

        return derivative

    def _penalty_gradient(self, shifts: Array) -> Array:
        """Return ``ridge w_t U_t V_t^T``."""
        return _weighted(self.ridge * shifts, self.moments.weights, 2)

    def _base_gradient(self, G: Array, A: Array) -> Array:
        """Return ``sum_t (G_t + ridge w_t A)``; the weights sum to T."""
        return total(G, axis=-3) + self.ridge * G.shape[-3] * A


@dataclass(frozen=True, eq=False)
class ProjectedLoRAML(Differentiable):
    r"""LoRA-ML with the base eliminated (variable projection): ``g(U, V) = min_A f(A, U, V)``.

    The minimising base is linear in the shifts,
    ``A(U, V) = sum_t w_t (W_t - U_t V_t^T) S_t (sum_t w_t S_t)^+``. Stationary points, values and the sign of
    the curvature are those of `LoRAML` (Schur complement); at T = 2 in the population g is
    ``1/4 ||M - U_1 U_1^T + U_2 U_2^T||_F^2``, M = W_1 - W_2 (ML-4).
    """

    moments: Moments

    @property
    def core_axes(self) -> tuple[int, int, int]:
        """U and V carry a task axis; there is no A."""
        return (0, 3, 3)

    @property
    def gradient_scale(self) -> Array:
        """``max_t ||S_t|| ||W_t||_F^{3/2}``."""
        return array_namespace(self.moments.W).max(_gradient_scales(self.moments, 1.5), axis=-1)

    def base(self, at: Parameters) -> Array:
        """Return the minimising base A(U, V), ``(..., d_out, d_in)``."""
        return self._fit(self.moments.W - shift(at))

    def complete(self, at: Parameters) -> Parameters:
        """Return the point of `LoRAML` with the minimising base filled in."""
        return at._replace(A=self.base(at))

    def value(self, at: Parameters) -> Array:
        """Return g, ``(...)``."""
        return LoRAML(self.moments).value(self.complete(at))

    def gradient(self, at: Parameters) -> Parameters:
        """Return the gradient of g: the adapters' part of f's at A(U, V), by the envelope theorem."""
        return pull_back(LoRAML(self.moments).loss_gradient(self.complete(at)), at)

    def linearise(self, at: Parameters) -> Linear:
        """Return g's second derivative as a function of the direction: the base moves along."""
        G = LoRAML(self.moments).loss_gradient(self.complete(at))
        if at.V is None and self.moments.variance is not None and self.moments.weights is None:
            return population_curvature(G, at.U, self.moments.variance)

        def derivative(direction: Parameters) -> Parameters:
            dShift = shift_derivative(at, direction)
            dM = dShift - self._fit(dShift)[..., None, :, :]
            dG = _weighted(self.moments.weigh(dM), self.moments.weights, 2)
            return curvature_terms(G, dG, at, direction)

        return derivative

    @cached_property
    def _inverse(self) -> Array:
        """``(sum_t w_t S_t)^+``."""
        total = _weighted(self.moments.S, self.moments.weights, 2)
        return symmetric_power(array_namespace(total).sum(total, axis=-3), -1)

    def _fit(self, M: Array) -> Array:
        """Return ``sum_t w_t M_t S_t (sum_t w_t S_t)^+``: the mean over tasks where all S_t are equal."""
        xp = array_namespace(M)
        if self.moments.variance is not None:
            return xp.mean(_weighted(M, self.moments.weights, 2), axis=-3)
        return total(_weighted(M @ self.moments.S, self.moments.weights, 2), axis=-3) @ self._inverse


@dataclass(frozen=True, eq=False)
class FineTuning(Differentiable):
    r"""Fine-tuning from a fixed base: ``f(U, V) = l(base + U V^T) + (ridge/2) ||U V^T||_F^2`` (FT-1).

    Parameters
    ----------
    moments
        The test task's moments, without a task axis.
    base
        Where fine-tuning starts, ``(..., d_out, d_in)``.
    ridge
        Strength of the penalty on the shift, >= 0.
    """

    moments: Moments
    base: Array
    ridge: float = 0.0

    @cached_property
    def residual(self) -> Moments:
        """Moments of the problem in the shift alone."""
        return self.moments.around(self.base).ridge(self.ridge)

    @property
    def core_axes(self) -> tuple[int, int, int]:
        """U and V are single matrices."""
        return (0, 2, 2)

    @property
    def gradient_scale(self) -> Array:
        """``||S|| ||W - base||_F^{3/2}``."""
        return _gradient_scales(self.residual, 1.5)

    def value(self, at: Parameters) -> Array:
        """Return f, ``(...)``."""
        return task_losses(self.residual, shift(at))

    def gradient(self, at: Parameters) -> Parameters:
        """Return the gradient, shaped like `at`."""
        residual = self.residual
        return pull_back(residual.weigh(shift(at) - residual.W), at)

    def linearise(self, at: Parameters) -> Linear:
        """Return the second derivative as a function of the direction."""
        residual = self.residual
        G = residual.weigh(shift(at) - residual.W)

        def derivative(direction: Parameters) -> Parameters:
            return curvature_terms(G, residual.weigh(shift_derivative(at, direction)), at, direction)

        return derivative
