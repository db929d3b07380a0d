"""Sweeps that tests run, and what they compare."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from sims.sweep.store import read_table

ROOT = Path(__file__).parents[3]

BRIEF = """
method = ["sr", "lora-ml-spectral"]
d = 6
T = [2, 3]
N = [50, "inf"]
rank = ["k", "needed"]
seeds = 12
chunk = 2
"""  # 48 chunks

COMMAND = (sys.executable, "-c", "from paper_checks.cli import main; main()", "sweep")


def process(*words: str | Path, program: tuple[str, ...] = COMMAND, own_group: bool = False) -> subprocess.Popen[str]:
    """Start `loraml sweep` as a process of its own."""
    return subprocess.Popen(
        [*program, *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=own_group,
    )


def results(folder: Path) -> list[dict[str, Any]]:
    """Return a folder's rows without their timings, in order; NaN as text, so that rows can be compared."""
    table = read_table(folder).drop_columns(["seconds"])
    return [{name: repr(value) for name, value in row.items()} for row in table.to_pylist()]


def digest(folder: Path) -> str:
    """Return a hash of `results`."""
    return hashlib.sha256(repr(results(folder)).encode()).hexdigest()


def kill(process: int) -> None:
    """Kill without a chance to clean up."""
    os.kill(process, signal.SIGKILL)
