"""Programs with one fault each, for the fuzzer to notice; prints what it found of each."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from paper_checks import cli
from tests.fuzzing.campaign import campaign
from tests.fuzzing.running import run
from tests.fuzzing.targets import TARGETS, Target

Main = Callable[[Any], Any]


def traceback(_: object) -> None:
    """End in an exception that nobody expected."""
    raise KeyError("a traceback")


def two_lines(_: object) -> None:
    """Complain twice."""
    sys.stderr.write("loraml: error: one\nloraml: and another\n")
    sys.exit(2)


def memory(_: object) -> None:
    """Touch more memory than there should be."""
    content = bytearray(2200 * 2**20)
    content[::4096] = b"1" * len(content[::4096])


def child_left(_: object) -> None:
    """Leave a process behind."""
    if os.fork() == 0:
        time.sleep(30)


def overwrite(_: object) -> None:
    """Change an input."""
    Path("certificate.json").write_text("mine", "utf-8")


FAULTY: dict[str, tuple[Main, str]] = {
    "traceback": (traceback, "traceback"),
    "status": (lambda _: sys.exit(3), "status 3"),
    "two lines": (two_lines, "2 lines on standard error, expected one"),
    "memory": (memory, "took "),
    "child": (child_left, "processes are left behind"),
    "noise": (lambda _: print("well", file=sys.stderr), "something on standard error though all is well"),
}


def found(main: Main | None) -> tuple[str, ...]:
    """Return what the fuzzer says of a program, or of `loraml` itself."""

    def prepare() -> None:
        if main is not None:
            cli.main = main  # type: ignore[assignment]  # a stand-in

    with TemporaryDirectory() as folder:
        return run(["claims"], Path(folder), prepare=prepare, allowed=frozenset({0})).faults


def overwritten() -> list[str]:
    """Return what a campaign says of a program that changes its input."""

    def prepare() -> None:
        cli.main = overwrite  # type: ignore[assignment]  # a stand-in

    right = TARGETS["certify-check"]
    return campaign("certify-check", Target(right.words, right.make, prepare), range(3)).faults


if __name__ == "__main__":
    told = {name: found(main) for name, (main, _) in FAULTY.items()}
    print(json.dumps({**told, "right": found(None), "overwritten": overwritten()}))
