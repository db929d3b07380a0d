"""A base for all tasks, written as a checkpoint: the LoRA-ML base where the weights determine it, else their mean."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from loraml_theory.harness.atomic import replacing
from loraml_theory.harness.errors import InputError
from loraml_theory.solvers import Status
from loraml_theory.statistics.task_span import TaskSpan
from realdata.advisor.layer import LayerAdvice
from realdata.advisor.safetensors_file import SafetensorsFile
from realdata.advisor.tasks import Tasks
from realdata.advisor.tensor_files import DTYPES, Described

NAMES = {dtype: name for name, dtype in DTYPES.items()}
BUFFERED = 2**24
"""Entries of a tensor that are averaged at a time."""


def written_weights(tasks: Tasks) -> dict[str, Described]:
    """Return shapes and dtypes of the tensors of a checkpoint of the base, wide dtypes first, so that all are aligned.

    Weights that not all tasks have are the base's; without a base they are not written.

    Raises
    ------
    InputError
        If the tasks are adapters of a base that was not given, or a dtype cannot be written.
    """
    beneath = tasks.beneath
    if tasks.common and beneath is None:
        raise InputError("--write-base: the tasks are adapters, expected their base as --base")
    known = {name: each for name, each in tasks.described.items() if all(task.has_plain(name) for task in tasks.tasks)}
    if not known:
        raise InputError("--write-base: the base has none of the weights that the adapters change, under their names")
    found = {**(beneath.tensors if beneath is not None else {}), **known}
    if tasks.under is not None:
        under = tasks.under.tensors
        found = {name: each._replace(dtype=under.get(name, each).dtype) for name, each in found.items()}
    for name, each in found.items():
        if each.dtype.is_complex:
            raise InputError(f"--write-base: {name!r} holds complex numbers, which are not averaged")
        if each.dtype not in NAMES:
            raise InputError(f"--write-base: {name!r} is of the dtype {each.dtype}, which cannot be written")
    whole = _without_torn(tasks, found)
    return dict(sorted(whole.items(), key=lambda item: -item[1].dtype.itemsize))


def _without_torn(tasks: Tasks, found: Mapping[str, Described]) -> dict[str, Described]:
    """Return the tensors that can be written: one that holds several matrices needs all of them."""
    parts: dict[str, list[str]] = {}
    for name in found:
        if (where := tasks.whole(name)) is not None:
            parts.setdefault(where.name, []).append(name)
    views = [view for view in (tasks.beneath, tasks.tasks[0].weights) if view is not None]
    torn = {
        name
        for tensor, names in parts.items()
        if len(names) != max(sum(n.startswith(f"{tensor}[") for n in view.stored) for view in views)
        or len({found[name] for name in names}) > 1
        for name in names
    }
    return {name: each for name, each in found.items() if name not in torn}


def announced(tasks: Tasks, weights: Mapping[str, Described]) -> dict[str, tuple[Described, tuple[str, ...]]]:
    """Return the tensors with the weights of each in their order."""
    parts: dict[str, list[str]] = {}
    for name in weights:
        where = tasks.whole(name)
        parts.setdefault(name if where is None else where.name, []).append(name)
    return {
        tensor: (
            weights[names[0]]
            if names == [tensor]
            else Described((len(names), *weights[names[0]].shape), weights[names[0]].dtype),
            tuple(names),
        )
        for tensor, names in parts.items()
    }


def check_target(path: Path, tasks: Tasks) -> None:
    """Raise InputError if the written base would replace a file of the input."""
    if not os.path.exists(path):
        return
    for file in tasks.files:
        if os.path.samefile(path, file):
            raise InputError(f"--write-base: {path} is part of the input ({file}), expected another file")


def determined(advice: LayerAdvice) -> bool:
    """Return whether the weights determine the base: three independent tasks, and a descent that converged."""
    return bool(advice.independent) and advice.fit is not None and advice.fit.status is Status.CONVERGED


def merged_matrix(tasks: Tasks, advice: LayerAdvice, span: TaskSpan) -> Tensor:
    """Return the base of an analysed weight in the weight's shape and dtype."""
    base = None if advice.fit is None or not determined(advice) else span.lift(advice.fit.A)
    mean = _mean_of_adapters(tasks, advice.name) if span.mean is None else span.mean
    matrix = mean if base is None else mean + base.astype(mean.dtype)
    known = tasks.described if tasks.under is None else {**tasks.described, **tasks.under.tensors}
    dtype = known[advice.name].dtype
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
    """Return the mean of an unanalysed weight; other than floating-point numbers are the first task's.

    Raises
    ------
    InputError
        If it holds NaN or infinity.
    """
    if weight not in tasks.described and tasks.beneath is not None:
        return tasks.beneath.read(weight)
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
    return tasks.tasks[0].plain(weight)


class TensorWriter:
    """Writes weights one by one in the announced order."""

    def __init__(self, file: BinaryIO, tensors: Mapping[str, tuple[Described, tuple[str, ...]]]) -> None:
        self._file, self._sum = file, 0
        self._left = [(name, found, len(names)) for found, names in tensors.values() for name in names]
        self._tensors = {name: found for name, (found, _) in tensors.items()}
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        end = 0
        for name, found in self._tensors.items():
            start, end = end, end + found.dtype.itemsize * int(np.prod(found.shape, dtype=np.int64))
            header[name] = {"dtype": NAMES[found.dtype], "shape": list(found.shape), "data_offsets": [start, end]}
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        file.write(len(text).to_bytes(8, "little") + text)
        self._start = 8 + len(text)

    def write(self, name: str, tensor: Tensor) -> None:
        """Write the next weight."""
        expected, found, parts = self._left.pop(0)
        shape = found.shape if parts == 1 and len(found.shape) == tensor.ndim else found.shape[1:]
        if (expected, shape, found.dtype) != (name, tuple(tensor.shape), tensor.dtype):
            raise AssertionError(f"{name}: differs from the announced {expected} of shape {shape}")
        bits = tensor.detach().contiguous().reshape(-1).view(torch.uint8)  # NumPy has no bfloat16
        self._sum = crc32(bits.numpy().data, self._sum)
        self._file.write(bits.numpy().data)

    def finish(self) -> None:
        """Raise OSError unless everything was written and reads back unchanged."""
        if self._left:
            raise AssertionError(f"{self._left[0][0]}: was not written")
        self._file.flush()
        found = SafetensorsFile(Path(self._file.name)).tensors
        if found != self._tensors or _checksum(Path(self._file.name), self._start) != self._sum:
            raise OSError(None, "the content read back differs from the content written")


def _checksum(path: Path, start: int) -> int:
    found = 0
    with path.open("rb") as file:
        file.seek(start)
        while part := file.read(BUFFERED):
            found = crc32(part, found)
    return found


@contextmanager
def writing_base(
    path: str | os.PathLike[str], tasks: Tasks, weights: Mapping[str, Described]
) -> Iterator[TensorWriter]:
    """Yield a writer of a safetensors file, which appears only when everything is written and verified.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    with replacing(Path(path)) as file:
        writer = TensorWriter(file, announced(tasks, weights))
        yield writer
        writer.finish()
