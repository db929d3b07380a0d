"""First-order solvers: the paper's alternating gradient descent, and plain gradient descent."""

from __future__ import annotations

from collections.abc import Callable

from loraml_theory.adapters import Parameters, pull_back, shift
from loraml_theory.libraries import array_namespace
from loraml_theory.objectives import LoRAML, Objective
from loraml_theory.solvers.base import Solution, Status, finish
from loraml_theory.structure import Array

Observer = Callable[[int, Parameters], None]
LOOK = 50  # steps between two looks whether a step changes anything


def alternating_gradient_descent(
    objective: LoRAML,
    start: Parameters,
    *,
    outer_steps: int = 3000,
    outer_step_size: float = 3e-2,
    inner_steps: int = 10,
    inner_step_size: float = 3e-3,
    relative_tolerance: float = 1e-12,
    observe: Observer | None = None,
    throw: bool = False,
) -> Solution:
    r"""Minimise LoRA-ML as the paper does: several steps on the adapters, then one on the base, in turn.

        U_t <- U_t - inner_step_size * dl_t/dU_t                    (inner_steps times)
        A   <- A   - outer_step_size * (1/T) sum_t dl_t/dA          (once)

    The adapters' step is on each task's own loss, the base's on the mean over tasks: the factors 1 and 1/T of
    the public code. A step costs O(T d^2 k) for any number of samples.

    Parameters
    ----------
    objective
        LoRA-ML on any moments.
    start
        A ``(..., d_out, d_in)``, U and, for asymmetric adapters, V. The paper: A = 0, U ~ 0.1 N(0, 1).
    outer_steps, outer_step_size, inner_steps, inner_step_size
        Defaults are the paper's.
    relative_tolerance
        The end counts as converged where the gradient norm is at most this times the objective's gradient
        scale.
    observe
        Called as ``observe(step, parameters)`` at the start (0) and after every outer step.
    throw
        Raise `ConvergenceError` instead of returning a status.
    """
    at = start
    if observe is not None:
        observe(0, at)
    for step in range(1, outer_steps + 1):
        for _ in range(inner_steps):
            G = _task_gradients(objective, at) + objective.ridge * shift(at)
            at = _descend(at, pull_back(G, at), inner_step_size)
        G = _task_gradients(objective, at)
        dA = array_namespace(G).mean(G, axis=-3) + objective.ridge * at.A
        at = _descend(at, Parameters(A=dA), outer_step_size)
        if observe is not None:
            observe(step, at)
    tolerance = relative_tolerance * objective.gradient_scale
    return finish(objective, at, tolerance, iterations=outer_steps, ended=Status.MAX_ITERATIONS, throw=throw)


def gradient_descent(
    objective: Objective,
    start: Parameters,
    *,
    steps: int,
    step_size: float,
    relative_tolerance: float = 1e-12,
    observe: Observer | None = None,
    throw: bool = False,
) -> Solution:
    """Minimise any objective by ``x <- x - step_size * gradient``.

    The paper fine-tunes so: step size 5e-3, from U, V ~ 0.1 N(0, 1). U = V = 0 is a saddle and stays where it
    is. Parameters are as in `alternating_gradient_descent`. Where a step changes no bit, no later one does, and the
    descent ends, unless it is observed.
    """
    at = start
    if observe is not None:
        observe(0, at)
    step = 0
    while step < steps:
        step, before = step + 1, at
        at = _descend(at, objective.gradient(at), step_size)
        if observe is not None:
            observe(step, at)
        elif step % LOOK == 0 and _same(before, at):
            break
    tolerance = relative_tolerance * objective.gradient_scale
    return finish(objective, at, tolerance, iterations=step, ended=Status.MAX_ITERATIONS, throw=throw)


def _task_gradients(objective: LoRAML, at: Parameters) -> Array:
    """Return ``(M_t - W_t) S_t``, the unweighted gradient of each task's own loss."""
    moments = objective.moments
    return moments.weigh(at.A[..., None, :, :] + shift(at) - moments.W)


def _same(one: Parameters, other: Parameters) -> bool:
    pairs = [(x, y) for x, y in zip(one, other, strict=True) if x is not None]
    return all(bool(array_namespace(x).all(x == y)) for x, y in pairs)


def _descend(at: Parameters, gradient: Parameters, step_size: float) -> Parameters:
    return Parameters(
        *(x if g is None else x - step_size * g for x, g in zip(at, gradient, strict=True)),
    )
