"""Solvers on large batches: in stages, each with the unfinished elements of the last, and in chunks, one per core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from array_api_compat import device

from loraml_theory.adapters import Parameters
from loraml_theory.libraries import array_namespace
from loraml_theory.moments import Moments
from loraml_theory.objectives import Objective, ProjectedLoRAML
from loraml_theory.solvers import newton
from loraml_theory.structure import Array

STAGES = (12, 12, 24, 52)
"""Trust-region steps: most batch elements are done after 12 to 24, a few need many more."""


class Ends(NamedTuple):
    """The solver's end, with a leading batch axis; `iterations` is that of the stage's end, int64 ``(B,)``."""

    at: Parameters
    value: Array
    gradient_norm: Array
    converged: Array
    iterations: Array


def newton_in_stages(
    build: Callable[[Array], Objective],
    start: Parameters,
    *,
    relative_tolerance: float,
    stages: Sequence[int] = STAGES,
) -> Ends:
    """Run `loraml_theory.solvers.newton` on a batch, so that slow elements do not keep the others waiting.

    Parameters
    ----------
    build
        Maps a bool mask ``(B,)`` to the objective of these batch elements.
    start
        Points with one leading batch axis.
    relative_tolerance
        See `newton`.
    stages
        Steps of each stage. A stage starts with a fresh trust region.
    """
    xp = array_namespace(start.U)
    todo = xp.ones(start.U.shape[0], dtype=xp.bool, device=device(start.U))
    parts: list[Array | None] = [None if x is None else xp.asarray(x, copy=True) for x in start]
    value = xp.zeros(start.U.shape[0], dtype=start.U.dtype, device=device(start.U))
    norm = xp.zeros_like(value)
    converged, steps = ~todo, xp.astype(~todo, xp.int64)
    for stage in stages:
        if not bool(xp.any(todo)):
            break
        some = Parameters(*(None if x is None else x[todo] for x in parts))
        end = newton(build(todo), some, relative_tolerance=relative_tolerance, max_iterations=stage)
        for whole, part in zip(parts, end.parameters, strict=True):
            if whole is not None:
                whole[todo] = part
        value[todo], norm[todo], converged[todo] = end.value, end.gradient_norm, end.converged
        steps[todo] = steps[todo] + end.iterations
        todo = ~converged
    return Ends(Parameters(*parts), value, norm, converged, steps)


def minimise(
    S: Array, W: Array, noise: Array, U: Array, *, n: float, relative_tolerance: float, stages: Sequence[int] = STAGES
) -> Ends:
    """Run `newton_in_stages` on LoRA-ML with the base eliminated.

    Parameters
    ----------
    S, W, noise, n
        `Moments` of the retraining tasks, ``(B, T, d, d)`` and ``(B, T)``.
    U
        Starts ``(B, T, d, k)``.
    relative_tolerance, stages
        See `newton_in_stages`.
    """
    return newton_in_stages(
        lambda some: ProjectedLoRAML(Moments(S[some], W[some], noise[some], n)),
        Parameters(U=U),
        relative_tolerance=relative_tolerance,
        stages=stages,
    )
