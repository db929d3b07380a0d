"""A whole `loraml verify` in one process and in one per core, in turn: wall time, and time of the processor.

python benchmarks/verify.py [--repeats 3] [OPTIONS OF loraml verify …]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

from loraml_theory.harness.processes import cores

COMMAND = "from paper_checks.cli import main\nif __name__ == '__main__':\n    main()"


def run(workers: int, options: list[str]) -> tuple[float, float]:
    """Return the seconds of the wall and of the processor that a run takes."""
    before, started = used(), perf_counter()
    with TemporaryDirectory() as out:
        words = ["verify", "--workers", str(workers), "--out", f"{out}/verify", *options]
        subprocess.run([sys.executable, "-c", COMMAND, *words], check=True, stdout=subprocess.DEVNULL)
    return perf_counter() - started, used() - before


def used() -> float:
    """Return the processor's seconds of all processes that ended."""
    found = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.ru_utime + found.ru_stime


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    arguments, options = parser.parse_known_args()
    both = (1, cores())
    found = [[run(workers, options) for workers in both] for _ in range(arguments.repeats)]
    for place, workers in enumerate(both):
        wall, processor = (median(pair[place][part] for pair in found) for part in (0, 1))
        print(f"{workers} process{'es' if workers > 1 else ''}: {wall:.1f} s, {processor:.1f} s of the processor")
    ratios = sorted(pair[0][0] / pair[1][0] for pair in found)
    print(f"ratio of the wall times: {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
