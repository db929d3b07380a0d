"""A sweep's folder: rows survive a kill at any moment and never occur twice.

``FOLDER/spec.json`` holds the spec and the engine; ``chunks/NUMBER.parquet`` holds each finished chunk, written
atomically; at the end they are joined into ``rows.parquet``, in the order of the spec, and removed. `read_rows` reads
both. A lock that ends with its process keeps a second sweep out.

One row is one trial, a cell at a seed. Numbers that do not exist are NaN, whole numbers that do not are null.

================================  =====================================================================================
``chunk``                         number of the chunk, in the order of the spec
``kind, d, k, T, N, n, sigma``    the setting; N and n are floats, infinite for the population
``method, start``                 `methods.TITLES`; "0.1" (a scale), "spectral", "truth", or "none" without a start
``fine_tuning``                   "closed-form" or "gd"
``rank_rule, rank``               as in the spec, and its number
``seed``                          rows of equal seed, kind, d and k share their ground truth: clusters in statistics
``status``                        of retraining: "converged" (closed forms are), "max_iterations", "stalled",
                                  "diverged", "not_identified" (a closed form whose condition is infinite), or
                                  "not_applicable" (the cell makes no sense, `reason` says why; no numbers)
``fine_tuning_status``            the same of fine-tuning; "not_run" after a base that diverged
``reason``                        empty unless not applicable
``parameter_error``               ||W_hat - W||_F^2 of the test task, after fine-tuning
``in_sample_error``               tr((W_hat - W) S (W_hat - W)^T), S the test task's second moment
``base_error``                    ||A_hat - A*||_F^2
``residual_error``                ||W - A_hat||_F^2, the error before fine-tuning
``residual_rank``                 rank of W - A_hat: its singular values clearly above rounding
``floor``                         sum of sigma_i(W - A_hat)^2 over i > rank, below which no shift of this rank leads
``retraining_loss``               sum_t l_t at the end, with the noise's constant
``gradient``                      gradient norm of retraining at the end, over its scale
``iterations``                    steps of retraining; 0 for a closed form, null for lora-ml-newton
``signal_to_noise``               FT-2's condition, large where its prediction holds (`rates.signal_to_noise`)
``predicted_error``               E of parameter_error from the population solution (ML-7, SR-4), the limit in N
``predicted_in_sample_error``     the same of in_sample_error
``predicted_floor``               of floor, from the population solution (SR-3)
``predicted_base_error``          E of base_error to first order (`rates.base_error`); for sr only at infinite N
``seconds``                       wall-clock time of the chunk over its rows
``engine, device, versions``      what computed the row
``spec_hash``                     of the spec
================================  =====================================================================================
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from os.path import lexists
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from loraml_theory.harness import folders
from loraml_theory.harness.atomic import write_whole
from loraml_theory.harness.errors import InputError
from loraml_theory.harness.folders import FolderError
from loraml_theory.harness.input_files import read_json
from loraml_theory.harness.parquet_files import open_parquet, with_texts
from sims.sweep.spec import Spec

if TYPE_CHECKING:
    import pyarrow as pa

Columns: TypeAlias = Mapping[str, Any]

FORMAT = 1
SPEC, ROWS = "spec.json", "rows.parquet"
CHUNK = re.compile(r"(0|[1-9][0-9]{0,8})\.parquet")
WORDS = (
    *("kind", "method", "start", "fine_tuning", "rank_rule", "status", "fine_tuning_status", "reason"),
    *("engine", "device", "versions", "spec_hash"),
)
COUNTS = ("chunk", "d", "k", "T", "rank", "seed", "residual_rank", "iterations")
COLUMNS = (
    *("chunk", "kind", "d", "k", "T", "N", "n", "sigma", "method", "start", "fine_tuning", "rank_rule", "rank", "seed"),
    *("status", "fine_tuning_status", "reason", "parameter_error", "in_sample_error", "base_error", "residual_error"),
    *("residual_rank", "floor", "retraining_loss", "gradient", "iterations", "signal_to_noise", "predicted_error"),
    *("predicted_in_sample_error", "predicted_floor", "predicted_base_error", "seconds", "engine", "device"),
    *("versions", "spec_hash"),
)


@dataclass(frozen=True)
class Made:
    """The name of the engine that computes a folder's rows, and its device."""

    engine: str
    device: str


@contextmanager
def locked(folder: Path) -> Iterator[Store]:
    """Yield the store of a folder, created if it does not exist and locked against other processes.

    Raises
    ------
    InputError
        If another sweep runs in the folder, or it is not a sweep's.
    OSError
        If the folder cannot be written.
    """
    with folders.locked(folder, inside=["chunks"]):
        yield Store(folder)


