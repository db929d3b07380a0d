"""Folders that are either the old one or the whole new one, never a part of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `path` when the block ends without an exception.

    A folder cannot be renamed onto a full one, so the old one is renamed away first. A program killed between the two
    renames leaves it under that name, where `present` finds it. One program at a time may write a folder.

    Parameters
    ----------
    path
        The folder to write; a link is followed. An exception in the block, Ctrl-C too, leaves it untouched.

    Raises
    ------
    OSError
        If it cannot be written, or the disk is full.
    """
    target = Path(os.path.realpath(path))
    old, new = _old(target), target.with_name(f".{target.name}.new")
    if not target.exists() and old.exists():
        old.rename(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove(new)
    new.mkdir()
    try:
        yield new
        _flush(new)
        _remove(old)
        if target.exists():
            target.rename(old)
        new.rename(target)
    except BaseException:
        if not target.exists() and old.exists():
            old.rename(target)
        _remove(new)
        raise
    _remove(old)


def present(path: str | os.PathLike[str]) -> Path:
    """Return where the folder is that was last written whole as `path`."""
    target = Path(os.path.realpath(path))
    old = _old(target)
    return old if old.exists() and not target.exists() else target


def _old(target: Path) -> Path:
    return target.with_name(f".{target.name}.old")


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _flush(folder: Path) -> None:
    """Have all files of a folder on the disk before it is given its name."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
