"""The shallow-network experiments: both methods retrained and fine-tuned, all runs of a setting in one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sims.engines.engine import recorded_steps
from sims.methods import COMPARED
from sims.shallow.descent import Descent
from sims.shallow.draws import Run, tuning_start
from sims.shallow.network import Network, Samples, losses, values
from sims.shallow.second_order import reach
from sims.shallow.settings import AdamW

RECORDS = 100  # points of a curve, evenly over fine-tuning, besides those in `EARLY`
STARTS, ITERATIONS = 6, 100  # of the second-order method
EARLY = (1, 2, 5, 10, 20, 50, 100, 200, 500)
BLOCK = 20_000  # inputs of the test error in memory at once, for every record


@dataclass(frozen=True, eq=False)
class RetrainedNetworks:
    """The result of retraining.

    Parameters
    ----------
    file
        How the names of files with such results begin.
    A, c
        ``(methods, runs, d, d)`` and ``(methods, runs, d)``.
    start_loss, loss
        The sum over tasks of the mean squared residual, before and after, ``(methods, runs)``.
    """

    file: ClassVar[str] = "retrained"

    A: np.ndarray
    c: np.ndarray
    start_loss: np.ndarray
    loss: np.ndarray


@dataclass(frozen=True, eq=False)
class Tuned:
    """The course of fine-tuning at one rank.

    Parameters
    ----------
    file
        As in `RetrainedNetworks`.
    steps
        Recorded steps, ``(records,)``; the first is 0.
    fresh_error, in_sample_error
        Mean squared distances to the true function, ``(methods, runs, records)``.
    loss
        The mean squared residual at the end, ``(methods, runs)``.
    """

    file: ClassVar[str] = "tuned"

    steps: np.ndarray
    fresh_error: np.ndarray
    in_sample_error: np.ndarray
    loss: np.ndarray


def retrain(
    drawn: Sequence[Run],
    descent: Descent,
    *,
    epochs: int,
    settings: AdamW | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> RetrainedNetworks:
    """Retrain by both methods from the same A and c, all runs at once.

    Standard retraining is LoRA-ML from adapters that are all 0, which no step of AdamW moves.
    """
    samples = stacked([run.retraining for run in drawn])
    start = _both_methods([run.start for run in drawn])
    end = descent.descend(samples, start, settings or AdamW(), at=np.array([epochs]), progress=progress)[0]
    return _retrained(drawn, start, end)


def retrain_by_second_order(
    drawn: Sequence[Run], starts: Sequence[Sequence[Network]], *, progress: Callable[[float], None] = lambda _: None
) -> RetrainedNetworks:
    """Retrain by both methods with `second_order`: the best end of several starts.

    Parameters
    ----------
    starts
        Any number of starts, each a batch over runs.
    """
    samples = Samples(*(np.concatenate([part] * len(COMPARED)) for part in stacked([run.retraining for run in drawn])))
    tried = [_both_methods(start) for start in starts]
    end = reach(samples, tried, np.zeros(len(samples.x)), iterations=ITERATIONS, progress=progress)
    return _retrained(drawn, tried[0], end.point)


def _both_methods(starts: Sequence[Network]) -> Network:
    """Join starts of runs to a batch for LoRA-ML and, with adapters of 0, for standard retraining."""
    A, c, U, V = (np.stack([getattr(start, name) for start in starts]) for name in ("A", "c", "U", "V"))
    return Network(*(np.concatenate(pair) for pair in ((A, A), (c, c), (U, 0 * U), (V, 0 * V))))


def _retrained(drawn: Sequence[Run], start: Network, end: Network) -> RetrainedNetworks:
    samples = Samples(*(np.concatenate([part] * len(COMPARED)) for part in stacked([run.retraining for run in drawn])))
    both = (len(COMPARED), len(drawn))
    A, c = (part.reshape(*both, *part.shape[1:]) for part in (end.A, end.c))
    return RetrainedNetworks(A, c, losses(start, samples).reshape(both), losses(end, samples).reshape(both))


def fine_tune(
    drawn: Sequence[Run],
    bases: RetrainedNetworks,
    descent: Descent,
    *,
    rank: int,
    epochs: int,
    seed: int,
    settings: AdamW | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> Tuned:
    """Fine-tune both methods' fixed bases by adapters from the same start; measure both errors."""
    both, d = bases.c.shape[:2], bases.c.shape[-1]
    samples = stacked([run.tuning for run in drawn])
    V = np.stack([tuning_start(seed, run, d=d, rank=rank) for run in range(len(drawn))])
    V = np.concatenate([V] * len(COMPARED))
    start = Network(bases.A.reshape(-1, d, d), bases.c.reshape(-1, d), np.zeros_like(V), V)
    at = np.unique([*recorded_steps(epochs, max(1, epochs // RECORDS)), *(step for step in EARLY if step < epochs)])
    path = descent.descend(samples, start, settings or AdamW(), at=at, train_base=False, progress=progress)
    loss = losses(path[-1], Samples(*(np.concatenate([part] * len(COMPARED)) for part in samples)))
    fresh, in_sample = np.empty((2, *both, len(at)))
    for method, number in np.ndindex(both):
        at_run, run = path[:, method * len(drawn) + number], drawn[number]
        W = at_run.W[:, 0]
        fresh[method, number] = _distances(W, at_run.c, run.fresh)
        in_sample[method, number] = _distances(W, at_run.c, Samples(run.tuning.x[0], run.tuning_clean[0]))
    return Tuned(at, fresh, in_sample, loss.reshape(both))


def stacked(samples: Sequence[Samples]) -> Samples:
    """Join the samples of runs along a new first axis."""
    return Samples(*(np.stack(parts) for parts in zip(*samples, strict=True)))


def _distances(W: np.ndarray, c: np.ndarray, clean: Samples) -> np.ndarray:
    """Return the mean squared distance to targets without noise for every record, ``(records,)``."""
    at_once = max(1, BLOCK // len(clean.y))
    blocks = [slice(begin, begin + at_once) for begin in range(0, len(W), at_once)]
    return np.concatenate([np.mean((values(W[b], c[b], clean.x) - clean.y) ** 2, axis=-1) for b in blocks])
