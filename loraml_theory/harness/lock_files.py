"""Lock files: empty regular files, opened without waiting for anything and without harm to what has their name."""

from __future__ import annotations

import os

from loraml_theory.harness.input_files import InputFileError, PathLike, check_regular


def check_lock(path: PathLike) -> None:
    """Raise unless a lock file can be opened here: nothing is there, or an empty regular file that is no link.

    To open a pipe may wait for ever, and programs that lock a file empty it first, or what a link leads to.

    Raises
    ------
    InputFileError
        If something else is there.
    """
    if os.path.islink(path):
        raise InputFileError(path, "is a link, expected a lock file or nothing")
    if os.path.lexists(path):
        check_regular(path, expected="an empty lock file or nothing", limit=0)
