"""Named tensors of a file, read a tensor or some of its rows at a time, and the same tensors under other names."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

Rows: TypeAlias = slice | tuple[slice, ...] | None

LARGEST = 1e15
"""Largest size of a weight: its sum of squares stays within float32."""
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Names of dtypes in safetensors files."""


class Described(NamedTuple):
    """A tensor's shape and dtype, without its numbers."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def floating(self) -> bool:
        """Whether it holds real floating-point numbers."""
        return self.dtype.is_floating_point

    @property
    def matrix(self) -> tuple[int, int]:
        """Shape as rows, and everything else as columns."""
        return self.shape[0], prod(self.shape[1:])


class TensorFile(Protocol):
    """Named tensors, read on demand."""

    @property
    def path(self) -> Path:
        """Path of the file or folder."""
        ...

    @property
    def files(self) -> tuple[Path, ...]:
        """All files."""
        ...

    @property
    def tensors(self) -> Mapping[str, Described]:
        """Shapes and dtypes, in the file's order."""
        ...

    def read(self, name: str, rows: Rows = None) -> Tensor:
        """Return a tensor, or some rows of it, or some part of every axis."""
        ...


class Stored(NamedTuple):
    """Location of a weight: the tensor's name in the file, and which of its matrices, None for all of it."""

    name: str
    part: int | None = None


class View:
    """Tensors of a file under other names, or single matrices of a tensor that holds several.

    Parameters
    ----------
    file
        File of the tensors.
        stored
        Location of each name.
    """

    def __init__(self, file: TensorFile, stored: Mapping[str, Stored]) -> None:
        self.path, self.files, self._file, self.stored = file.path, file.files, file, dict(stored)
        self.tensors = {name: self._described(where) for name, where in self.stored.items()}

    def _described(self, where: Stored) -> Described:
        shape, dtype = self._file.tensors[where.name]
        return Described(shape if where.part is None else shape[1:], dtype)

    def read(self, name: str, rows: Rows = None) -> Tensor:
        """Return a tensor, or some rows of it."""
        stored, part = self.stored[name]
        if part is None:
            return self._file.read(stored, rows)
        inner = () if rows is None else rows if isinstance(rows, tuple) else (rows,)
        return self._file.read(stored, (slice(part, part + 1), *inner))[0]

    def renamed(self, names: Mapping[str, str]) -> View:
        """Return the same tensors, renamed by `names`."""
        return View(self._file, {names.get(name, name): where for name, where in self.stored.items()})

    def with_alias(self, alias: str, name: str) -> View:
        """Return the same tensors, one of them also under a second name."""
        return View(self._file, {**self.stored, alias: self.stored[name]})


def as_matrix(tensor: Tensor) -> np.ndarray:
    """Return a tensor as a matrix of its rows, in float64 if that is its type, else float32."""
    wide = tensor.to(torch.float64 if tensor.dtype == torch.float64 else torch.float32)
    array: np.ndarray = wide.reshape(wide.shape[0], prod(wide.shape[1:])).numpy()
    return array
