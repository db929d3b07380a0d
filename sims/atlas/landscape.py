"""The atlas of the landscape: how often solvers end in spurious minima of LoRA-ML, over k/d, T, noise and starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import inf, isinf
from typing import NamedTuple

import numpy as np

from loraml_theory import zoo
from loraml_theory.adapters import Parameters
from loraml_theory.closed_forms import best_rank_error, spectral_recovery, standard_retraining
from loraml_theory.landscape import curvature
from loraml_theory.moments import Moments, draw, population
from loraml_theory.objectives import ProjectedLoRAML
from loraml_theory.structure import GroundTruth
from sims.atlas.ends import Ends, descend, newton, repeated
from sims.engines.engine import Engine
from sims.seeding import stream
from sims.sweep.executors import InProcess, Processes

SIGMA = 0.1
SMALL = 0.1
"""The paper's start: A = 0, U of standard deviation 0.1."""

REACHED = 1e-4
"""An end whose misfit ``(2 (f - min f))^{1/2} / max||W_t||_F`` is at most this has reached the global minimum."""

GD, BASIN, NEWTON = "gradient descent", "gradient descent, then Newton", "Newton"
SOLVERS_AND_STARTS = (
    (GD, "small"),
    (GD, "large"),
    (BASIN, "small"),
    (BASIN, "large"),
    (NEWTON, "small"),
    (NEWTON, "large"),
    (NEWTON, "spectral"),
)
"""Solver and start. Small: U ~ 0.1 N(0, 1). Large: U normal with shifts as large as the largest true one. Newton from
the ends of gradient descent shows in whose basin the unconverged ones are."""


@dataclass(frozen=True)
class Scale:
    """How much an atlas draws: `structures` truths per cell, `starts` random starts of each."""

    d: int
    ranks: tuple[int, ...]
    tasks: tuple[int, ...]
    samples: tuple[float, ...]
    structures: int
    starts: int


SCALES = {
    "quick": Scale(6, (1, 2, 3), (2, 3, 4, 6, 8), (inf, 100), 20, 4),
    "full": Scale(12, (1, 2, 3, 4), (2, 3, 4, 5, 6, 8), (inf, 5000, 100), 40, 5),
}


@dataclass(frozen=True)
class MapCell:
    """The ends of one method in one cell of the map.

    Parameters
    ----------
    kind
        ``generic`` structures, or the ``spurious`` instance of ML-5, known to have a spurious minimum.
    d, k, T, N
        Sizes; N samples per task with noise of standard deviation `SIGMA`, infinite for the population.
    solver, start
        One of `SOLVERS_AND_STARTS`.
    reached, spurious, unconverged
        Number of starts of every structure that end so, ``(structures,)`` each.
    ranks, errors
        Of every spurious end: the `needed_rank` of the test task from its base, and the `relative_floor` there.
    """

    kind: str
    d: int
    k: int
    T: int
    N: float
    solver: str
    start: str
    reached: np.ndarray
    spurious: np.ndarray
    unconverged: np.ndarray
    ranks: np.ndarray
    errors: np.ndarray

    @property
    def starts(self) -> int:
        """Starts of each structure."""
        return int(self.reached[0] + self.spurious[0] + self.unconverged[0])


class Place(NamedTuple):
    """A place of the map, where all methods run on the same structures."""

    scale: Scale
    kind: str
    N: float
    k: int
    T: int

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.kind}, k/d = {self.k}/{self.scale.d}, T = {self.T}, N = {self.N:g}"


def survey(
    scale: Scale,
    engine: Engine,
    *,
    seed: int,
    workers: int = 1,
    progress: Callable[[str], None] = lambda _: None,
) -> list[MapCell]:
    """Run every method from the same structures, data and starts at every place of the map.

    Parameters
    ----------
    scale
        How much to draw.
    engine
        Runs the gradient descent and evaluates Newton's method.
    seed
        Root of every random number; a cell's numbers depend only on it and on d, k, T and N.
    workers
        Processes, each of which works on one place at a time; one where the engine uses a card.
    progress
        Called with the name of a place when it is done.
    """
    one = replace(scale, d=3, structures=1, starts=scale.structures * scale.starts)
    places = [Place(one, "spurious", N, 1, 3) for N in scale.samples]
    places += [Place(scale, "generic", N, k, T) for N in scale.samples for k in scale.ranks for T in scale.tasks]
    slowest_first = sorted(places, key=lambda place: -place.k * place.T)
    executor = Processes(workers) if workers > 1 and engine.device == "cpu" else InProcess()
    found: dict[Place, list[MapCell]] = {}
    for place, cells in executor.run(partial(_cells, engine, seed), slowest_first):
        found[place] = cells
        progress(f"{len(found)}/{len(places)}  {place}")
    return [cell for place in places for cell in found[place]]


def _cells(engine: Engine, seed: int, place: Place) -> tuple[Place, list[MapCell]]:
    return place, list(_methods(engine, seed, place))


