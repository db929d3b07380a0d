"""The engine for processors: numba kernels that run one trial a SIMD lane, on every core."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import inf
from typing import Any

import numpy as np

from loraml_theory.moments import Moments
from loraml_theory.objectives import Parameters
from sims.engine import Iterates, Schedule, recorded_steps, require_batch
from sims.kernels import descent
from sims.kernels.simd import LANES


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class CpuEngine:
    """Runs blocks of LANES trials, each block on one thread; a trial's result does not depend on the others.

    Parameters
    ----------
    threads
        Threads to use; by default one a core that this process may use.
    """

    name = "cpu"
    device = "cpu"

    def __init__(self, *, threads: int | None = None) -> None:
        """Start nothing yet."""
        self.threads = threads or usable_cores()

    def retrain(self, moments: Moments, start: Parameters, schedule: Schedule, *, record_every: int = 0) -> Iterates:
        """Run the paper's LoRA-ML descent; see `sims.engine.Engine`. Adapters may be asymmetric."""
        require_batch(moments, start)
        steps = recorded_steps(schedule.outer_steps, record_every)
        A, U = _room(steps, start.A), _room(steps, start.U)
        V = None if start.V is None else _room(steps, start.V)

        def run(trials: slice) -> None:
            S, U0 = moments.S[trials], start.U[trials]
            descent.retrain(
                *map(_contiguous, (S, moments.W[trials] @ S, start.A[trials], U0)),
                U0 if V is None else _contiguous(start.V[trials]),
                steps,
                schedule.inner_steps,
                schedule.inner_step_size,
                schedule.outer_step_size,
                V is None,
                A[:, trials],
                U[:, trials],
                U[:, trials] if V is None else V[:, trials],
            )

        self._each_block(run, len(start.U))
        return Iterates(steps, A, U, V)

    def fine_tune(
        self,
        moments: Moments,
        base: np.ndarray,
        start: Parameters,
        *,
        steps: int,
        step_size: float,
        record_every: int = 0,
    ) -> Iterates:
        """Run gradient descent on ``l(base + U V^T)``; see `sims.engine.Engine`."""
        require_batch(moments, start, base=base)
        at = recorded_steps(steps, record_every)
        U, V = _room(at, start.U), _room(at, start.V)

        def run(trials: slice) -> None:
            S = moments.S[trials]
            H = (base[trials] - moments.W[trials]) @ S
            descent.fine_tune(
                *map(_contiguous, (S, H, start.U[trials], start.V[trials])), at, step_size, U[:, trials], V[:, trials]
            )

        self._each_block(run, len(start.U))
        return Iterates(at, None, U, V)

    def _each_block(self, run: Callable[[slice], None], trials: int) -> None:
        blocks = [slice(first, min(first + LANES, trials)) for first in range(0, trials, LANES)]
        if len(blocks) == 1 or self.threads == 1:
            for block in blocks:
                run(block)
            return
        with ThreadPoolExecutor(self.threads) as pool:
            for _ in pool.map(run, blocks):
                pass


def _room(steps: np.ndarray, start: np.ndarray) -> np.ndarray:
    return np.empty((len(steps), *start.shape))


def _contiguous(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array)
