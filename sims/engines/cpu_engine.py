"""The engine for CPUs: numba kernels that run one trial per SIMD lane, on every core."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from math import inf
from typing import Any

import numpy as np

from loraml_theory.adapters import Parameters
from loraml_theory.harness.errors import InputError
from loraml_theory.harness.processes import cores
from loraml_theory.moments import Moments
from sims.engines import standard_descent
from sims.engines.engine import Iterates, Schedule, recorded_steps, require_batch
from sims.kernels import descent
from sims.kernels.lanes import aligned, from_lanes, padded, stacked, to_lanes, to_panels
from sims.kernels.simd import LANES

CHUNK_BYTES = 32 * 2**20  # packed moments per thread: large enough to hide the packing, small relative to the results
LARGEST_BLOCK_BYTES = 2**30


class CpuEngine:
    """Runs blocks of LANES trials on one thread each; a trial's result does not depend on the others.

    Parameters
    ----------
    threads
        Threads to use; by default one for each core that this process may use.
    """

    name = "cpu"
    device = "cpu"

    def __init__(self, *, threads: int | None = None) -> None:
        self.threads = threads or cores()

    def retrain(self, moments: Moments, start: Parameters, schedule: Schedule, *, record_every: int = 0) -> Iterates:
        """Run the paper's LoRA-ML descent; see `sims.engines.engine.Engine`. Adapters may be asymmetric."""
        require_batch(moments, start)
        steps = recorded_steps(schedule.outer_steps, record_every)
        out = Parameters(*(None if x is None else np.empty((len(steps), *x.shape)) for x in start))

        def run(trials: slice) -> None:
            end = _retrain_chunk(moments.S[trials], moments.W[trials], _part(start, trials), schedule, steps)
            _write(out, end, trials)

        self._run_chunks(run, start.U.shape[0], bytes_per_trial=8 * 8 * start.A[0].size * start.U.shape[1])
        return Iterates(steps, *out)

    def retrain_standard(
        self, moments: Moments, start: Parameters, *, steps: int, step_size: float, record_every: int = 0
    ) -> Iterates:
        """Run gradient descent on ``(1/T) sum_t l_t(A)``, by the closed form of its iterates."""
        require_batch(moments, start)
        at = recorded_steps(steps, record_every)
        out = Parameters(np.empty((len(at), *start.A.shape)))

        def run(trials: slice) -> None:
            part = Moments(moments.S[trials], moments.W[trials], moments.noise[trials], inf)
            out.A[:, trials] = standard_descent.iterates(part, start.A[trials], steps=at, step_size=step_size)

        self._run_chunks(run, len(start.A), bytes_per_trial=8 * moments.W[0].size)
        return Iterates(at, *out)

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
        """Run gradient descent on ``l(base + U V^T)``; see `sims.engines.engine.Engine`."""
        require_batch(moments, start, base=base)
        at = recorded_steps(steps, record_every)
        out = Parameters(None, np.empty((len(at), *start.U.shape)), np.empty((len(at), *start.V.shape)))

        def run(trials: slice) -> None:
            H = (base[trials] - moments.W[trials]) @ moments.S[trials]
            _write(out, _fine_tune_chunk(moments.S[trials], H, _part(start, trials), at, step_size), trials)

        self._run_chunks(run, start.U.shape[0], bytes_per_trial=8 * 8 * base[0].size)
        return Iterates(at, *out)

    def evaluate(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call a function of `loraml_theory`; the host is the device."""
        return function(*arguments, **options)

    def _run_chunks(self, run: Callable[[slice], None], trials: int, *, bytes_per_trial: int) -> None:
        if bytes_per_trial * LANES > LARGEST_BLOCK_BYTES:
            raise InputError(
                f"engine cpu: {LANES} trials side by side would take {bytes_per_trial * LANES / 2**30:.1f} GiB per "
                "thread; use the engine torch for matrices of this size"
            )
        blocks = -(-trials // LANES)
        chunk = max(1, min(-(-blocks // self.threads), CHUNK_BYTES // (bytes_per_trial * LANES))) * LANES
        chunks = [slice(first, min(first + chunk, trials)) for first in range(0, trials, chunk)]
        if len(chunks) == 1 or self.threads == 1:
            for each in chunks:
                run(each)
            return
        with ThreadPoolExecutor(self.threads) as pool:
            for _ in pool.map(run, chunks):
                pass


def _part(start: Parameters, trials: slice) -> Parameters:
    return Parameters(*(None if x is None else x[trials] for x in start))


def _write(out: Parameters, end: Parameters, trials: slice) -> None:
    for whole, part in zip(out, end, strict=True):
        if whole is not None:
            whole[:, trials] = part


def _addresses(*rooms: np.ndarray) -> tuple[int, ...]:
    return tuple(room.ctypes.data for room in rooms)


def _factors(U: np.ndarray) -> np.ndarray:
    """Pack adapters ``(n, .., d, k)`` column by column, with room for as many more."""
    columns = to_lanes(U.swapaxes(-1, -2))
    *lead, k, d, lanes = columns.shape
    room = aligned(*lead, 2 * k, d, lanes)
    room[..., :k, :, :] = columns
    return room


def _records(room: np.ndarray, trials: int) -> np.ndarray:
    """Turn ``(blocks, records, ..., LANES)`` into ``(records, trials, ...)``."""
    return from_lanes(room, trials).swapaxes(0, 1)


def _factor_records(room: np.ndarray, trials: int) -> np.ndarray:
    """Do the same for adapters: ``(records, trials, .., d, k)`` from columns with spare room."""
    k = room.shape[-3] // 2
    return _records(room[..., :k, :, :], trials).swapaxes(-1, -2)


def _retrain_chunk(
    S: np.ndarray, W: np.ndarray, start: Parameters, schedule: Schedule, steps: np.ndarray
) -> Parameters:
    n, T, d = S.shape[:3]
    k = start.U.shape[-1]
    symmetric = start.V is None
    C, S = to_lanes(W @ S), to_lanes(S)
    blocks = len(S)
    M = to_panels(stacked(np.zeros_like(S), S))
    S_all = to_panels(stacked(*S.swapaxes(0, 1)))
    C_all = aligned(blocks, d, padded(T * d), LANES)
    C_all[:, :, : T * d] = C.swapaxes(1, 2).reshape(blocks, d, T * d, LANES)
    A, U = to_lanes(start.A), _factors(start.U)
    V = U if symmetric else _factors(start.V)
    H, H_transposed = aligned(d, padded(T * d), LANES), aligned(padded(d), d, LANES)
    Y, Z = aligned(T, k, padded(2 * d), LANES), aligned(k, padded(d), LANES)
    outs = [aligned(blocks, len(steps), *x.shape[1:]) for x in (A, U, V)]
    for block in range(blocks):
        descent.retrain(
            _addresses(M[block], S_all[block], C_all[block]),
            _addresses(A[block], U[block], V[block]),
            _addresses(H, H_transposed, Y, Z),
            _addresses(*(x[block] for x in outs)),
            (T, d, k),
            steps,
            schedule.inner_steps,
            float(schedule.inner_step_size),
            float(schedule.outer_step_size),
            symmetric,
        )
    adapters = [_factor_records(x, n) for x in outs[1:]]
    return Parameters(_records(outs[0], n), adapters[0], None if symmetric else adapters[1])


def _fine_tune_chunk(
    S: np.ndarray, H: np.ndarray, start: Parameters, steps: np.ndarray, step_size: float
) -> Parameters:
    n, d = S.shape[:2]
    k = start.U.shape[-1]
    H_transposed = to_panels(stacked(to_lanes(H.swapaxes(-1, -2))))
    M = to_panels(stacked(to_lanes(H), to_lanes(S)))
    U, V = _factors(start.U), _factors(start.V)
    Y, Z = aligned(k, padded(2 * d), LANES), aligned(k, padded(d), LANES)
    outs = [aligned(len(M), len(steps), *x.shape[1:]) for x in (U, V)]
    for block in range(len(M)):
        descent.fine_tune(
            *_addresses(M[block], H_transposed[block]),
            _addresses(U[block], V[block]),
            _addresses(Y, Z),
            _addresses(*(x[block] for x in outs)),
            (d, k),
            steps,
            float(step_size),
        )
    return Parameters(None, *(_factor_records(x, n) for x in outs))
