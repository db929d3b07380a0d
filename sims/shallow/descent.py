"""The interface of AdamW on batches of networks, and the selection of an engine."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Protocol

import numpy as np

from loraml_theory.harness.errors import InputError
from sims import engines
from sims.shallow.network import Network, Samples
from sims.shallow.settings import AdamW

NAMES = ("auto", "cpu", "torch")
PRECISIONS = ("float32", "float64")


class Descent(Protocol):
    """A way to run full-batch AdamW on many networks at once, every task of each in every step."""

    name: str
    device: str
    precision: str

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
        """Return the points after the steps `at`, ``(records, B, ...)`` in float64.

        The loss of a network is ``sum_t (1/N) sum_s (f_t(x_ts) - y_ts)^2``.

        Parameters
        ----------
        samples
            ``(B', T, N, d)`` and ``(B', T, N)``; network b has those of number ``b mod B'``.
        start
            Batch ``(B,)``; `at` increases, its last entry ends the descent.
        train_base
            Whether A and c move as well, or the adapters alone.
        progress
            Called with the share that is done.
        """
        ...


def get(name: str = "auto", device: str | None = None, *, precision: str = "float32") -> Descent:
    """Return an engine: "cpu" (numba), "torch" on a device, or "auto": torch for a CUDA device, else cpu.

    Raises
    ------
    InputError
        If the name or precision is unknown, packages are not installed, or the device is missing.
    """
    if name not in NAMES:
        raise InputError(f"engine: got {name!r}, expected one of {', '.join(NAMES)}")
    if precision not in PRECISIONS:
        raise InputError(f"precision: got {precision!r}, expected {' or '.join(PRECISIONS)}")
    if name == "auto":
        name = "torch" if (device or "cpu") != "cpu" else "cpu"
    engine = engines.get(name, device)  # raises if something is missing
    module = import_module(f"sims.shallow.{name}_descent")
    if name == "cpu":
        return module.CpuDescent(precision=precision)
    return module.TorchDescent(engine.device, precision=precision)


def require_batch(samples: Samples, start: Network, at: np.ndarray) -> None:
    """Raise ValueError unless the shapes are those of `Descent.descend` and the steps increase from 0 or more."""
    batch, T, d, _ = start.U.shape
    if start.A.shape != (batch, d, d) or start.c.shape != (batch, d) or start.V.shape != start.U.shape:
        shapes = [tuple(part.shape) for part in (start.A, start.c, start.U, start.V)]
        raise ValueError(f"start: got shapes {shapes}, expected (B, d, d), (B, d), (B, T, d, k) and (B, T, d, k)")
    distinct, *rest = samples.x.shape
    if rest[0] != T or rest[-1] != d or samples.y.shape != samples.x.shape[:-1] or batch % distinct:
        got = f"{tuple(samples.x.shape)} and {tuple(samples.y.shape)}"
        raise ValueError(f"samples: got shapes {got}, expected (B', {T}, N, {d}) and (B', {T}, N), B' dividing {batch}")
    if len(at) == 0 or at[0] < 0 or np.any(np.diff(at) <= 0):
        raise ValueError(f"at: got {list(at)}, expected increasing whole numbers >= 0")
