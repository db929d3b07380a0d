"""Ends of the atlas's descents: an engine runs batches of starts until they are stationary or out of steps."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np

from loraml_theory.adapters import Parameters
from loraml_theory.moments import Moments
from loraml_theory.objectives import ProjectedLoRAML
from loraml_theory.solvers.base import gradient_norm
from sims.engines.engine import Engine, Schedule
from sims.engines.staged import minimise

STATIONARY = 1e-9
"""An end with ``||grad|| / max||W_t||_F^{3/2}`` at most this has converged, for every solver."""

DESCENT = (3000, 3000, 6000)
"""Outer steps of gradient descent in stages, four times the paper's in total; a stage continues unconverged starts."""

TRUST_REGION = (12, 12, 24, 52, 100)
"""Steps of Newton's method, by stage."""


@dataclass(frozen=True)
class Ends:
    """The ends of starts: values, whether stationary, and the points, with axes (structures, starts)."""

    value: np.ndarray
    stationary: np.ndarray
    U: np.ndarray


def newton(engine: Engine, moments: Moments, U: np.ndarray) -> Ends:
    """Run Newton's method from ``(structures, starts, T, d, k)``."""
    flat = repeated(moments, np.repeat(np.arange(U.shape[0]), U.shape[1]))
    arrays = (np.ascontiguousarray(x) for x in (flat.S, flat.W, flat.noise, U.reshape(-1, *U.shape[2:])))
    n = float(np.max(flat.n))
    end = engine.evaluate(minimise, *arrays, n=n, relative_tolerance=1e-12, stages=TRUST_REGION)
    return evaluated(flat, end[0].U, U.shape[:2])


def descend(engine: Engine, moments: Moments, U: np.ndarray) -> Ends:
    """Run the paper's gradient descent from A = 0, until the gradient is small or the steps of `DESCENT` are done."""
    flat = repeated(moments, np.repeat(np.arange(U.shape[0]), U.shape[1]))
    at = Parameters(np.zeros_like(flat.W[:, 0]), U.reshape(-1, *U.shape[2:]).copy())
    todo = np.arange(len(at.U))
    for steps in DESCENT:
        some = repeated(flat, todo)
        end = engine.retrain(some, Parameters(at.A[todo], at.U[todo]), Schedule(outer_steps=steps)).end
        at.A[todo], at.U[todo] = end.A, end.U
        still = evaluated(some, end.U, (len(todo),)).stationary
        todo = todo[~still & np.isfinite(end.A).all(axis=(-2, -1))]
        if not todo.size:
            break
    return evaluated(flat, at.U, U.shape[:2])


def evaluated(moments: Moments, U: np.ndarray, shape: tuple[int, ...]) -> Ends:
    """Evaluate points ``(B, T, d, k)`` after the base is eliminated; overflow makes them neither low nor stationary."""
    objective, at = ProjectedLoRAML(moments), Parameters(U=U)
    with np.errstate(all="ignore"):
        value = objective.value(at)
        norm = gradient_norm(objective, objective.gradient(at))
    scale = np.max(np.linalg.norm(moments.W, axis=(-2, -1)), axis=-1)
    value = np.where(np.isfinite(value), value, inf)
    return Ends(value.reshape(shape), (norm <= STATIONARY * scale**1.5).reshape(shape), U.reshape(*shape, *U.shape[1:]))


def repeated(moments: Moments, index: np.ndarray) -> Moments:
    """Select batch elements, possibly repeatedly."""
    return Moments(moments.S[index], moments.W[index], moments.noise[index], moments.n)
