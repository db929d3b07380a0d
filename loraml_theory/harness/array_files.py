"""Arrays in a user's npz files: the declared size of a member is checked before it is read.

Four kilobytes may declare an array of 40000 by 40000, and may even hold it: zeros are packed a thousandfold.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import IO, Any, NamedTuple
from warnings import catch_warnings

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from loraml_theory.harness.input_files import MEBIBYTE, InputFileError, PathLike, open_input, size_text

SMALL = 64 * MEBIBYTE
RATIO = 16
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


class Header(NamedTuple):
    """The declared shape and type of an array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class ArrayFile:
    """An npz file whose arrays take at most 64 MiB each, or 16 times its size; pickled objects are never loaded.

    See `open_arrays`.
    """

    def __init__(self, path: PathLike, file: IO[bytes], *, expected: str) -> None:
        self._path, self._expected = path, expected
        self._archive = _archive(path, file, expected)
        self._most = max(SMALL, RATIO * file.seek(0, 2))

    @property
    def names(self) -> list[str]:
        """Names of the arrays, sorted."""
        return sorted(name.removesuffix(".npy") for name in self._archive.namelist())

    def header(self, name: str) -> Header:
        """Return the declared shape and type of an array.

        Raises
        ------
        InputFileError
            If it is missing, damaged, holds objects, is too large, or is not as large as it declares.
        """
        member = self._member(name)
        with self._opened(name) as stream:
            shape, _, dtype = _HEADERS[npy.read_magic(stream)](stream)
            offset = stream.tell()
        if dtype.hasobject:
            raise self.refusal(name, "holds pickled objects (never loaded)")
        declared = offset + prod(shape) * dtype.itemsize
        if member.file_size != declared or min(shape, default=0) < 0:
            raise self.refusal(name, f"damaged, got {member.file_size} bytes and {declared} declared by shape {shape}")
        return Header(shape, dtype)

    def read(self, name: str) -> NDArray[Any]:
        """Return an array; errors as of `header`."""
        self.header(name)
        with self._opened(name) as stream:
            array: NDArray[Any] = npy.read_array(stream, allow_pickle=False)
            stream.read(1)  # zipfile compares the checksum at the end of the stream
        return array

    def refusal(self, name: str, found: str) -> InputFileError:
        """Return the error for an array."""
        return InputFileError(self._path, f"{name}: {found}, expected {self._expected}")

    def _member(self, name: str) -> zipfile.ZipInfo:
        try:
            member = self._archive.getinfo(f"{name}.npy")
        except KeyError:
            raise self.refusal(name, f"missing (found {', '.join(self.names[:8]) or 'nothing'})") from None
        if member.file_size > self._most:
            found, most = size_text(member.file_size), size_text(self._most)
            raise self.refusal(name, f"declares {found}, more than the {most} that a file of this size may")
        return member

    @contextmanager
    def _opened(self, name: str) -> Iterator[IO[bytes]]:
        try:
            with self._archive.open(f"{name}.npy") as stream, catch_warnings(action="ignore"):
                yield stream
        except Exception as problem:  # the bytes are of unknown origin: the parsers may raise anything
            raise self.refusal(name, f"damaged ({problem})") from None


@contextmanager
def open_arrays(path: PathLike, *, expected: str) -> Iterator[ArrayFile]:
    """Open an npz file.

    Parameters
    ----------
    path
        A regular file.
    expected
        What it should be, for the error.

    Raises
    ------
    InputFileError
        If it is not a regular file, or not an npz file.
    """
    with open_input(path, expected=expected) as file:
        yield ArrayFile(path, file, expected=expected)


def _archive(path: PathLike, file: IO[bytes], expected: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except Exception as problem:  # zipfile may raise anything
        file.seek(0)
        start = file.read(6)
        if not start:
            found = "is empty"
        elif start == npy.MAGIC_PREFIX:
            found = "holds a single array (npy), not named ones"
        elif start.startswith(b"PK"):
            found = f"is damaged or truncated ({problem})"
        else:
            found = "is not an npz file"
        raise InputFileError(path, f"{found}, expected {expected}") from None
