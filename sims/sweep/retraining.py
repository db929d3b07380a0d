"""The retraining methods of a sweep, each from a batch of truths and moments to bases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isinf
from typing import Any, NamedTuple

import numpy as np

from loraml_theory.adapters import Parameters
from loraml_theory.closed_forms import boost, spectral_recovery, standard_retraining, two_task_orbit
from loraml_theory.libraries import array_namespace
from loraml_theory.moments import Moments
from loraml_theory.objectives import FineTuning, LoRAML, Objective, ProjectedLoRAML
from loraml_theory.objectives import StandardRetraining as StandardObjective
from loraml_theory.solvers import Status, newton
from loraml_theory.solvers.base import Solution, finish
from loraml_theory.structure import Array, GroundTruth
from sims import seeding
from sims.engines.engine import Engine
from sims.sweep.spec import STARTED, SweepSettings

WORDS = {int(status): status.name.lower() for status in Status}
RAPIDITIES = (0.2, 2.5)


@dataclass(frozen=True, eq=False)
class Problem:
    """A batch of B seeds at one setting.

    Parameters
    ----------
    root, seeds
        Root of every random number; the seeds.
    truth
        A_star ``(B, d, d)``, U_star ``(B, T+1, d, k)``.
    moments
        Moments of the retraining tasks, ``(B, T, d, d)``.
    start
        As in the spec, "none" for methods without one.
    """

    root: int
    seeds: tuple[int, ...]
    truth: GroundTruth
    moments: Moments
    start: str
    settings: SweepSettings


class RetrainedBatch(NamedTuple):
    """Bases ``(B, d, d)``, and for each how it ended: status word, loss, gradient norm over its scale, and steps."""

    A: np.ndarray
    status: np.ndarray
    loss: np.ndarray
    gradient: np.ndarray
    iterations: int | None


def objection(method: str, start: str, *, d: int, k: int, T: int, N: float) -> str:
    """Return why a method does not apply to a setting, empty if it does."""
    if k > d:
        return f"k = {k} > d = {d}"
    spectral = method == "lora-ml-spectral" or (method in STARTED and start == "spectral")
    if spectral and (T < 3 or 3 * k > d):
        return f"spectral recovery needs T >= 3 and 3k <= d, not T = {T}, k = {k}, d = {d}"
    if method == "lora-ml-exact" and not isinf(N):
        return "lora-ml-exact is the population's minimiser and needs N = inf"
    return ""


def retrain(method: str, problem: Problem, engine: Engine) -> RetrainedBatch:
    """Retrain a batch by a method of `sims.methods.TITLES`."""
    return _RETRAINED_BY[method](problem, engine)


def _standard(problem: Problem, engine: Engine) -> RetrainedBatch:
    A = engine.evaluate(standard_retraining, problem.moments)
    return _ended(engine, problem, Parameters(A=A), steps=0, exact=True)


def _standard_descent(problem: Problem, engine: Engine) -> RetrainedBatch:
    settings = problem.settings
    end = engine.retrain_standard(
        problem.moments,
        Parameters(A=np.zeros_like(problem.truth.A_star)),
        steps=settings.standard_steps,
        step_size=settings.standard_step_size,
    ).end
    return _ended(engine, problem, end, steps=settings.standard_steps)


def _descent(problem: Problem, engine: Engine) -> RetrainedBatch:
    end = engine.retrain(problem.moments, _start(problem, engine), problem.settings.schedule).end
    return _ended(engine, problem, end, steps=problem.settings.outer_steps)


def _newton(problem: Problem, engine: Engine) -> RetrainedBatch:
    settings = problem.settings
    U = _start(problem, engine).U
    result = engine.evaluate(
        projected_newton, problem.moments, U, tolerance=settings.tolerance, steps=settings.newton_steps
    )
    return RetrainedBatch(*_read(*result), None)


def _spectral(problem: Problem, engine: Engine) -> RetrainedBatch:
    found = engine.evaluate(spectral_recovery, problem.moments.W, problem.truth.k)
    ended = _ended(engine, problem, Parameters(A=np.asarray(found[0]), U=np.asarray(found[1])), steps=0, exact=True)
    unknown = ~np.isfinite(np.asarray(found[2]))
    return ended._replace(status=np.where(unknown, "not_identified", ended.status))


def _exact(problem: Problem, engine: Engine) -> RetrainedBatch:
    truth = problem.truth
    at = Parameters(A=truth.A_star, U=truth.U_retraining)
    if truth.T == 2:
        points = [_orbit_point(problem, i) for i in range(len(problem.seeds))]
        at = Parameters(*(np.stack(part) for part in zip(*points, strict=True)))
    return _ended(engine, problem, at, steps=0, exact=True)


def _orbit_point(problem: Problem, i: int) -> tuple[Array, Array]:
    truth, k = GroundTruth(problem.truth.A_star[i], problem.truth.U_star[i]), problem.truth.k
    rng = seeding.stream(problem.root, "orbit", seed=problem.seeds[i], d=truth.d, k=k)
    H = boost(rng.uniform(*RAPIDITIES, k), np.linalg.qr(rng.standard_normal((2, k, k)))[0])
    return two_task_orbit(truth, H)


_RETRAINED_BY: dict[str, Callable[[Problem, Engine], RetrainedBatch]] = {
    "sr": _standard,
    "sr-gd": _standard_descent,
    "lora-ml-gd": _descent,
    "lora-ml-newton": _newton,
    "lora-ml-spectral": _spectral,
    "lora-ml-exact": _exact,
}


def _start(problem: Problem, engine: Engine) -> Parameters:
    truth = problem.truth
    if problem.start == "truth":
        return Parameters(A=truth.A_star, U=truth.U_retraining)
    if problem.start == "spectral":
        found = engine.evaluate(spectral_recovery, problem.moments.W, truth.k)
        return Parameters(A=np.asarray(found[0]), U=np.asarray(found[1]))
    drawn = [seeding.start(problem.root, seed, d=truth.d, k=truth.k, T=truth.T) for seed in problem.seeds]
    return Parameters(A=np.zeros_like(truth.A_star), U=float(problem.start) * np.stack(drawn))


def _ended(engine: Engine, problem: Problem, at: Parameters, *, steps: int, exact: bool = False) -> RetrainedBatch:
    tolerance = inf if exact else problem.settings.tolerance
    judge = judged_standard if at.U is None else judged
    return RetrainedBatch(*_read(at.A, *engine.evaluate(judge, problem.moments, at, tolerance)), steps)


def _read(A: Any, *judgement: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    status, loss, gradient = (np.asarray(part) for part in judgement)
    return np.asarray(A), np.array([WORDS[int(code)] for code in status]), loss, gradient


def judged(moments: Moments, at: Parameters, tolerance: float) -> tuple[Array, Array, Array]:
    """Return `Status` code, loss and relative gradient norm of LoRA-ML at its end."""
    return _judged(LoRAML(moments), at, tolerance)


def judged_standard(moments: Moments, at: Parameters, tolerance: float) -> tuple[Array, Array, Array]:
    """Return `Status` code, loss and relative gradient norm of standard retraining at its end."""
    return _judged(StandardObjective(moments), at, tolerance)


def judged_fine_tuning(moments: Moments, base: Array, at: Parameters, tolerance: float) -> tuple[Array, Array, Array]:
    """Return `Status` code, loss and relative gradient norm of fine-tuning at its end."""
    return _judged(FineTuning(moments, base), at, tolerance)


def projected_newton(moments: Moments, U: Array, *, tolerance: float, steps: int) -> tuple[Array, Array, Array, Array]:
    """Run Newton on LoRA-ML with the base eliminated; return the base, `Status`, loss and relative gradient norm."""
    objective = ProjectedLoRAML(moments)
    solution = newton(objective, Parameters(U=U), relative_tolerance=tolerance, max_iterations=steps)
    return objective.base(solution.parameters), *_judgement(objective, solution)


def _judged(objective: Objective, at: Parameters, tolerance: float) -> tuple[Array, Array, Array]:
    scaled = tolerance * objective.gradient_scale
    solution = finish(objective, at, scaled, iterations=0, ended=Status.MAX_ITERATIONS, throw=False)
    return _judgement(objective, solution)


def _judgement(objective: Objective, solution: Solution) -> tuple[Array, Array, Array]:
    xp, scale = array_namespace(solution.value), objective.gradient_scale
    return solution.status, solution.value, solution.gradient_norm / xp.where(scale > 0, scale, xp.ones_like(scale))
