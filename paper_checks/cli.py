"""The entry of the command `loraml`: what it prints, and its exit.

Importing this takes no time: what the commands import is imported in `main`, where Ctrl-C is one line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TextIO


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `loraml`; exit: 0, 1 if a theorem is refuted or its control is not, 2 on bad input, 130 if interrupted."""
    try:
        status = _run(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        status = _complain("interrupted", status=130)
    sys.exit(status)


def _run(words: Sequence[str]) -> int:
    from io import TextIOWrapper

    from loraml_theory.harness.errors import InputError, one_line

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        from paper_checks.commands.program import parse

        status, text = parse(words)()
        _print(text)
    except InputError as problem:
        status = _complain(f"error: {one_line(str(problem))}", status=2)
    return status


def _print(text: str) -> None:
    from loraml_theory.harness.errors import InputError

    if sys.stdout is None:  # closed by the caller
        return
    try:
        _write(sys.stdout, text)
    except BrokenPipeError:  # a reader that stops early is not an error
        pass
    except OSError as problem:
        raise InputError(f"standard output: cannot be written ({problem.strerror})") from None


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # Python flushes once more at exit
        raise


def _complain(text: str, *, status: int) -> int:
    if sys.stderr is not None:
        with suppress(OSError):  # full or closed: only the status can say what happened
            _write(sys.stderr, f"loraml: {text}\n")
    return status
