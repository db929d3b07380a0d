"""The CuPy engine: a fused CUDA kernel, one block per trial, and the closed forms by CuPy's linear algebra."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, TypeAlias

import numpy as np

from loraml_theory.adapters import Parameters
from loraml_theory.harness.errors import InputError, install
from loraml_theory.moments import Moments
from sims.engines.cuda_kernels import REAL, Kernel, pack, source, trials_at_once
from sims.engines.engine import Iterates, Schedule, map_arrays, recorded_steps, require_batch

INSTALL = install("cupy")

Batch: TypeAlias = tuple[np.ndarray, tuple[int, ...]]  # an array (B, ...) on the host and the shape for one trial


def import_cupy() -> Any:
    """Return the module cupy; raise `InputError` if it is not installed."""
    try:
        import cupy
    except ImportError as error:
        raise InputError(f"the cupy engine needs CuPy: {INSTALL} ({error})") from error
    return cupy


def require_device(cupy: Any) -> None:
    """Raise `InputError` unless CuPy sees a device."""
    if not cupy.cuda.is_available():
        raise InputError(
            "the cupy engine needs an NVIDIA GPU and its driver, and CuPy sees none: check nvidia-smi, that the driver "
            f"serves CUDA 13, and CUDA_VISIBLE_DEVICES; CuPy is installed by {INSTALL}; without a GPU use --engine cpu"
        )


class CupyEngine:
    """Batches of trials on an NVIDIA GPU, see `sims.engines.engine.Engine`.

    Parameters
    ----------
    device
        ``cuda`` or ``cuda:0``, ``cuda:1``, ..
    dtype
        Precision of the descents: ``float64``, or ``float32``, whose iterates differ from the reference's by 1e-7 to
        1e-4. Arrays outside are float64 in either case.
    cupy
        A substitute for CuPy, for tests.

    Raises
    ------
    InputError
        If CuPy or the device is missing.
    ValueError
        If `dtype` is neither.
    """

    name = "cupy"

    def __init__(self, device: str = "cuda", *, dtype: str = "float64", cupy: Any = None) -> None:
        kind, _, number = device.partition(":")
        if kind != "cuda" or not (number.isdecimal() or device == "cuda"):
            raise InputError(f"device: got {device!r}, expected cuda or cuda:INDEX")
        if dtype not in REAL:
            raise ValueError(f"dtype: got {dtype!r}, expected one of {', '.join(map(repr, REAL))}")
        self._cupy = import_cupy() if cupy is None else cupy
        require_device(self._cupy)
        index, count = int(number or 0), int(self._cupy.cuda.runtime.getDeviceCount())
        if index >= count:
            raise InputError(f"device: got {device!r}, but there are {count}, numbered from 0")
        self.device, self.dtype = f"cuda:{index}", dtype
        self._device = self._cupy.cuda.Device(index)
        self._compiled: dict[Kernel, Any] = {}

    def retrain(self, moments: Moments, start: Parameters, schedule: Schedule, *, record_every: int = 0) -> Iterates:
        """Run the paper's LoRA-ML descent; moments ``(B, T, d, d)``, start A ``(B, d, d)`` and U ``(B, T, d, k)``."""
        require_batch(moments, start)
        if start.V is not None:
            raise InputError("the cupy engine retrains with symmetric adapters U U^T; for U V^T use the torch engine")
        T, d, k = start.U.shape[1:]
        steps, (A, U) = self._descend(
            Kernel("lora_ml", self.dtype, d, k, T),
            {
                "S": (moments.S, (T, d, d)),
                "W": (moments.W, (T, d, d)),
                "A": (start.A, (d, d)),
                "U": (start.U, (T, d, k)),
            },
            optimised=("A", "U"),
            numbers=(
                schedule.outer_steps,
                float(schedule.outer_step_size),
                schedule.inner_steps,
                float(schedule.inner_step_size),
            ),
            record_every=record_every,
        )
        return Iterates(steps, A, U, None)

    def retrain_standard(
        self, moments: Moments, start: Parameters, *, steps: int, step_size: float, record_every: int = 0
    ) -> Iterates:
        """Run gradient descent on ``(1/T) sum_t l_t(A)`` from A ``(B, d, d)``."""
        require_batch(moments, start)
        T, d = moments.W.shape[1:3]
        recorded, (A,) = self._descend(
            Kernel("standard_retraining", self.dtype, d, T=T),
            {"S": (moments.S, (T, d, d)), "W": (moments.W, (T, d, d)), "A": (start.A, (d, d))},
            optimised=("A",),
            numbers=(steps, float(step_size)),
            record_every=record_every,
        )
        return Iterates(recorded, A, None, None)

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
        """Run gradient descent on ``l(base + U V^T)``; moments and base ``(B, d, d)``, U and V ``(B, d, r)``."""
        require_batch(moments, start, base=base)
        d, r = start.U.shape[1:]
        residual = moments.W - base
        recorded, (U, V) = self._descend(
            Kernel("fine_tuning", self.dtype, d, r),
            {"S": (moments.S, (d, d)), "R": (residual, (d, d)), "U": (start.U, (d, r)), "V": (start.V, (d, r))},
            optimised=("U", "V"),
            numbers=(steps, float(step_size)),
            record_every=record_every,
        )
        return Iterates(recorded, None, U, V)

    def evaluate(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call an array-API function of `loraml_theory` on the device, in float64; see `sims.engines.engine.Engine`."""
        cupy = self._cupy
        with self._device:
            moved = map_arrays(self._to_device, np.ndarray, [arguments, options])
            return map_arrays(cupy.asnumpy, cupy.ndarray, function(*moved[0], **moved[1]))

    def _to_device(self, array: np.ndarray) -> Any:
        return self._cupy.asarray(array, dtype=np.float64 if array.dtype.kind == "f" else array.dtype)

    def _descend(
        self,
        kernel: Kernel,
        inputs: dict[str, Batch],
        *,
        optimised: tuple[str, ...],
        numbers: tuple[float, ...],
        record_every: int,
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Run a kernel on all trials, as many at once as fit in the device's memory; return steps and iterates."""
        kernel.require_fits(self._device.attributes["MaxSharedMemoryPerBlockOptin"])
        steps = recorded_steps(int(numbers[0]), record_every)
        numbers = (*numbers, record_every, len(steps))
        trials = len(inputs[optimised[0]][0])
        iterates = {name: np.empty((len(steps), trials, *inputs[name][1])) for name in optimised}
        entries = sum(prod(shape) * (1 + len(steps) * (name in optimised)) for name, (_, shape) in inputs.items())
        with self._device:
            self._cupy.get_default_memory_pool().free_all_blocks()  # memory in CuPy's pool does not count as free
            budget = self._device.mem_info[0] // 2
            at_once = trials_at_once(entries * np.dtype(kernel.dtype).itemsize, budget)
            for first in range(0, trials, at_once):
                part = slice(first, min(first + at_once, trials))
                for name, recorded in self._launch(kernel, inputs, part, optimised=optimised, numbers=numbers).items():
                    iterates[name][:, part] = recorded
        return steps, list(iterates.values())

    def _launch(
        self,
        kernel: Kernel,
        inputs: dict[str, Batch],
        part: slice,
        *,
        optimised: tuple[str, ...],
        numbers: tuple[float, ...],
    ) -> dict[str, np.ndarray]:
        """Run a kernel on some trials; return what it recorded, on the host."""
        cupy, trials, records = self._cupy, part.stop - part.start, int(numbers[-1])
        arrays = {
            name: (cupy.asarray(np.ascontiguousarray(array[part], dtype=kernel.dtype)), (trials, *shape))
            for name, (array, shape) in inputs.items()
        }
        for name in optimised:
            shape = (records, trials, *inputs[name][1])
            arrays[f"{name} recorded"] = (cupy.empty(shape, dtype=kernel.dtype), shape)
        arguments = pack(kernel, arrays, numbers)
        self._function(kernel)((trials,), (kernel.threads,), arguments, shared_mem=kernel.shared_bytes)
        return {name: cupy.asnumpy(arrays[f"{name} recorded"][0]) for name in optimised}

    def _function(self, kernel: Kernel) -> Any:
        """Return the kernel compiled for this device; CuPy keeps the compiled code in a file as well."""
        if kernel not in self._compiled:
            function = self._cupy.RawModule(code=source(), options=kernel.options).get_function(kernel.name)
            function.max_dynamic_shared_size_bytes = kernel.shared_bytes  # above 48 KiB a kernel must ask
            self._compiled[kernel] = function
        return self._compiled[kernel]