def _methods(engine: Engine, seed: int, here: Place) -> Iterator[MapCell]:
    """Run all methods at one place, then classify their ends by the least value that any of them found."""
    scale, kind, N, k, T = here
    d, place = scale.d, {"d": scale.d, "k": k, "T": T}
    rng = {what: stream(seed, f"atlas: {what}", kind=kind, **place) for what in ("structures", "starts")}
    truth = zoo.KINDS[kind](rng["structures"], d, k, T, batch=(scale.structures,))
    moments = population(truth.W_retraining)
    if not isinf(N):
        data = stream(seed, "atlas: data", kind=kind, N=int(N), **place)
        moments = draw(data, truth.W_retraining, int(N), sigma=SIGMA)
    ends = _run(engine, moments, _starts(rng["starts"], scale.starts, truth, moments))
    known = np.zeros(scale.structures)
    if not isinf(N):
        best = [*ends.values(), newton(engine, moments, truth.U_retraining[:, None, ...])]
        known = np.min(np.concatenate([end.value for end in best], axis=1), axis=1)
    for (solver, start), end in ends.items():
        reached, spurious = _outcomes(end, known, moments, truth)
        ranks, errors = _after_traps(end, spurious, moments, truth)
        yield MapCell(
            *(kind, d, k, T, N, solver, start),
            reached=reached.sum(axis=1),
            spurious=spurious.sum(axis=1),
            unconverged=(~reached & ~spurious).sum(axis=1),
            ranks=ranks,
            errors=errors,
        )


def _starts(rng: np.random.Generator, count: int, truth: GroundTruth, moments: Moments) -> dict[str, np.ndarray]:
    """Draw starts ``(structures, starts, T, d, k)`` by name; a spectral one where there is a triple."""
    shape = truth.U_retraining.shape
    normal = rng.standard_normal((shape[0], count, *shape[1:]))
    size = large_scale(truth.R)
    drawn = {"small": SMALL * normal, "large": size[:, None, None, None, None] * normal}
    if truth.T >= 3 and 3 * truth.k <= truth.d:
        drawn["spectral"] = spectral_recovery(moments.W, truth.k).U[:, None, ...]
    return drawn


def large_scale(R: np.ndarray) -> np.ndarray:
    """Return the standard deviation at which a start's shifts are as large as the largest of R, ``(..., n, d, d)``."""
    return np.asarray(np.sqrt(np.max(np.linalg.norm(R, axis=(-2, -1)), axis=-1) / R.shape[-1]))


def _run(engine: Engine, moments: Moments, starts: dict[str, np.ndarray]) -> dict[tuple[str, str], Ends]:
    """Run every method from its start; Newton after gradient descent starts where that ended."""
    ends: dict[tuple[str, str], Ends] = {}
    for solver, start in SOLVERS_AND_STARTS:
        if start in starts:
            U = ends[GD, start].U if solver == BASIN else starts[start]
            ends[solver, start] = descend(engine, moments, U) if solver == GD else newton(engine, moments, U)
    return ends


def _outcomes(end: Ends, known: np.ndarray, moments: Moments, truth: GroundTruth) -> tuple[np.ndarray, np.ndarray]:
    """Return which starts reached the global minimum, and which ended in a spurious one, ``(structures, starts)``."""
    excess = np.maximum(end.value - known[:, None], 0)
    reached = np.sqrt(2 * excess) <= REACHED * truth.retraining_scale[:, None]
    spurious = end.stationary & ~reached & np.isfinite(end.value)
    which = np.nonzero(spurious)
    if which[0].size:
        objective = ProjectedLoRAML(repeated(moments, which[0]))
        spectrum = curvature(objective, Parameters(U=end.U[which]))
        spurious[which] = spectrum[:, 0] > -1e-7 * spectrum[:, -1]  # at a saddle the descent has not ended
    return reached, spurious


def _after_traps(
    end: Ends, spurious: np.ndarray, moments: Moments, truth: GroundTruth
) -> tuple[np.ndarray, np.ndarray]:
    """Return rank and error that the test tasks of all spurious ends need and keep, ``(traps,)`` each."""
    which = np.nonzero(spurious)
    some = repeated(moments, which[0])
    base = ProjectedLoRAML(some).base(Parameters(U=end.U[which]))
    tasks = GroundTruth(truth.A_star[which[0]], truth.U_star[which[0]])
    return needed_rank(tasks, base), relative_floor(tasks, base, standard_retraining(some))


def needed_rank(truth: GroundTruth, base: np.ndarray) -> np.ndarray:
    """Return the rank of ``W_{T+1} - A``, singular values below `REACHED` of max||W_t||_F left out, ``(...)``."""
    values = np.linalg.svd(truth.W_test - base, compute_uv=False)
    return np.asarray(np.sum(values > REACHED * truth.retraining_scale[..., None], axis=-1))


def relative_floor(truth: GroundTruth, base: np.ndarray, standard: np.ndarray) -> np.ndarray:
    """Return the squared error that rank k leaves of the test task from a base, over that from another, ``(...)``."""
    return np.asarray(best_rank_error(truth.W_test - base, truth.k) / best_rank_error(truth.W_test - standard, truth.k))
