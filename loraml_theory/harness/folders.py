"""A folder that work goes on in: one process at a time, always the same work, and nothing left of what was killed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os.path import lexists
from pathlib import Path
from typing import Any

from loraml_theory.harness.errors import InputError
from loraml_theory.harness.input_files import InputFileError, check_regular
from loraml_theory.harness.settings import differences

_LEFT_BEHIND = re.compile(r"\.[0-9a-f]{16}\.tmp")  # what `atomic.replacing` leaves when it is killed
_SHOWN = 3  # differences in one line


class FolderError(InputError):
    """A folder that this work cannot use; the text is one line."""


@contextmanager
def locked(path: Path, *, inside: Sequence[str] = ()) -> Iterator[None]:
    """Keep every other process out of a folder, which is made if it is not there.

    Parameters
    ----------
    path
        The folder.
    inside
        Names in it that must be folders or free.

    Raises
    ------
    InputError
        If another process is at work there, or something that is not a folder is in its place.
    OSError
        If it cannot be made or written.
    """
    try:
        from filelock import FileLock, Timeout
    except ImportError:
        raise FolderError("filelock is not installed: pip install 'loraml-theory[sims]'") from None
    if path.exists() and not path.is_dir():
        raise FolderError(f"{path}: is a file, expected a folder or a name that is free")
    path.mkdir(parents=True, exist_ok=True)
    for name in inside:
        if lexists(path / name) and not (path / name).is_dir():
            raise FolderError(f"{path / name}: is not a folder, expected a folder or a name that is free")
    _check_lock(path / ".lock")
    try:
        with FileLock(path / ".lock", timeout=0):  # the system drops it when its process ends, however it ends
            yield
    except Timeout:
        raise FolderError(f"{path}: another call is at work here, wait for its end or take another folder") from None


def _check_lock(path: Path) -> None:
    """Raise unless a lock file can be opened here: nothing is there, or an empty regular file that is not a link.

    To open a pipe may wait for ever, and programs that lock a file empty it first, or what a link leads to.
    """
    if path.is_symlink():
        raise InputFileError(path, "is a link, expected a lock file or nothing")
    if lexists(path):
        check_regular(path, expected="an empty lock file or nothing", limit=0)


def remove_leftovers(path: Path) -> None:
    """Remove what kills have left of files that were being written, and nothing else that looks like it."""
    for left in path.rglob(".*.tmp"):
        if _LEFT_BEHIND.fullmatch(left.name) and left.is_file():
            left.unlink()


def check_format(file: Path, found: Any, *, written: int) -> None:
    """Raise unless a file is of the format that this version writes.

    Raises
    ------
    FolderError
        If it is of another one.
    """
    if found != written:
        raise FolderError(f"{file}: format {found!r}, this version writes {written}; take another folder")


def check_same(path: Path, begun: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise unless a folder was begun with what is wanted now; both as JSON holds it.

    Raises
    ------
    FolderError
        If something differs; the text says what was wanted then and what now.
    """
    changed = differences(begun, now)
    if changed:
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        shown = "; ".join(changed[:_SHOWN])
        raise FolderError(f"{path}: was begun with other settings ({shown}{more}); take another folder")
