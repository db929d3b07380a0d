"""Exact block coordinate descent for LoRA-ML with asymmetric adapters, plain or accelerated."""

from __future__ import annotations

from typing import NamedTuple

from array_api_compat import device

from loraml_theory.adapters import Parameters
from loraml_theory.closed_forms import standard_retraining
from loraml_theory.libraries import array_namespace
from loraml_theory.moments import Moments, symmetric_power
from loraml_theory.objectives import LoRAML
from loraml_theory.solvers.base import Solution, Status, finish, gradient_norm
from loraml_theory.solvers.memory import StepMemory, inner
from loraml_theory.structure import Array, transpose


def block_descent(
    moments: Moments,
    rank: int,
    *,
    base: Array | None = None,
    ridge: float = 0.0,
    memory: int = 0,
    max_iterations: int = 1000,
    relative_tolerance: float = 1e-12,
    throw: bool = False,
) -> Solution:
    r"""Minimise LoRA-ML with asymmetric adapters one block at a time.

        sum_t w_t [ l_t(A + U_t V_t^T) + (ridge/2) (||A||_F^2 + ||U_t V_t^T||_F^2) ]

    Each block is minimised exactly: all adapters by reduced-rank regression given the base (FT-1), then the
    base by a linear solve given the shifts (SR-1). The objective never increases; the matrices may be
    rectangular.

    Parameters
    ----------
    moments
        ``(..., T, ...)``, the last batch axis the task.
    rank
        Adapter rank, at least 1.
    base
        First base; standard retraining's minimiser with the same ridge if not given.
    ridge
        Strength of the penalty on the base and on every shift, see `LoRAML`. Without it a minimum need not
        exist.
    memory
        Number of past steps used to accelerate; 0 for plain block descent.
    max_iterations
        Steps of the base, each with adapters fitted before and after.
    relative_tolerance
        Stationary means a gradient norm of at most this times the gradient scale.
    throw
        Raise `ConvergenceError` instead of returning a status.

    Returns
    -------
    A `Solution` with A ``(..., d_out, d_in)``, U ``(..., T, d_out, rank)`` and V ``(..., T, d_in, rank)``;
    the adapters are optimal for the base.

    Raises
    ------
    ValueError
        If rank is not in 1..min(d_out, d_in), memory < 0 or ridge < 0.

    Notes
    -----
    With the adapters eliminated f is a function of A alone, whose gradient is f's at the fitted adapters.
    Solving for the base is then the gradient step ``A - grad (sum_t w_t (S_t + ridge I))^+``: plain descent
    is preconditioned gradient descent, and slow where the base is weakly determined. With memory the same
    preconditioner starts L-BFGS; a step that does not decrease f enough gives way to the plain one.
    """
    limit = min(moments.W.shape[-2:])
    if not 1 <= rank <= limit:
        raise ValueError(f"rank: got {rank}, expected 1 <= rank <= min(d_out, d_in) = {limit}")
    if memory < 0:
        raise ValueError(f"memory: got {memory}, expected a whole number >= 0")
    objective = LoRAML(moments, ridge)
    xp = array_namespace(moments.W)
    tolerance = relative_tolerance * objective.gradient_scale
    inverse_root = symmetric_power(moments.ridge(ridge).S, -0.5)
    whitening = moments.S @ inverse_root, inverse_root
    preconditioner = _preconditioner(moments, ridge)
    steps = StepMemory(preconditioner, memory)
    first = standard_retraining(moments, ridge=ridge) if base is None else base
    here = _fitted(objective, first, rank, whitening)
    iterations = 0
    while iterations < max_iterations and bool(xp.any(here.norm > tolerance)):
        direction = steps.direction(here.gradient)
        new = _fitted(objective, here.at.A + direction, rank, whitening)
        if memory:
            poor = ~_decreased(here, new, direction)
            if bool(xp.any(poor)):
                steps.forget(poor)
                plain = _fitted(objective, here.at.A - here.gradient @ preconditioner, rank, whitening)
                new = _select(poor, plain, new)
        new = _select(here.norm > tolerance, new, here)  # finished elements stay unchanged
        steps.remember(new.at.A - here.at.A, new.gradient - here.gradient)
        here = new
        iterations += 1
    return finish(objective, here.at, tolerance, iterations=iterations, ended=Status.MAX_ITERATIONS, throw=throw)


class _Fitted(NamedTuple):
    """A base with its optimal adapters, f there, its gradient in the base, the norm of the whole gradient."""

    at: Parameters
    value: Array
    gradient: Array
    norm: Array


def _fitted(objective: LoRAML, A: Array, rank: int, whitening: tuple[Array, Array]) -> _Fitted:
    r"""Fit every task's adapter to the base.

    With ``S' = S + ridge I`` the ridge regression of ``Y - A X`` on X has ``G = (W - A) S S'^{-1/2}`` (FT-1);
    `whitening` is ``S S'^{-1/2}`` and ``S'^{-1/2}``.
    """
    xp, moments = array_namespace(A), objective.moments
    weighing, inverse_root = whitening
    G = (moments.W - A[..., None, :, :]) @ weighing
    left, values, right = xp.linalg.svd(G, full_matrices=False)
    scales = xp.sqrt(values[..., None, :rank])
    at = Parameters(A, left[..., :, :rank] * scales, inverse_root @ transpose(right[..., :rank, :]) * scales)
    gradient = objective.gradient(at)
    return _Fitted(at, objective.value(at), gradient.A, gradient_norm(objective, gradient))


def _preconditioner(moments: Moments, ridge: float) -> Array:
    """Return ``(sum_t w_t (S_t + ridge I))^+``, ``(..., d_in, d_in)``."""
    moments = moments.ridge(ridge)
    S, weights, xp = moments.S, moments.weights, array_namespace(moments.S)
    if weights is not None:
        S = xp.asarray(weights, dtype=S.dtype, device=device(S))[:, None, None] * S
    return symmetric_power(xp.sum(S, axis=-3), -1)


def _decreased(here: _Fitted, new: _Fitted, direction: Array) -> Array:
    """Return whether f fell by a fraction of what its slope promises, up to rounding, bool ``(...)``."""
    xp = array_namespace(here.value)
    slope = inner(here.gradient, direction)
    rounding = 8 * float(xp.finfo(here.value.dtype).eps) * xp.abs(here.value)
    return (slope < 0) & (new.value <= here.value + 1e-4 * slope + rounding)


def _select(mask: Array, first: _Fitted, second: _Fitted) -> _Fitted:
    """Take batch elements from the first point where the mask holds, from the second elsewhere."""
    if bool(array_namespace(mask).all(mask)):
        return first

    def choose(one: Array, other: Array) -> Array:
        xp = array_namespace(one)
        wide = xp.reshape(mask, (*mask.shape, *(1,) * (one.ndim - mask.ndim)))
        return xp.where(wide, one, other)

    at = Parameters(*(choose(one, other) for one, other in zip(first.at, second.at, strict=True)))
    return _Fitted(at, *(choose(one, other) for one, other in zip(first[1:], second[1:], strict=True)))
