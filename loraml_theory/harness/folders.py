"""Folders of resumable work: one process at a time, always the same settings, no leftovers of killed processes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os.path import lexists
from pathlib import Path
from typing import Any

from loraml_theory.harness.errors import InputError, install
from loraml_theory.harness.input_files import InputFileError, check_regular
from loraml_theory.harness.settings import differences

_LEFT_BEHIND = re.compile(r"\.[0-9a-f]{16}\.tmp")  # the temporary files of `atomic.replacing`
_SHOWN = 3  # number of differences in one line


class FolderError(InputError):
    """A folder that this work cannot use; the text is one line."""


@contextmanager
def locked(path: Path, *, inside: Sequence[str] = ()) -> Iterator[None]:
    """Lock a folder, which is created if it does not exist, against every other process.

    Parameters
    ----------
    path
        The folder.
    inside
        Names in it that must be folders or not exist.

    Raises
    ------
    InputError
        If another process works there, or `path` is not a folder.
    OSError
        If it cannot be created or written.
    """
    try:
        from filelock import FileLock, Timeout
    except ImportError:
        raise FolderError(f"filelock is not installed: {install('sims')}") from None
    check_folder(path)
    path.mkdir(parents=True, exist_ok=True)
    for name in inside:
        if lexists(path / name) and not (path / name).is_dir():
            raise FolderError(f"{path / name}: is not a folder, expected a folder or a new name")
    _check_lock(path / ".lock")
    try:
        with FileLock(path / ".lock", timeout=0):  # the system releases the lock when the process ends, however it ends
            yield
    except Timeout:
        raise FolderError(f"{path}: another process is working here, wait for it or use another folder") from None


def check_folder(path: Path) -> None:
    """Raise unless a path is a folder, or free for a new one.

    Raises
    ------
    FolderError
        If something else is there, also a link that leads nowhere.
    """
    if lexists(path) and not path.is_dir():
        kind = "a file" if path.exists() else "a link that leads nowhere"
        raise FolderError(f"{path}: is {kind}, expected a folder or a new name")


def _check_lock(path: Path) -> None:
    """Raise unless a lock file can be opened here: the path is free, or an empty regular file that is not a link.

    Opening a pipe may block for ever, and locking truncates a file, or the target of a link.
    """
    if path.is_symlink():
        raise InputFileError(path, "is a link, expected a lock file or nothing")
    if lexists(path):
        check_regular(path, expected="an empty lock file or nothing", limit=0)


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files of killed processes, and nothing else."""
    for left in path.rglob(".*.tmp"):
        if _LEFT_BEHIND.fullmatch(left.name) and left.is_file():
            left.unlink()


def check_format(file: Path, found: Any, *, written: int) -> None:
    """Raise unless a file has the format that this version writes.

    Raises
    ------
    FolderError
        If it has another format.
    """
    if found != written:
        raise FolderError(f"{file}: format {found!r}, this version writes {written}; use another folder")


def check_same(path: Path, begun: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise unless a folder was started with the same settings as now; both in JSON's types.

    Raises
    ------
    FolderError
        If a setting differs; the text says what it was and what it is now.
    """
    changed = differences(begun, now)
    if changed:
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        shown = "; ".join(changed[:_SHOWN])
        raise FolderError(f"{path}: was started with other settings ({shown}{more}); use another folder")
