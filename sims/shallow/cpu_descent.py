"""AdamW on CPUs: a numba kernel for every network, which goes through its samples a vector at a time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from itertools import pairwise
from threading import Event

import numpy as np

from loraml_theory.harness.processes import cores
from sims.kernels import sigmoid_network as kernel
from sims.kernels.vectors import lanes_of
from sims.shallow.descent import require_batch
from sims.shallow.network import Network, Samples
from sims.shallow.settings import AdamW

LONGEST = 1000  # steps per call of the kernel, so that an interruption is noticed


class CpuDescent:
    """Runs every network on one thread; networks do not depend on one another.

    Parameters
    ----------
    precision
        "float32", the paper's, or "float64".
    threads
        Threads to use; by default one for each core that this process may use.
    """

    name = "cpu"
    device = "cpu"

    def __init__(self, *, precision: str = "float32", threads: int | None = None) -> None:
        self.precision = precision
        self.threads = threads or cores()

    def descend(
        self,
        samples: Samples,
        start: Network,
        settings: AdamW,
        *,
        at: np.ndarray,
        train_base: bool = True,
        progress: Callable[[float], None] = lambda _: None,
    ) -> Network:
        """Run AdamW; see `sims.shallow.descent.Descent`."""
        require_batch(samples, start, at)
        batch, sizes = len(start.U), (start.U.shape[1], start.U.shape[2], start.U.shape[3])
        dtype = np.dtype(self.precision)
        packed = [_packed(samples, b, dtype) for b in range(len(samples.x))]
        points = np.concatenate([part.reshape(batch, -1) for part in (start.A, start.c, start.U, start.V)], axis=1)
        out = np.empty((len(at), *points.shape))
        stop = Event()

        def run(b: int) -> None:
            state = (points[b].astype(dtype), np.zeros(points.shape[1], dtype), np.zeros(points.shape[1], dtype))
            first = 0 if train_base else start.A[0].size + start.c[0].size
            for record, (begin, end) in enumerate(pairwise([0, *at.tolist()])):
                for done in range(begin, end, LONGEST):
                    if stop.is_set():
                        return
                    steps = min(LONGEST, end - done)
                    kernel.descend(state, *packed[b % len(packed)], sizes, first, done, steps, astuple(settings))
                out[record, b] = state[0]

        with ThreadPoolExecutor(self.threads) as pool:
            try:
                for count, _ in enumerate(pool.map(run, range(batch)), start=1):
                    progress(count / batch)
            except BaseException:
                stop.set()
                raise
        return _unpacked(out, start)


def _packed(samples: Samples, b: int, dtype: np.dtype[np.floating]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the flat inputs, targets and weights of one batch element, feature by feature, padded by weight 0."""
    x, y = samples.x[b], samples.y[b]
    (T, N), group = y.shape, kernel.GROUP * lanes_of(dtype)
    room = -(-N // group) * group
    inputs, targets, weights = (
        np.zeros((T, x.shape[-1], room), dtype),
        np.zeros((T, room), dtype),
        np.zeros((T, room), dtype),
    )
    inputs[..., :N], targets[:, :N], weights[:, :N] = x.swapaxes(-1, -2), y, 2 / N
    return inputs.ravel(), targets.ravel(), weights.ravel()


def _unpacked(points: np.ndarray, like: Network) -> Network:
    """Cut flat points ``(records, B, size)`` into the parts of a network."""
    parts, begin = [], 0
    for part in (like.A, like.c, like.U, like.V):
        size = part[0].size
        parts.append(points[..., begin : begin + size].reshape(*points.shape[:2], *part.shape[1:]))
        begin += size
    return Network(*parts)
