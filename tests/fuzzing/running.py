"""Run `loraml` on a spoilt input in a process of its own, and say what is wrong with how it ended."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

SECONDS = 60.0
MEBIBYTE = 2**20
MEMORY = 2048  # MiB


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its status, what it printed, the memory it took beyond its parent's, and what is wrong."""

    status: int
    printed: str
    complaint: str
    seconds: float
    mebibytes: float
    faults: tuple[str, ...]


def run(
    words: Sequence[str],
    folder: Path,
    *,
    prepare: Callable[[], None],
    allowed: frozenset[int],
    modules: Path | None = None,
) -> Outcome:
    """Fork, run `loraml` with these words in `folder`, and judge how it ends.

    Parameters
    ----------
    words
        Of the command line.
    folder
        Where it runs; files that are there before must be the same afterwards.
    prepare
        Called in the child first, to stub what is costly.
    allowed
        The statuses that are well; 2 is so with one line on standard error.
    modules
        Where to write the names of the modules that were imported.
    """
    with TemporaryDirectory() as place:
        out, err = Path(place, "out"), Path(place, "err")
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            _child(words, folder, (out, err), prepare, modules)
        status, usage = _wait(child, began + SECONDS)
        seconds = time.monotonic() - began
        printed, complaint = (path.read_text("utf-8", "replace") if path.exists() else "" for path in (out, err))
    mebibytes = usage.ru_maxrss / 1024
    faults = list(_faults(status, printed, complaint, allowed))
    if _left(child):
        faults.append("processes are left behind")
    if mebibytes > MEMORY:
        faults.append(f"took {mebibytes:.0f} MiB")
    return Outcome(status, printed, complaint, seconds, mebibytes, tuple(faults))


def _child(
    words: Sequence[str], folder: Path, printed: tuple[Path, Path], prepare: Callable[[], None], modules: Path | None
) -> None:
    status = 70
    try:
        os.setsid()
        os.chdir(folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for stream, path in enumerate(printed, start=1):
            os.dup2(os.open(path, flags), stream)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        faulthandler.enable(sys.stderr)
        limit = 24 * 2**30  # of addresses; what is touched is measured, this only keeps the machine alive
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        prepare()
        from paper_checks.cli import main

        main(list(words))
        status = 0
    except SystemExit as ended:
        status = int(ended.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
            if modules is not None:
                modules.write_text("\n".join(sys.modules), "utf-8")
        os._exit(status)


def _wait(child: int, deadline: float) -> tuple[int, resource.struct_rusage]:
    """Wait for the child; kill its group at the deadline."""
    pause = 0.001
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), usage
        if time.monotonic() > deadline:
            os.killpg(child, signal.SIGKILL)
            _, status, usage = os.wait4(child, 0)
            return os.waitstatus_to_exitcode(status), usage
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


def _left(child: int) -> bool:
    """Return whether processes of the child's group outlive it for more than a moment, and end them."""
    for _ in range(40):
        try:
            os.killpg(child, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    return True


def _faults(status: int, printed: str, complaint: str, allowed: frozenset[int]) -> list[str]:
    if status == -signal.SIGKILL:
        return [f"did not end within {SECONDS:g} s"]
    found = []
    if status not in allowed | {2}:
        found.append(f"status {status}")
    if "Traceback" in complaint + printed:
        found.append("traceback")
    lines = complaint.splitlines()
    if status == 2 and (len(lines) != 1 or not lines[0].startswith("loraml: ") or not complaint.endswith("\n")):
        found.append(f"{len(lines)} lines on standard error, expected one")
    if status == 2 and len(complaint) > 2000:
        found.append(f"a line of {len(complaint)} characters")
    if status in allowed and complaint:
        found.append("something on standard error though all is well")
    return found
