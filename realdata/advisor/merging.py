"""A base for all tasks, written as a checkpoint: the LoRA-ML base where the weights determine it, else their mean."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from loraml_theory.atomic import replacing
from loraml_theory.solvers import Status
from loraml_theory.task_span import TaskSpan
from realdata.advisor.errors import AdviceError
from realdata.advisor.layer import LayerAdvice
from realdata.advisor.tasks import Tasks
from realdata.advisor.tensor_files import DTYPES, Described

NAMES = {dtype: name for name, dtype in DTYPES.items()}
BUFFERED = 2**24
"""Entries of a tensor that is only averaged, taken at a time."""


def written_weights(tasks: Tasks) -> dict[str, Described]:
    """Return shapes and dtypes of what a checkpoint of the base holds, wide dtypes first: all stay aligned.

    Raises
    ------
    AdviceError
        If the tasks are adapters of a base that was not given, or a dtype cannot be written.
    """
    under = tasks.under
    if tasks.common and under is None:
        raise AdviceError("--write-base: the tasks are adapters, expected the base that they are of as --base")
    found = dict(tasks.described) if under is None else {**under.tensors, **tasks.described}
    if under is not None:
        found = {name: under.tensors.get(name, each) for name, each in found.items()}
    for name, each in found.items():
        if each.dtype.is_complex:
            raise AdviceError(f"--write-base: {name!r} holds complex numbers, which are not averaged")
        if each.dtype not in NAMES:
            raise AdviceError(f"--write-base: {name!r} is of the dtype {each.dtype}, which cannot be written")
    return dict(sorted(found.items(), key=lambda item: -item[1].dtype.itemsize))


def check_target(path: Path, tasks: Tasks) -> None:
    """Raise AdviceError if a base written there would take the place of what is being read."""
    if not path.exists():
        return
    for file in tasks.files:
        if path.samefile(file):
            raise AdviceError(f"--write-base: {path} is part of the input ({file}), expected another file")


def determined(advice: LayerAdvice) -> bool:
    """Return whether the weights determine the base: three independent tasks, and a descent that converged."""
    return bool(advice.independent) and advice.fit is not None and advice.fit.status is Status.CONVERGED


def merged_matrix(tasks: Tasks, advice: LayerAdvice, span: TaskSpan) -> Tensor:
    """Return the base of an analysed weight, in its own shape and dtype."""
    base = None if advice.fit is None or not determined(advice) else span.lift(advice.fit.A)
    mean = _mean_of_adapters(tasks, advice.name) if span.mean is None else span.mean
    matrix = mean if base is None else mean + base.astype(mean.dtype)
    under = tasks.under
    dtype = (tasks.described[advice.name] if under is None else under.tensors[advice.name]).dtype
    return torch.from_numpy(np.ascontiguousarray(matrix)).reshape(advice.shape).to(dtype)


def _mean_of_adapters(tasks: Tasks, weight: str) -> np.ndarray:
    return _rows_mean(tasks, weight, slice(0, tasks.described[weight].matrix[0]))


def _rows_mean(tasks: Tasks, weight: str, rows: slice) -> np.ndarray:
    total: np.ndarray | None = None
    for task in tasks.tasks:
        found = task.rows(weight, rows)
        total = found / len(tasks.tasks) if total is None else total + found / len(tasks.tasks)
    assert total is not None
    return total


def averaged(tasks: Tasks, weight: str, described: Described) -> Tensor:
    """Return the mean of a weight that is not analysed; what is no floating-point number is the first task's.

    Raises
    ------
    AdviceError
        If it holds NaN or infinity.
    """
    under = tasks.under
    if under is not None and weight not in tasks.described:
        return under.read(weight)
    if not described.floating or not described.shape:
        return _first(tasks, weight)
    rows, columns = described.matrix
    out = torch.empty((rows, columns), dtype=described.dtype)
    step = max(1, BUFFERED // max(columns, 1))
    for start in range(0, rows, step):
        part = slice(start, min(start + step, rows))
        out[part] = torch.from_numpy(_rows_mean(tasks, weight, part)).to(described.dtype)
    return out.reshape(described.shape)


def _first(tasks: Tasks, weight: str) -> Tensor:
    task = tasks.tasks[0]
    if task.adapter is not None and weight in task.adapter.saved:
        return task.adapter.file.read(task.adapter.saved[weight])
    assert task.weights is not None
    return task.weights.read(weight)


class TensorWriter:
    """Writes tensors one by one, in the order that was announced."""

    def __init__(self, file: BinaryIO, announced: Mapping[str, Described]) -> None:
        """Write the header of a safetensors file."""
        self._file, self._left = file, list(announced)
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        end = 0
        for name, found in announced.items():
            start, end = end, end + found.dtype.itemsize * int(np.prod(found.shape, dtype=np.int64))
            header[name] = {"dtype": NAMES[found.dtype], "shape": list(found.shape), "data_offsets": [start, end]}
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        file.write(len(text).to_bytes(8, "little") + text)

    def write(self, name: str, tensor: Tensor) -> None:
        """Write the next tensor."""
        if self._left.pop(0) != name:
            raise AssertionError(f"{name}: out of order")
        bits = tensor.detach().contiguous().reshape(-1).view(torch.uint8)  # NumPy has no bfloat16
        self._file.write(bits.numpy().data)

    def finish(self) -> None:
        """Raise unless everything was written."""
        if self._left:
            raise AssertionError(f"{self._left[0]}: was not written")


@contextmanager
def writing_base(path: str | os.PathLike[str], announced: Mapping[str, Described]) -> Iterator[TensorWriter]:
    """Yield a writer of a safetensors file that is there when everything is written, or not at all.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    with replacing(Path(path)) as file:
        writer = TensorWriter(file, announced)
        yield writer
        writer.finish()
