"""The random parts of every run, each from its own random stream, see `sims.seeding`.

======================  =======================  ===================================================
purpose                 coordinates              shared by
======================  =======================  ===================================================
shallow truth           run, d, k                T, N, n, method, rank
shallow task            run, d, k, task          the same; the tasks at T are the first T of more
shallow retraining      run, d, k, N, task       T, n, method, rank
shallow fine-tuning     run, d, k, n             T, N, method, rank
shallow fresh           run, d                   everything else
shallow start           run, d                   everything else
shallow adapter         run, d, k, task          T, N, n
shallow tuned adapter   run, d, rank             everything else, the methods too
======================  =======================  ===================================================

Further starts of retraining add their number to the coordinates of the start and of the adapters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import sqrt

import numpy as np

from sims.seeding import stream
from sims.shallow.network import Network, Samples, values
from sims.shallow.settings import ShallowCell

FRESH = 10_000  # inputs of the test error, the same for both methods: its relative standard error is about 2 %


@dataclass(frozen=True, eq=False)
class Run:
    """One run's truth, data and starts.

    Parameters
    ----------
    truth
        A, c and factors U = V of all T + 1 tasks, the test task last.
    retraining
        ``(T, N, d)`` and ``(T, N)``.
    tuning
        The test task's samples, ``(1, n, d)`` and ``(1, n)``, with noise.
    tuning_clean
        The same targets without noise, ``(1, n)``.
    fresh
        Further inputs of the test task and their targets without noise, ``(FRESH, d)`` and ``(FRESH,)``.
    start
        The start of retraining, with the adapters of T tasks.
    """

    truth: Network
    retraining: Samples
    tuning: Samples
    tuning_clean: np.ndarray
    fresh: Samples
    start: Network


def draw_run(root: int, run: int, cell: ShallowCell) -> Run:
    """Draw a run: A, U* and c are standard normal, and so are inputs; the noise has standard deviation sigma."""
    d, k, T = cell.d, cell.k, cell.T
    named = partial(stream, root, run=run, d=d)
    rng = named("shallow truth", k=k)
    A, c, tested = rng.standard_normal((d, d)), rng.standard_normal(d), rng.standard_normal((d, k))
    U = np.stack([*(named("shallow task", k=k, task=t).standard_normal((d, k)) for t in range(T)), tested])
    truth = Network(A, c, U, U)
    streams = [named("shallow retraining", k=k, N=cell.N, task=t) for t in range(T)]
    drawn = [_samples(rng, truth, task, cell.N, cell.sigma) for task, rng in enumerate(streams)]
    tuning, clean = _samples(named("shallow fine-tuning", k=k, n=cell.n), truth, T, cell.n, cell.sigma)
    inputs = named("shallow fresh").standard_normal((FRESH, d))
    return Run(
        truth=truth,
        retraining=Samples(*(np.stack(parts) for parts in zip(*(samples for samples, _ in drawn), strict=True))),
        tuning=Samples(tuning.x[None], tuning.y[None]),
        tuning_clean=clean[None],
        fresh=Samples(inputs, values(truth.W[T], truth.c, inputs)),
        start=draw_start(root, run, cell),
    )


def tuning_start(root: int, run: int, *, d: int, rank: int) -> np.ndarray:
    """Draw V of the fine-tuned adapter, ``(1, d, rank)``; its U starts at 0."""
    return _uniform(stream(root, "shallow tuned adapter", run=run, d=d, rank=rank), (1, d, rank))


def _samples(
    rng: np.random.Generator, truth: Network, task: int, size: int, sigma: float
) -> tuple[Samples, np.ndarray]:
    """Draw samples of one task; also return their targets without noise."""
    x, noise = rng.standard_normal((size, len(truth.c))), rng.standard_normal(size)
    clean = values(truth.W[task], truth.c, x)
    return Samples(x, clean + sigma * noise), clean


def draw_start(root: int, run: int, cell: ShallowCell, *, number: int = 0) -> Network:
    """Draw a start of retraining: one factor of every adapter is 0, the rest is drawn like torch's linear layers."""
    d, k = cell.d, cell.k
    named = partial(stream, root, run=run, d=d, **({"number": number} if number else {}))
    rng = named("shallow start")
    A, c = _uniform(rng, (d, d)), _uniform(rng, (d,))
    streams = [named("shallow adapter", k=k, task=t) for t in range(cell.T)]
    V = np.stack([_uniform(rng, (d, k)) for rng in streams])
    return Network(A, c, np.zeros_like(V), V)


def _uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw from within ±1/sqrt(d); all layers have d inputs, and d is the next to last size of the adapters."""
    d = shape[0] if len(shape) == 1 else shape[-2]
    return rng.uniform(-1 / sqrt(d), 1 / sqrt(d), shape)
