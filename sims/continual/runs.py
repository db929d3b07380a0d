"""Chains descended at many learning rates and numbers of steps, beside what the theory predicts for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise

import numpy as np

from loraml_theory.adapters import Parameters
from loraml_theory.continual.chains import forgotten, incremental, joint, loss_matrix, orthogonal, sequential
from loraml_theory.continual.descents import factor_descent, shift_descent
from loraml_theory.continual.predictions import between, increments, orthogonal_shifts
from loraml_theory.moments import Moments, population
from sims.seeding import stream

FULL, PAIRS = "full shift", "pairs of rank k"
RATES = tuple(float(rate) for rate in np.geomspace(0.0005, 0.5, 13))
STEPS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
FINER = 5  # points of a predicted curve for one that is descended


@dataclass(frozen=True)
class Setting:
    """Sizes of the structures, and what is held fixed where the other varies.

    Parameters
    ----------
    d, k, T
        Sizes; the entries of the factors are normal of variance 1/d, so that shifts have norms of about 1.
    structures
        Number of structures.
    steps, step_size
        m where the learning rate varies, and the learning rate where m does.
    """

    d: int = 20
    k: int = 1
    T: int = 4
    structures: int = 100
    steps: int = 32
    step_size: float = 0.05


@dataclass(frozen=True)
class Curve:
    """One method's chains: mean and standard error over the structures of its losses, ``(points,)`` each.

    Losses are over ``1/2 mean_t ||R_t||_F^2`` of their structure: the average over tasks after the chain, and the mean
    forgetting of tasks 1 to T - 1.
    """

    method: str
    adapts: str
    theory: bool
    vary: str
    values: tuple[float, ...]
    average: np.ndarray
    average_error: np.ndarray
    forgetting: np.ndarray
    forgetting_error: np.ndarray


class Chains:
    """Drawn structures and every method's chain on them."""

    def __init__(self, setting: Setting, *, seed: int) -> None:
        self.setting = setting
        shape = (setting.structures, setting.T, setting.d, setting.k)
        rng = partial(stream, seed, d=setting.d, k=setting.k, T=setting.T)
        self.U = rng("continual factors").standard_normal(shape) / np.sqrt(setting.d)
        rows = rng("continual rows").standard_normal(shape) / np.sqrt(setting.d)
        self.start = Parameters(U=np.zeros(shape), V=rows)  # as LoRA starts: B = 0, A random
        self.R = self.U @ self.U.swapaxes(-1, -2)
        self.base = np.zeros(self.R[:, 0].shape)

    @cached_property
    def moments(self) -> Moments:
        """The tasks in the population, inputs of covariance I."""
        return population(self.R)

    @cached_property
    def unit(self) -> np.ndarray:
        """``1/2 mean_t ||R_t||_F^2`` of each structure."""
        one: np.ndarray = np.mean(np.sum(self.R**2, axis=(-2, -1)), axis=-1) / 2
        return one

    @cached_property
    def orthogonal_ends(self) -> np.ndarray:
        """The shifts of the converged O-LoRA chain by CL-5, ``(structures, T, d, d)``."""
        return np.asarray(orthogonal_shifts(self.R, increments(self.U)))

    def scores(self, shifts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the average loss after the chain and the mean forgetting of every structure, in its unit."""
        losses = loss_matrix(self.moments, self.base, shifts)
        return np.mean(losses[..., -1, :], axis=-1) / self.unit, np.mean(forgotten(losses), axis=-1) / self.unit

    def limits(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return what converged chains end with by the claims, and the best single shift."""
        k = self.setting.k
        found = {
            "sequential": self.scores(sequential(self.moments, self.base, k)),
            "incremental": self.scores(incremental(self.moments, self.base, k)),
            "O-LoRA": self.scores(orthogonal(self.moments, self.base, k)),
        }
        best = joint(self.moments, self.base, self.setting.d)
        return {**found, "joint": (self.scores(best[:, None].repeat(self.setting.T, axis=1))[0], np.zeros(len(best)))}

    def predicted(self, method: str, *, step_size: float, steps: float) -> np.ndarray:
        """Return the shifts that CL-2 and CL-5 predict for descent on the full shift, ``(structures, T, d, d)``."""
        rho = (1 - step_size) ** steps
        if method == "O-LoRA":
            return (1 - rho) * self.orthogonal_ends
        return np.stack([between(self.R[:, :t], rho) for t in range(1, self.setting.T + 1)], axis=1)

    def descended(self, method: str, adapts: str, *, step_size: float, steps: int) -> np.ndarray:
        """Return the shifts of gradient descent, step by step."""
        if adapts == FULL:
            rows = method == "O-LoRA"
            walk = partial(shift_descent, orthogonal_rows=rows)
            return np.asarray(walk(self.moments, self.base, step_size=step_size, steps=steps))
        name = {"O-LoRA": "orthogonal"}.get(method, method)
        return np.asarray(
            factor_descent(
                self.moments,
                self.base,
                self.start,
                method=name,  # type: ignore[arg-type]
                step_size=step_size,
                steps=steps,
            )
        )


KINDS = (
    *((method, FULL, True) for method in ("sequential", "O-LoRA")),
    *((method, FULL, False) for method in ("sequential", "O-LoRA")),
    *((method, PAIRS, False) for method in ("sequential", "incremental", "O-LoRA")),
)


def curves(chains: Chains, *, progress: Callable[[str], None] = lambda _: None) -> list[Curve]:
    """Return every method's curve against the learning rate, and against the number of steps."""
    found = []
    for vary, values in (("learning rate", RATES), ("steps", STEPS)):
        for method, adapts, theory in KINDS:
            progress(f"{method}, {adapts}, against {vary}")
            points = finer(values) if theory else values
            found.append(_curve(chains, vary, points, method=method, adapts=adapts, theory=theory))
    return found


def finer(values: tuple[float, ...]) -> tuple[float, ...]:
    """Return these values with others between them, evenly on a log axis."""
    between = [np.geomspace(low, high, FINER + 1)[:-1] for low, high in pairwise(values)]
    return tuple(float(value) for value in np.append(np.concatenate(between), values[-1]))


def _curve(chains: Chains, vary: str, values: tuple[float, ...], *, method: str, adapts: str, theory: bool) -> Curve:
    rows = []
    for value in values:
        rate = vary == "learning rate"
        step_size = float(value) if rate else chains.setting.step_size
        steps = chains.setting.steps if rate else value
        if theory:
            shifts = chains.predicted(method, step_size=step_size, steps=steps)
        else:
            shifts = chains.descended(method, adapts, step_size=step_size, steps=int(steps))
        rows.append(np.stack(chains.scores(shifts)))
    scores = np.stack(rows, axis=1)  # (2, points, structures)
    mean, error = np.mean(scores, axis=-1), np.std(scores, axis=-1, ddof=1) / np.sqrt(scores.shape[-1])
    return Curve(method, adapts, theory, vary, values, mean[0], error[0], mean[1], error[1])
