"""The paper's linear experiments: both methods retrained by descent and fine-tuned, a few runs of every setting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from loraml_theory.adapters import Parameters
from loraml_theory.closed_forms import fine_tune, standard_retraining, truncate
from loraml_theory.moments import Moments, draw, population
from loraml_theory.structure import GroundTruth
from sims.engines.engine import Engine
from sims.linear.settings import VARIANTS, LinearCell, Variant, cells
from sims.methods import COMPARED
from sims.rates.floors import predicted_error

RUNS = 5
RECORDS = 1000  # points of a curve, at most about twice as many
START = 0.1  # standard deviation of every entry that descent starts from


@dataclass(frozen=True, eq=False)
class Curve:
    """The runs of one method at one value of the axis.

    Parameters
    ----------
    vary, value, method, variant
        Identify the curve.
        cell
        The setting.
    steps, errors
        Fine-tuning iterations ``(records,)`` and the plotted quantity ``(runs, records)``.
    optimum
        The same at the best shift of this rank for each run's data, in closed form, ``(runs,)``.
    floor
        The predicted end of each run, ``(runs,)``.
    """

    vary: str
    value: int
    method: str
    variant: Variant
    cell: LinearCell
    steps: np.ndarray
    errors: np.ndarray
    optimum: np.ndarray
    floor: np.ndarray


def curves(
    vary: str,
    engine: Engine,
    *,
    variant: str = "paper",
    seed: int = 0,
    runs: int = RUNS,
    base: LinearCell | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Curve]:
    """Run one figure's experiments; the truths of all values of the axis are nested.

    Parameters
    ----------
    vary
        What varies.
    engine
        Runs the descents.
    variant, seed, runs
        See `Variant`; root of every random number; number of repetitions.
    base
        The setting of everything that does not vary; the paper's if not given.
    progress
        Called with the value about to be run.
    """
    chosen, settings = VARIANTS[variant], cells(vary, base)
    truths = _nested_truths(seed, 1 if chosen.one_truth else runs, runs, settings)
    results: list[Curve] = []
    retrained: _RetrainedPoints | None = None
    for index, (value, cell) in enumerate(settings.items()):
        progress(f"{vary} = {value}")
        streams = [np.random.default_rng([seed, *vary.encode(), index, stage]) for stage in range(2)]
        truth = _cut(truths, cell)
        if retrained is None or vary != "n":  # retraining does not use the test task's samples
            retrained = _retrain(engine, streams[0], truth, cell, chosen)
        results += _fine_tune(engine, streams[1], truth, (vary, value, cell, chosen), retrained)
    return results


@dataclass(frozen=True, eq=False)
class _RetrainedPoints:
    """Both methods' bases ``(runs, d, d)``, LoRA-ML's adapters, and what standard retraining's base misses."""

    meta: np.ndarray
    adapters: np.ndarray
    standard: np.ndarray
    frozen: np.ndarray


def _nested_truths(seed: int, distinct: int, runs: int, settings: dict[int, LinearCell]) -> GroundTruth:
    """Draw truths of the largest sizes; every cell takes a corner of them, and the first of their tasks."""
    d, k, T = (max(getattr(cell, name) for cell in settings.values()) for name in "dkT")
    rng = np.random.default_rng([seed, 0])
    A = rng.standard_normal((distinct, d, d))
    U = rng.standard_normal((distinct, T + 1, d, k))
    repeat = runs // distinct
    return GroundTruth(np.repeat((A + A.swapaxes(-1, -2)) / 2, repeat, 0), np.repeat(U, repeat, 0))


def _cut(truths: GroundTruth, cell: LinearCell) -> GroundTruth:
    """Return the corner of these truths with the cell's sizes; the test task stays the last."""
    tasks = [*range(cell.T), truths.T]
    A = truths.A_star[:, : cell.d, : cell.d]
    return GroundTruth(A.copy(), truths.U_star[:, tasks][..., : cell.d, : cell.k].copy())


