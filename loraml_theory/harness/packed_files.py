"""A user's gzipped files: the unpacked size is bounded by the packed one."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, RawIOBase
from math import inf
from typing import Any

from loraml_theory.harness.input_files import MEBIBYTE, InputFileError, PathLike, open_input, size_text

GZIP = b"\x1f\x8b"
BUFFER = 2**16
SMALL = 8 * MEBIBYTE
RATIO = 32
"""Texts and images compress at most about tenfold; only zeros compress a thousandfold."""


class _Bounded(RawIOBase):
    """A stream that raises once more than a given number of bytes was read from it."""

    def __init__(self, stream: gzip.GzipFile, left: int, refusal: InputFileError) -> None:
        self._stream, self._left, self._refusal = stream, left, refusal

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._stream.read1(len(buffer))  # the content before the end, where damage is detected
        self._left -= len(content)
        if self._left < 0:
            raise self._refusal
        buffer[: len(content)] = content
        return len(content)


def _first_hole(file: int) -> float:
    """Return where a file's first hole is: its end if it has none, and infinity where the system cannot tell."""
    if not hasattr(os, "SEEK_HOLE"):
        return inf
    here = os.lseek(file, 0, os.SEEK_CUR)
    try:
        return os.lseek(file, 0, os.SEEK_HOLE)
    except OSError:
        return inf
    finally:
        os.lseek(file, here, os.SEEK_SET)


@contextmanager
def open_packed(path: PathLike, *, expected: str) -> Iterator[BufferedReader[Any]]:
    """Open a regular file, and unpack it while it is read if its first bytes say that it is gzipped.

    It may unpack to 8 MiB, or 32 times its size.

    Parameters
    ----------
    path
        A regular file.
    expected
        What it should be, for the error.

    Raises
    ------
    InputFileError
        If it is not a regular file, unpacks to more, or is gzipped and has holes, which `gzip` reads byte by byte.
    OSError, EOFError, zlib.error
        From reading a damaged file, as `gzip` raises them.
    """
    with open_input(path, expected=expected) as file:
        if file.peek(2)[:2] != GZIP:
            yield file
            return
        size = file.seek(0, 2)
        file.seek(0)
        if _first_hole(file.fileno()) < size:
            raise InputFileError(path, f"has {size_text(size)} with holes in them, expected {expected}")
        most = max(SMALL, RATIO * size)
        refusal = InputFileError(path, f"unpacks to more than {size_text(most)}, expected {expected} of at most that")
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield BufferedReader(_Bounded(unpacked, most, refusal), BUFFER)
