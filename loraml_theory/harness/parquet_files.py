"""A user's Parquet files: what the footer declares is compared with the file's size before a row is read.

A few kilobytes of Parquet may declare 10^12 rows, or one long value that every row repeats by its number in a
dictionary. Columns of bytes and texts are therefore read as such numbers, and decoded later.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from loraml_theory.harness.errors import reason
from loraml_theory.harness.input_files import MEBIBYTE, InputFileError, PathLike, check_regular

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

SMALL = 256 * MEBIBYTE
RATIO = 128
"""Repetitive columns compress a hundredfold; ordinary programs do not exceed that."""


@contextmanager
def open_parquet(
    path: PathLike, *, expected: str, row_bytes: int, as_numbers: Sequence[str] = ()
) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file whose content takes at most 256 MiB, or 128 times its size, in memory.

    Parameters
    ----------
    path
        A regular file.
    expected
        What it should be, for the error.
    row_bytes
        Bytes of a row in memory, without the columns of `as_numbers`.
    as_numbers
        Paths of columns of bytes or texts to read as dictionary arrays, each value once; they may be absent.

    Raises
    ------
    InputFileError
        If it is not a regular file or not Parquet, declares more than its size allows, or the block finds it damaged.
    """
    size = check_regular(path, expected=expected)
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(path)
        _check_declared(path, metadata, expected, most=_most(size), row_bytes=row_bytes)
        there = {metadata.schema.column(number).path for number in range(metadata.num_columns)}
        as_numbers = [name for name in as_numbers if name in there]
        with pq.ParquetFile(
            path, metadata=metadata, read_dictionary=as_numbers, page_checksum_verification=True
        ) as file:
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError, MemoryError) as problem:
        raise InputFileError(path, f"cannot be read as Parquet ({reason(problem)}), expected {expected}") from None


def with_texts(path: PathLike, table: pa.Table, *, expected: str) -> pa.Table:
    """Return a table with its numbers of texts decoded.

    Raises
    ------
    InputFileError
        If they take more in memory than the size of the file at `path` allows.
    """
    import pyarrow as pa

    most = _most(os.path.getsize(path))
    fields = [pa.field(one.name, pa.string()) if pa.types.is_dictionary(one.type) else one for one in table.schema]
    length = sum(_length(chunk) for one in table.columns if pa.types.is_dictionary(one.type) for chunk in one.chunks)
    if length > most:
        raise InputFileError(path, f"has texts of {length} bytes, expected {expected} of at most {most}")
    return table.cast(pa.schema(fields))


def _length(column: pa.DictionaryArray) -> int:
    """Return the total length of a column's texts without decoding them."""
    lengths = np.array([len(text or "") for text in column.dictionary.to_pylist()] or [0])
    return int(lengths[column.indices.fill_null(0).to_numpy()].sum())


def _most(size: int) -> int:
    return max(SMALL, RATIO * size)


def _check_declared(path: PathLike, metadata: pq.FileMetaData, expected: str, *, most: int, row_bytes: int) -> None:
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    rows = [metadata.num_rows, *(group.num_rows for group in groups)]
    if min(rows) < 0 or sum(rows[1:]) != rows[0]:
        raise InputFileError(path, f"declares {rows[0]} rows and {sum(rows[1:])} in row groups, expected {expected}")
    declared = rows[0] * row_bytes + sum(max(0, group.total_byte_size) for group in groups)
    if declared > most:
        raise InputFileError(
            path, f"declares {rows[0]} rows of {declared} bytes in all, expected {expected} of at most {most}"
        )
