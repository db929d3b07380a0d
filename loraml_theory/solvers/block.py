"""Exact block coordinate descent for LoRA-ML with asymmetric adapters."""

from __future__ import annotations

from array_api_compat import array_namespace

from loraml_theory.closed_forms import standard_retraining
from loraml_theory.moments import Moments, symmetric_power
from loraml_theory.objectives import LoRAML, Parameters
from loraml_theory.solvers.base import Solution, Status, finish
from loraml_theory.structure import Array, transpose


def block_descent(
    moments: Moments,
    rank: int,
    *,
    base: Array | None = None,
    ridge: float = 0.0,
    max_iterations: int = 1000,
    relative_tolerance: float = 1e-12,
    throw: bool = False,
) -> Solution:
    r"""Minimise ``sum_t w_t l_t(A + U_t V_t^T) + (ridge/2) sum_t ||A + U_t V_t^T||_F^2`` one block at a time.

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
        First base; standard retraining's minimiser if not given.
    ridge
        Strength of the penalty on every task's full parameter.
    max_iterations
        Sweeps over both blocks.
    relative_tolerance
        Stationary means a gradient norm of at most this times the gradient scale.
    throw
        Raise `ConvergenceError` instead of returning a status.

    Returns
    -------
    A `Solution` with A ``(..., d_out, d_in)``, U ``(..., T, d_out, rank)`` and V ``(..., T, d_in, rank)``,
    where V^T S^{1/2} has orthogonal rows.

    Raises
    ------
    ValueError
        If rank is not in 1..min(d_out, d_in).
    """
    limit = min(moments.W.shape[-2:])
    if not 1 <= rank <= limit:
        raise ValueError(f"rank: got {rank}, expected 1 <= rank <= min(d_out, d_in) = {limit}")
    moments = moments.ridge(ridge)
    objective = LoRAML(moments)
    xp = array_namespace(moments.W)
    root, inverse_root = symmetric_power(moments.S, 0.5), symmetric_power(moments.S, -0.5)
    tolerance = relative_tolerance * objective.gradient_scale
    A = standard_retraining(moments) if base is None else base
    iterations = 0
    while True:
        left, values, right = xp.linalg.svd((moments.W - A[..., None, :, :]) @ root, full_matrices=False)
        scales = xp.sqrt(values[..., None, :rank])
        U = left[..., :, :rank] * scales
        V = inverse_root @ transpose(right[..., :rank, :]) * scales
        A = standard_retraining(moments.around(U @ transpose(V)))
        iterations += 1
        solution = finish(
            objective,
            Parameters(A, U, V),
            tolerance,
            iterations=iterations,
            ended=Status.MAX_ITERATIONS,
            throw=False,
        )
        if bool(xp.all(solution.converged)) or iterations >= max_iterations:
            return solution.require_converged() if throw else solution
