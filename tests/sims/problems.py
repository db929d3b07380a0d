"""Batches of trials, and the reference's trajectories of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from loraml_theory import moments as draws
from loraml_theory.adapters import Parameters
from loraml_theory.moments import Moments
from loraml_theory.objectives import FineTuning, LoRAML, StandardRetraining
from loraml_theory.solvers.gradient import alternating_gradient_descent, gradient_descent
from sims.engines.engine import Engine, Iterates, Schedule


class Problem(NamedTuple):
    """The same batch for each descent: retraining on T tasks, then fine-tuning on the last of them."""

    moments: Moments
    start: Parameters
    base: np.ndarray
    adapters: Parameters


def problem(*, d: int, k: int, T: int, n: int, trials: int = 2, seed: int = 0) -> Problem:
    """Draw data of random truths with noise, and the paper's starts."""
    rng = np.random.default_rng([seed, d, k, T, n])
    U_star = rng.standard_normal((trials, T, d, k))
    W = rng.standard_normal((trials, 1, d, d)) + U_star @ np.swapaxes(U_star, -1, -2)
    start = Parameters(A=np.zeros((trials, d, d)), U=0.1 * rng.standard_normal((trials, T, d, k)))
    base = W[:, -1] + 0.3 * rng.standard_normal((trials, d, d))
    U, V = 0.1 * rng.standard_normal((2, trials, d, k))
    return Problem(draws.draw(rng, W, n, sigma=0.1), start, base, Parameters(U=U, V=V))


DESCENTS = ("lora_ml", "fine_tuning", "standard_retraining")


def by_engine(engine: Engine, descent: str, given: Problem, *, steps: int, every: int) -> Iterates:
    """Run a descent by an engine."""
    if descent == "lora_ml":
        return engine.retrain(given.moments, given.start, Schedule(outer_steps=steps), record_every=every)
    if descent == "fine_tuning":
        task = given.moments.task(-1)
        return engine.fine_tune(task, given.base, given.adapters, steps=steps, step_size=5e-3, record_every=every)
    start = Parameters(A=given.start.A)
    return engine.retrain_standard(given.moments, start, steps=steps, step_size=3e-2, record_every=every)


def by_reference(descent: str, given: Problem, *, steps: int) -> list[Parameters]:
    """Return every point of a descent by `loraml_theory.solvers`, steps + 1 of them."""
    points: list[Parameters] = []

    def observe(_step: int, at: Parameters) -> None:
        points.append(at)

    if descent == "lora_ml":
        alternating_gradient_descent(LoRAML(given.moments), given.start, outer_steps=steps, observe=observe)
        return points
    objective: Any = FineTuning(given.moments.task(-1), given.base)
    start, step_size = given.adapters, 5e-3
    if descent == "standard_retraining":
        T = given.moments.W.shape[1]
        objective, start, step_size = StandardRetraining(given.moments), Parameters(A=given.start.A), 3e-2 / T
    gradient_descent(objective, start, steps=steps, step_size=step_size, observe=observe)
    return points


def deviation(iterates: Iterates, points: list[Parameters]) -> float:
    """Return the largest relative difference of A, U or V, each as a vector, over trials and recorded steps."""
    worst = 0.0
    for r, step in enumerate(iterates.steps):
        for name in ("A", "U", "V"):
            got, expected = getattr(iterates, name), getattr(points[step], name)
            assert (got is None) == (expected is None), f"{name} at step {step}"
            if got is None:
                continue
            assert got.dtype == np.float64
            assert got.shape == (len(iterates.steps), *expected.shape)
            for one, other in zip(got[r], expected, strict=True):
                distance, size = np.linalg.norm(one - other), np.linalg.norm(other)
                assert np.isfinite(distance), f"{name} at step {step}"  # max() would pass over NaN
                worst = max(worst, float(distance / size if size else distance))
    return worst