def _retrain(
    engine: Engine, rng: np.random.Generator, truth: GroundTruth, cell: LinearCell, variant: Variant
) -> _RetrainedPoints:
    """Retrain both methods on the same data."""
    runs, d = len(truth.A_star), cell.d
    moments = draw(rng, truth.W_retraining, cell.N, sigma=variant.noise(cell))
    shape = (2, runs, cell.T, d, cell.k)
    U, idle = START * rng.standard_normal(shape)
    zero = np.zeros((runs, d, d))
    end = engine.retrain(moments, Parameters(zero, U), cell.schedule).end
    frozen = np.mean(idle @ idle.swapaxes(-1, -2), axis=1) if variant.frozen_adapters else zero
    standard = standard_descent(engine, moments, frozen, cell, times=cell.T if variant.frozen_adapters else 1)
    return _RetrainedPoints(end.A, end.U, standard, frozen)


def standard_descent(
    engine: Engine, moments: Moments, frozen: np.ndarray, cell: LinearCell, *, times: float
) -> np.ndarray:
    """Descend from A = 0 on standard retraining's loss at ``A + frozen``, with steps so many times as long.

    ``A + frozen`` then descends as A would without the frozen term, from another start.
    """
    outer = cell.schedule
    start = Parameters(A=np.zeros_like(frozen) + frozen)
    step_size = outer.outer_step_size * times
    end = engine.retrain_standard(moments, start, steps=outer.outer_steps, step_size=step_size).end
    return np.asarray(end.A) - frozen


def _fine_tune(
    engine: Engine,
    rng: np.random.Generator,
    truth: GroundTruth,
    about: tuple[str, int, LinearCell, Variant],
    retrained: _RetrainedPoints,
) -> list[Curve]:
    """Fine-tune both methods' bases on the same data of the test task."""
    vary, value, cell, variant = about
    runs, d, r = len(truth.A_star), cell.d, cell.rank
    moments = draw(rng, truth.W_test, cell.n, sigma=variant.noise(cell))
    S, W_fit, noise = (np.concatenate([part, part]) for part in (moments.S, moments.W, moments.noise))
    twice = Moments(S, W_fit, noise, moments.n)
    bases = np.concatenate([retrained.meta, retrained.standard])
    U, V = START * rng.standard_normal((2, 2 * runs, d, r))
    if variant.one_truth:
        U[:runs], V[:runs] = U[0], V[0]
    path = engine.fine_tune(
        twice,
        bases,
        Parameters(None, U, V),
        steps=cell.steps,
        step_size=cell.step_size,
        record_every=max(1, cell.steps // RECORDS),
    )
    assert path.U is not None
    assert path.V is not None
    W = np.concatenate([truth.W_test, truth.W_test])

    def measured(fitted: np.ndarray) -> np.ndarray:
        delta = fitted - W
        weighted = delta @ twice.S if variant.in_sample else delta
        return variant.scale(cell) * np.sum(weighted * delta, axis=(-2, -1))

    errors = measured(bases + path.U @ path.V.swapaxes(-1, -2)).T
    optimum = measured(fine_tune(twice, bases, r))
    floors = _floors(truth, cell, variant, retrained)
    return [
        Curve(vary, value, method, variant, cell, path.steps, errors[part], optimum[part], floor)
        for method, part, floor in zip(COMPARED, (slice(runs), slice(runs, None)), floors, strict=True)
    ]


def _floors(
    truth: GroundTruth, cell: LinearCell, variant: Variant, retrained: _RetrainedPoints
) -> tuple[np.ndarray, np.ndarray]:
    """Predict where both methods end, ``(runs,)`` each: from the truth, at T = 2 from the point reached."""
    r = cell.rank
    predict = partial(
        predicted_error, rank=r, N=cell.N, n=cell.n, sigma=variant.noise(cell), in_sample=variant.in_sample
    )
    standard = standard_retraining(population(truth.W_retraining)) - retrained.frozen
    identified = cell.T >= 3 and 3 * cell.k <= cell.d
    factors = truth.U_retraining if identified else retrained.adapters
    residuals = truth.R[:, -1] if identified else truncate(truth.W_test - retrained.meta, r)
    meta = [predict(residual, U) for residual, U in zip(residuals, factors, strict=True)]
    others = [predict(residual, cell.T) for residual in truth.W_test - standard]
    return variant.scale(cell) * np.array(meta), variant.scale(cell) * np.array(others)
