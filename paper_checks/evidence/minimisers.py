"""Points of the population LoRA-ML objective: known minimisers, and classified ends of solvers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from loraml_theory.adapters import Parameters
from loraml_theory.closed_forms import SpectralRecovery, boost, spectral_recovery, two_task_orbit
from loraml_theory.libraries import array_namespace
from loraml_theory.moments import population
from loraml_theory.objectives import LoRAML, ProjectedLoRAML
from loraml_theory.rates import recovery_condition
from loraml_theory.solvers import Solution, newton
from loraml_theory.spectra import DEPENDENT, best_triple_separation
from loraml_theory.structure import Array, GroundTruth
from paper_checks.claim import Profile
from paper_checks.evidence.evidence import Note
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.remembered import remembered
from sims.engines.staged import newton_in_stages

GLOBAL = 1e-9  # misfits below this, relative to max||W_t||_F over the retraining tasks, are global minima
AMPLIFICATION = 30.0  # multiple of eps times condition in the spectral form; 9.4 was the worst ratio in 2700 draws


@dataclass(frozen=True)
class Minimiser:
    """A point (A, U) whose misfit ``(sum_t ||A + U_t U_t^T - W_t||_F^2)^{1/2} = (2 f)^{1/2}`` is rounding.

    `condition` amplifies rounding of max||W_t||_F into the misfit of a constructed point; 0 for the end of a solver,
    which is accepted by its misfit.
    """

    origin: str
    A: np.ndarray
    U: np.ndarray
    misfit: float
    condition: float = 0.0


Points: TypeAlias = Callable[[Instance, Profile], Iterator[Minimiser | Note]]


def minimiser(origin: str, truth: GroundTruth, A: np.ndarray, U: np.ndarray, *, condition: float = 1.0) -> Minimiser:
    """Measure the misfit of a constructed point on a truth."""
    return Minimiser(origin, A, U, float(misfit(truth, A, U)), condition)


def misfit(truth: GroundTruth, A: Array, U: Array) -> Array:
    """Return ``(sum_t ||A + U_t U_t^T - W_t||_F^2)^{1/2}``, ``(...)``."""
    value = LoRAML(population(truth.W_retraining)).value(Parameters(A=A, U=U))
    return array_namespace(value).sqrt(2 * value)


def known(instance: Instance) -> Iterator[Minimiser | Note]:
    """Yield a point of the orbit at T = 2, the spectral start where a triple is independent; and the truth."""
    truth = instance.truth
    if truth.T == 2:
        yield orbit_point(instance)
    elif float(best_triple_separation(truth.U_retraining)) > DEPENDENT:
        recovered = recovery(truth)
        yield minimiser("the spectral start", truth, recovered.A, recovered.U, condition=float(recovered.condition))
    yield minimiser("the truth", truth, truth.A_star, truth.U_retraining)


@remembered
def recovery(truth: GroundTruth) -> SpectralRecovery:
    """Return what the spectral form recovers from the retraining tasks (ML-6)."""
    return spectral_recovery(truth.W_retraining, truth.k)


def draw_boost(rng: np.random.Generator, rapidities: np.ndarray) -> np.ndarray:
    """Draw an element of O(k, k) with these rapidities."""
    k = rapidities.size
    return boost(rapidities, *np.linalg.qr(rng.standard_normal((2, 2, k, k)))[0])


def orbit_point(instance: Instance) -> Minimiser:
    """Draw a point of the two-task orbit, all rapidities non-zero, from 0.3 to 1.5."""
    rng = instance.rng("orbit")
    H = draw_boost(rng, rng.uniform(0.3, 1.5, instance.truth.k))
    A, U = two_task_orbit(instance.truth, H)
    size = float(np.linalg.norm(H, 2)) ** 2
    return minimiser("a point of the two-task orbit", instance.truth, A, U, condition=size)


def all_minimisers(instance: Instance, profile: Profile) -> Iterator[Minimiser | Note]:
    """Yield the known minimisers and the global ends of Newton from random starts; note the others."""
    yield from known(instance)
    starts = random_starts(instance, profile.starts)
    yield from global_ends(instance, starts, f"{profile.starts} random starts")


def random_starts(instance: Instance, count: int, *, rank: int | None = None) -> np.ndarray:
    """Draw standard normal factors, scaled so that shifts are as large as the largest true one.

    ``(count, T, d, rank)``, of rank k unless given.
    """
    truth = instance.truth
    scale = np.sqrt(np.max(np.linalg.norm(truth.R, axis=(-2, -1))) / truth.d)
    return scale * instance.rng("random starts").standard_normal((count, truth.T, truth.d, rank or truth.k))


@remembered
def solve(instance: Instance, starts: np.ndarray) -> tuple[Solution, np.ndarray, np.ndarray]:
    """Run Newton from a batch of starts; return the solution, the bases and the misfits over max||W_t||_F, t = 1..T.

    The tolerance is below what the claims need, so that quadratic convergence reaches rounding.
    """
    objective = ProjectedLoRAML(population(instance.truth.W_retraining))
    solution = newton(objective, Parameters(U=starts), relative_tolerance=1e-14, max_iterations=100)
    return (
        solution,
        objective.base(solution.parameters),
        np.sqrt(2 * solution.value) / float(instance.truth.retraining_scale),
    )


class Ends(NamedTuple):
    """The ends of Newton for every structure of a batch.

    Parameters
    ----------
    base, U
        ``(B, d, d)`` and ``(B, T, d, k)``.
    misfit
        See `misfit`, ``(B,)``.
    unconverged, elsewhere
        Not at a global minimum: not converged, or stationary above it.
    """

    base: Array
    U: Array
    misfit: Array
    unconverged: Array
    elsewhere: Array


def solve_each(truth: GroundTruth, start: Array) -> Ends:
    """Run Newton on a batch of structures from one start each, ``(B, T, d, k)``, to the tolerance of `solve`.

    An end is stationary where ``||grad|| <= 1e-12 max||W_t||_F^{3/2}``.
    """
    xp, scale, W = array_namespace(start), truth.retraining_scale, truth.W_retraining
    end = newton_in_stages(
        lambda some: ProjectedLoRAML(population(W[some])), Parameters(U=start), relative_tolerance=1e-14
    )
    misfits = xp.sqrt(2 * end.value)
    reached, still = misfits <= GLOBAL * scale, end.gradient_norm <= 1e-12 * scale**1.5
    return Ends(ProjectedLoRAML(population(W)).base(end.at), end.at.U, misfits, ~reached & ~still, ~reached & still)


def stationary(solution: Solution, instance: Instance) -> np.ndarray:
    """Return which ends have ``||grad|| <= 1e-12 max_t ||W_t||_F^{3/2}``."""
    return solution.gradient_norm <= 1e-12 * float(instance.truth.retraining_scale) ** 1.5


def global_ends(instance: Instance, starts: np.ndarray, origin: str) -> Iterator[Minimiser | Note]:
    """Yield the ends whose misfit is rounding, far too small to be a lost shift; count all in a note."""
    solution, bases, misfits = solve(instance, starts)
    reached = misfits <= min(GLOBAL, 0.1 * smallest_shift(instance.truth) / float(instance.truth.retraining_scale))
    still = stationary(solution, instance)
    for i in np.flatnonzero(reached):
        yield Minimiser(origin, bases[i], solution.parameters.U[i], float(misfits[i] * instance.truth.retraining_scale))
    yield Note(
        instance.name,
        f"from {origin}: {int(reached.sum())} of {reached.size} reached a global minimum, "
        f"{int((~reached & still).sum())} ended stationary above it, {int((~reached & ~still).sum())} did not converge",
    )


def smallest_shift(truth: GroundTruth) -> float:
    """Return the smallest non-zero eigenvalue of the retraining tasks' shifts, ``min_t sigma_k(U_t*)^2``."""
    return float(np.min(np.linalg.svd(truth.U_retraining, compute_uv=False)) ** 2)


def asserted_condition(truth: GroundTruth) -> Array:
    """Return the `recovery_condition`, the amplification of misfits in the base near the truth (ML-3), ``(...)``.

    Where no triple of tasks is independent, the claim's assumption is broken and nothing bounds the amplification; the
    condition is then 1, so that a control that asserts the claim there is judged.
    """
    condition = recovery_condition(truth)
    xp = array_namespace(condition)
    if truth.T < 3:
        return xp.ones_like(condition)
    dependent = best_triple_separation(truth.U_retraining) < DEPENDENT
    return xp.where(dependent, xp.ones_like(condition), condition)
