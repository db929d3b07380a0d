"""The engine of all shapes: the array-API solvers of `loraml_theory` on torch tensors, on the CPU or a CUDA device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf
from typing import Any

import numpy as np
import torch

from loraml_theory.adapters import Parameters
from loraml_theory.harness.errors import InputError
from loraml_theory.moments import Moments
from loraml_theory.objectives import FineTuning, LoRAML, StandardRetraining
from loraml_theory.solvers.gradient import Observer, alternating_gradient_descent, gradient_descent
from sims.engines.engine import Iterates, Schedule, map_arrays, recorded_steps, require_batch

COPIES = 12  # matrices of the size of W alive at once in a step, with the moments and a margin


class TorchEngine:
    """Runs trials in blocks, all trials of a block at once.

    Parameters
    ----------
    device
        "cpu", "cuda" or "cuda:INDEX".
    block_bytes
        Memory of a block on the device, by default 1 GiB. The results, on the host, are not included; nor is the memory
        of `evaluate`, which does not work in blocks.

    Raises
    ------
    InputError
        If the device is missing.

    Notes
    -----
    Results do not depend on the blocks, up to rounding, since a library may choose its algorithm by size.
    """

    name = "torch"

    def __init__(self, device: str = "cpu", *, block_bytes: int = 2**30) -> None:
        self._device = _device(device)
        self.device = str(self._device)
        self.block_bytes = block_bytes

    def retrain(self, moments: Moments, start: Parameters, schedule: Schedule, *, record_every: int = 0) -> Iterates:
        """Run the paper's LoRA-ML descent; see `sims.engines.engine.Engine`. Adapters may be asymmetric."""
        require_batch(moments, start)

        def run(part: Moments, _base: None, at: Parameters, observe: Observer) -> None:
            alternating_gradient_descent(LoRAML(part), at, observe=observe, **vars(schedule))

        return self._run(run, moments, None, start, recorded_steps(schedule.outer_steps, record_every))

    def retrain_standard(
        self, moments: Moments, start: Parameters, *, steps: int, step_size: float, record_every: int = 0
    ) -> Iterates:
        """Run gradient descent on ``(1/T) sum_t l_t(A)``; see `sims.engines.engine.Engine`."""
        require_batch(moments, start)
        of_sum = step_size / moments.W.shape[1]

        def run(part: Moments, _base: None, at: Parameters, observe: Observer) -> None:
            gradient_descent(StandardRetraining(part), at, steps=steps, step_size=of_sum, observe=observe)

        return self._run(run, moments, None, start, recorded_steps(steps, record_every))

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

        def run(part: Moments, base: Any, at: Parameters, observe: Observer) -> None:
            gradient_descent(FineTuning(part, base), at, steps=steps, step_size=step_size, observe=observe)

        return self._run(run, moments, base, start, recorded_steps(steps, record_every))

    def evaluate(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call an array-API function of `loraml_theory` on the device, in float64; see `sims.engines.engine.Engine`."""
        arguments, options = self._moved((arguments, options))
        return map_arrays(_to_host, torch.Tensor, function(*arguments, **options))

    def _moved(self, value: Any) -> Any:
        return map_arrays(self._tensor, np.ndarray, value)

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        dtype = torch.float64 if array.dtype.kind == "f" else None
        return torch.tensor(array, dtype=dtype, device=self._device)

    def _run(
        self,
        run: Callable[[Moments, Any, Parameters, Observer], None],
        moments: Moments,
        base: np.ndarray | None,
        start: Parameters,
        steps: np.ndarray,
    ) -> Iterates:
        """Run a descent block by block and record these steps."""
        out = Parameters(*(None if x is None else np.empty((len(steps), *x.shape)) for x in start))
        rows = {int(step): row for row, step in enumerate(steps)}
        for trials in self._blocks(moments.W):
            part = Moments(moments.S[trials], moments.W[trials], moments.noise[trials], inf)  # inf: no weights
            at = Parameters(*(None if x is None else x[trials] for x in start))
            part, here, at = self._moved((part, None if base is None else base[trials], at))
            run(part, here, at, _recorder(out, rows, trials))
        return Iterates(steps, *out)

    def _blocks(self, W: np.ndarray) -> Iterator[slice]:
        size = max(1, self.block_bytes // (COPIES * 8 * W[:1].size))
        return (slice(first, first + size) for first in range(0, len(W), size))


def _device(name: str) -> torch.device:
    device = torch.device(name)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise InputError(
                f"engine torch: torch {torch.__version__} sees no CUDA device for {name!r}; where there is one, "
                "install its driver and a build of torch with CUDA, see https://pytorch.org/get-started"
            )
        if (device.index or 0) >= torch.cuda.device_count():
            raise InputError(f"device: got {name!r}, but there are {torch.cuda.device_count()}, numbered from 0")
    return device


def _recorder(out: Parameters, rows: dict[int, int], trials: slice) -> Observer:
    def observe(step: int, point: Parameters) -> None:
        if step in rows:
            for whole, part in zip(out, point, strict=True):
                if whole is not None:
                    whole[rows[step], trials] = _to_host(part)

    return observe


def _to_host(tensor: torch.Tensor) -> np.ndarray:
    return tensor.cpu().numpy()
