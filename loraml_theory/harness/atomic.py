"""Files written atomically: a reader sees the old file or the whole new one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Yield a binary file that takes the place of `path` when the block ends without an exception.

    Parameters
    ----------
    path
        The file to write; a link is followed. An exception in the block, Ctrl-C too, leaves it untouched.

    Raises
    ------
    OSError
        If the folder cannot be written, the disk is full, or `path` exists and is not a regular file.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     target = Path(folder, "answer.txt")
    ...     with replacing(target) as file:
    ...         _ = file.write(b"42")
    ...     target.read_text()
    '42'
    """
    target = Path(os.path.realpath(path))
    if target.is_symlink() or (target.exists() and not target.is_file()):  # a link that leads to itself stays as it is
        raise FileExistsError(None, "exists and is not a regular file", os.fspath(path))
    partial = target.with_name(f".{token_hex(8)}.tmp")  # a rename is atomic within one file system
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_whole(path: str | os.PathLike[str], content: str | bytes | memoryview) -> None:
    """Write a file of this content, a text as UTF-8, as `replacing` does; errors as there."""
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)
