"""Exact recovery of large structures in the span of the differences, by the spectral form or by Newton's method."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from loraml_theory.adapters import Parameters
from loraml_theory.closed_forms import spectral_recovery
from loraml_theory.moments import population
from loraml_theory.objectives import ProjectedLoRAML
from loraml_theory.reduction import Reduction, reduce_to_span
from loraml_theory.solvers import Status, newton
from loraml_theory.structure import GroundTruth

TOLERANCE = 1e-13
"""Tolerance of Newton's relative gradient: ten times below the need, so that quadratic convergence reaches rounding."""

REACHED = 1e-9
"""A base with a relative error below this is the truth; the next stationary point is far from it."""


@dataclass(frozen=True)
class Recovery:
    """One attempt at recovering A*.

    Parameters
    ----------
    how
        The method and its start.
    error
        ``||A - A*||_F / ||A*||_F``.
    misfit
        ``(2 g)^{1/2}`` over ``(sum_t ||W_t - mean||_F^2)^{1/2}``: 0 at a global minimum.
    ended
        The solver's status; converged for a closed form.
    iterations
        Trust-region steps; 0 for a closed form.
    seconds
        Wall time without the reduction.
    """

    how: str
    error: float
    misfit: float
    ended: Status
    iterations: int
    seconds: float

    @property
    def reached(self) -> bool:
        """Whether the truth was found."""
        return self.error <= REACHED


def recover(rng: np.random.Generator, truth: GroundTruth, *, starts: int = 5) -> Iterator[Recovery]:
    """Reduce the population problem to the span, then recover A* by the spectral form and from random starts.

    Parameters
    ----------
    rng
        Source of the starts.
    truth
        One truth without batch axes, T >= 3 with an independent triple (ML-3).
    starts
        Number of random starts, of the size of the shifts.

    Yields
    ------
    The spectral recovery, then one recovery per start, when each is done.
    """
    reduction = reduce_to_span(rng, truth.W_retraining, truth.k)
    started = perf_counter()
    U = spectral_recovery(reduction.W, truth.k).U
    yield _recovery("spectral form", truth, reduction, U, Status.CONVERGED, 0, perf_counter() - started)
    objective = ProjectedLoRAML(population(reduction.W))
    scale = np.sqrt(np.max(np.linalg.norm(reduction.W, axis=(-2, -1))) / reduction.W.shape[-1])
    for number in range(starts):
        start = scale * rng.standard_normal((truth.T, reduction.W.shape[-1], truth.k))
        started = perf_counter()
        end = newton(objective, Parameters(U=start), relative_tolerance=TOLERANCE)
        seconds = perf_counter() - started
        ended = Status(int(end.status))
        yield _recovery(f"Newton, start {number}", truth, reduction, end.parameters.U, ended, end.iterations, seconds)


def _recovery(
    how: str, truth: GroundTruth, reduction: Reduction, U: np.ndarray, ended: Status, iterations: int, seconds: float
) -> Recovery:
    """Measure the base of reduced factors."""
    misfit = np.sqrt(2 * float(ProjectedLoRAML(population(reduction.W)).value(Parameters(U=U))))
    return Recovery(
        how,
        float(np.linalg.norm(reduction.base(U) - truth.A_star) / np.linalg.norm(truth.A_star)),
        float(misfit / np.linalg.norm(reduction.W)),
        ended,
        iterations,
        seconds,
    )
