"""A whole small vision experiment against its methods and seeds one after another, each in a process of its own.

python benchmarks/vision_experiment.py [--repeats 3] [--data DIR] [--settings FILE.toml]

Both compute the same eight runs from two methods and two seeds, on scikit-learn's digits or other images, with the
profile that belongs to them; that the records agree is checked.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np

from realdata.experiments.records import read_records

METHODS, SEEDS = ("standard", "lora-ml"), ("0", "1")
LORAML = "from paper_checks.cli import main\nif __name__ == '__main__':\n    main()\n"


def main() -> None:
    """Print the times of both, taken in turn, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--settings", type=Path, help="keys that replace the profile's")
    asked = parser.parse_args()
    common = ["--device", "cpu"]
    for name, path in (("--data", asked.data), ("--settings", asked.settings)):
        common += [name, str(path.resolve())] if path else []
    times = []
    for _ in range(asked.repeats):
        with TemporaryDirectory() as place:
            script = Path(place, "loraml.py")  # as a file, which the processes it starts read again
            script.write_text(LORAML)
            together = Path(place, "together")
            began = perf_counter()
            run(script, [*common, "--methods", ",".join(METHODS), "--seeds", ",".join(SEEDS)], out=together)
            between = perf_counter()
            apart = [Path(place, method, seed) for method in METHODS for seed in SEEDS]
            for out in apart:
                words = ["--methods", out.parent.name, "--seeds", out.name, "--workers", "1"]
                run(script, [*common, *words], out=out)
            times.append((between - began, perf_counter() - between))
            check(together, apart)
            print(f"one experiment {times[-1][0]:6.1f} s, one after another {times[-1][1]:6.1f} s", flush=True)
    low, middle, high = np.quantile([apart_s / together_s for together_s, apart_s in times], [0.0, 0.5, 1.0])
    print(f"ratio: {middle:.2f} (from {low:.2f} to {high:.2f}) over {asked.repeats} pairs, {os.cpu_count()} cores")


def run(script: Path, words: list[str], *, out: Path) -> None:
    """Run `loraml vision` with some options."""
    path = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    subprocess.run(
        [sys.executable, script, "vision", *words, "--out", out],
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL,
    )


def check(together: Path, apart: list[Path]) -> None:
    """Raise unless both hold the same numbers, bit for bit."""
    one = {record.key: (record.curve, record.correct) for record in read_records(together)}
    other = {record.key: (record.curve, record.correct) for out in apart for record in read_records(out)}
    if one != other:
        raise AssertionError("the experiment and its parts have other records")


if __name__ == "__main__":
    main()
