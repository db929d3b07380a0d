"""Sizes, options and arguments of a launch of ``kernels/descent.cu``, computed without CuPy or a device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from loraml_theory.harness.errors import InputError

MOST_THREADS = 256
REAL = {"float64": "double", "float32": "float"}


@cache
def source() -> str:
    """Return the CUDA source of all kernels."""
    return files("sims.kernels").joinpath("descent.cu").read_text("utf-8")


@dataclass(frozen=True)
class Kernel:
    """A kernel for one shape: it is compiled with its sizes as constants.

    Parameters
    ----------
    name
        ``lora_ml``, ``fine_tuning`` or ``standard_retraining``.
    dtype
        ``float64`` or ``float32``.
    d, k, T
        Dimension, columns of an adapter, retraining tasks; 1 where the kernel has none.
    """

    name: str
    dtype: str
    d: int
    k: int = 1
    T: int = 1

    @property
    def numbers(self) -> int:
        """Number of values a block keeps in shared memory; `descent.cu` lays them out."""
        d, k, T = self.d, self.k, self.T
        if self.name == "lora_ml":  # S, C, K; A, D; U, next, P; two products
            return 3 * T * d * d + 2 * d * d + 3 * T * d * k + 2 * T * k * k
        if self.name == "fine_tuning":  # S; C with an odd leading dimension; U, V, both next, P; two products
            return d * d + d * (d | 1) + 5 * d * k + 2 * k * k
        return 4 * d * d  # S, C, A, next

    @property
    def shared_bytes(self) -> int:
        """Shared memory of a block in bytes."""
        return self.numbers * np.dtype(self.dtype).itemsize

    @property
    def threads(self) -> int:
        """Threads of a block: one for every item of the most frequent phase, in whole warps."""
        items = {"lora_ml": self.T * self.d * self.k, "fine_tuning": self.d * self.k}.get(self.name, self.d * self.d)
        return min(MOST_THREADS, -(-items // 32) * 32)

    @property
    def options(self) -> tuple[str, ...]:
        """Compiler options: the language and the constants the source asks for."""
        constants = {"REAL": REAL[self.dtype], "DIM": self.d, "RANK": self.k, "TASKS": self.T, "THREADS": self.threads}
        return ("-std=c++17", *(f"-D{name}={value}" for name, value in constants.items()))

    def require_fits(self, limit: int) -> None:
        """Raise unless a block's state fits in `limit` bytes, the device's limit for a block.

        Raises
        ------
        InputError
            Naming the largest d that fits, and the engine for larger ones.
        """
        if self.shared_bytes > limit:
            largest = largest_dimension(self, limit)
            raise InputError(
                f"the cupy engine keeps a trial in shared memory: {self.name} at d = {self.d}, k = {self.k}, "
                f"T = {self.T} in {self.dtype} needs {self.shared_bytes} bytes and this device gives a block {limit}, "
                f"enough for d <= {largest}; use the torch engine (--engine torch --device cuda)"
            )


def largest_dimension(kernel: Kernel, limit: int) -> int:
    """Return the largest d at which this kernel fits in `limit` bytes with the same k and T, 0 if none does."""
    d = 0
    while Kernel(kernel.name, kernel.dtype, d + 1, kernel.k, kernel.T).shared_bytes <= limit:
        d += 1
    return d


def trials_at_once(bytes_per_trial: int, budget: int) -> int:
    """Return the number of trials of a launch whose arrays stay within `budget` bytes of device memory.

    Raises
    ------
    InputError
        If not even one trial fits.
    """
    if bytes_per_trial > budget:
        raise InputError(
            f"one trial needs {bytes_per_trial} bytes of device memory and {budget} may be used; record fewer steps"
        )
    return budget // bytes_per_trial


def pack(kernel: Kernel, arrays: dict[str, tuple[Any, tuple[int, ...]]], scalars: tuple[float, ...]) -> tuple[Any, ...]:
    """Return a launch's arguments, in order: arrays with their expected shapes, then whole and real numbers.

    A kernel reads raw memory: a wrong type, order or shape would give wrong numbers, not an error.

    Raises
    ------
    TypeError
        If an array does not have the kernel's dtype.
    ValueError
        If an array is not contiguous in C order or not of the expected shape.
    """
    for name, (array, shape) in arrays.items():
        if array.dtype != np.dtype(kernel.dtype):
            raise TypeError(f"{name}: got dtype {array.dtype}, expected {kernel.dtype}")
        if tuple(array.shape) != shape:
            raise ValueError(f"{name}: got shape {tuple(array.shape)}, expected {shape}")
        if not array.flags.c_contiguous:
            raise ValueError(f"{name}: got strides {array.strides}, expected contiguous memory in C order")
    real = np.dtype(kernel.dtype).type
    numbers = tuple(np.int32(x) if isinstance(x, int) else real(x) for x in scalars)
    return (*(array for array, _ in arrays.values()), *numbers)