class Store:
    """A locked folder; see `locked`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.chunks = folder / "chunks"

    def begun(self, spec: Spec) -> Made | None:
        """Return the engine that the folder was started with, None if it is new.

        Raises
        ------
        FolderError
            If it was started with another spec.
        """
        path = self.folder / SPEC
        if not lexists(path):
            if lexists(self.folder / ROWS) or lexists(self.chunks):
                raise FolderError(f"{self.folder}: holds rows but no {SPEC}, use another folder")
            return None
        begun = read_begun(self.folder)
        folders.check_format(path, begun["format"], written=FORMAT)
        folders.check_same(self.folder, begun["spec"], spec.document())
        return Made(begun["engine"], begun["device"])

    def begin(self, spec: Spec, made: Made) -> None:
        """Write spec.json if it is missing, and remove the leftovers of a kill.

        Raises
        ------
        FolderError
            If the folder was started with another spec, engine or device.
        """
        before = self.begun(spec)
        if before is None:
            document = {"format": FORMAT, "engine": made.engine, "device": made.device, "spec": spec.document()}
            write_whole(self.folder / SPEC, json.dumps(document))
        elif before != made:
            raise FolderError(
                f"{self.folder}: was started with engine {before.engine} on {before.device}, now {made.engine} on "
                f"{made.device}; rows agree to rounding only, so use that engine or another folder"
            )
        folders.remove_leftovers(self.folder)

    def write(self, chunk: int, columns: Columns) -> None:
        """Add a finished chunk atomically."""
        self.chunks.mkdir(exist_ok=True)
        _write(self.chunks / f"{chunk}.parquet", _table(columns))

    def merge(self) -> set[int]:
        """Move finished chunks into rows.parquet; return the numbers of all chunks in it."""
        table, new = _all_rows(self.folder)
        if new:
            _write(self.folder / ROWS, table)
        for path in new:
            path.unlink()
        with suppress(OSError):
            self.chunks.rmdir()
        return set(np.unique(np.asarray(table["chunk"])).tolist()) if table.num_rows else set()


def read_begun(folder: Path) -> dict[str, Any]:
    """Return the content of spec.json: ``format``, ``spec``, ``engine`` and ``device``.

    Raises
    ------
    InputError
        If it cannot be read, or was not written by a sweep.
    """
    path = folder / SPEC
    begun = read_json(path, expected="the JSON of a sweep")
    kinds = {"format": int, "spec": dict, "engine": str, "device": str}
    if not isinstance(begun, dict) or any(type(begun.get(name)) is not kind for name, kind in kinds.items()):
        raise FolderError(f"{path}: was not written by a sweep, use another folder")
    return begun


def read_table(folder: str | Path) -> pa.Table:
    """Return a sweep's finished rows in the order of the spec, also while it is running or after a kill.

    Raises
    ------
    FolderError
        If the folder does not hold a sweep.
    """
    folder = Path(folder)
    if not lexists(folder / SPEC):
        raise FolderError(f"{folder}: does not hold a sweep (no {SPEC})")
    read_begun(folder)
    return _all_rows(folder)[0]


def read_rows(folder: str | Path) -> dict[str, np.ndarray]:
    """Return the columns of `read_table` as arrays; whole numbers that are null are -1."""
    table = read_table(folder)
    columns = {}
    for name in table.column_names:
        column = table[name]
        filled = column.fill_null(-1) if name in COUNTS else column
        columns[name] = np.asarray(filled.to_pylist(), object) if name in WORDS else filled.to_numpy()
    return columns


def _all_rows(folder: Path) -> tuple[pa.Table, list[Path]]:
    """Return rows.parquet and the chunks beside it as one ordered table, and the chunks' files.

    The chunks are read first: one that a running sweep moves meanwhile is then in rows.parquet.
    """
    import pyarrow as pa

    parts, files = [], _chunk_files(folder / "chunks")
    for path in files:
        try:
            part = _read(path)
        except InputError:
            if lexists(path):
                raise
            continue  # moved meanwhile
        if set(np.unique(np.asarray(part["chunk"])).tolist()) != {int(path.stem)}:
            raise FolderError(f"{path}: does not hold the rows of chunk {path.stem}, remove it")
        parts.append(part)
    merged = _read(folder / ROWS) if lexists(folder / ROWS) else _table({})
    held = set(np.unique(np.asarray(merged["chunk"])).tolist())
    new = [part for part in parts if part["chunk"][0].as_py() not in held]  # a kill may precede their removal
    table = pa.concat_tables([merged, *new]).combine_chunks()
    return table.take(np.argsort(np.asarray(table["chunk"]), kind="stable")), files


def _chunk_files(chunks: Path) -> list[Path]:
    """Return the files of chunks; the names of unfinished files begin with a dot."""
    files = [path for path in chunks.glob("*.parquet") if not path.name.startswith(".")]
    for path in files:
        if not CHUNK.fullmatch(path.name):
            raise FolderError(f"{path}: is not the name of a chunk, expected NUMBER.parquet; remove it")
    return sorted(files)


def _table(columns: Columns) -> pa.Table:
    import pyarrow as pa

    def kind(name: str) -> pa.DataType:
        if name in WORDS:
            return pa.string()
        return pa.int64() if name in COUNTS else pa.float64()

    return pa.table({name: pa.array(columns.get(name, []), kind(name)) for name in COLUMNS})


def _read(path: Path) -> pa.Table:
    expected = "the rows of a sweep"
    with open_parquet(path, expected=expected, row_bytes=8 * len(COLUMNS), as_numbers=WORDS) as file:
        table = with_texts(path, file.read(use_threads=False), expected=expected)
    if not table.schema.equals(_table({}).schema):
        raise FolderError(f"{path}: has other columns than a sweep's rows")
    return table


def _write(path: Path, table: pa.Table) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, write_page_checksum=True)
    write_whole(path, memoryview(buffer.getvalue()))
    folder = os.open(path.parent, os.O_RDONLY)  # so that the new name also survives a power failure
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
