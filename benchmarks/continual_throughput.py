"""Rows a second that each method of `loraml continual` trains on, relative to sequential adaptation.

python benchmarks/continual_throughput.py [--data DIR] [--profile features|cpu] [--rows 128] [--epochs 1] [--threads 1]

Of each method the last training of an order is timed, where there are most earlier tasks, in the processor's seconds
and with what the method does at the task's end, without evaluation. Methods take turns, in an order that is turned
round each time; a ratio is the median over turns, with its quartiles. Joint training has one training only: left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from accelerate import Accelerator

from realdata.continual.chain import Chain, run_chain
from realdata.continual.experiment import ContinualSpec, prepare
from realdata.continual.problem import Problem
from realdata.continual.settings import METHODS, ContinualSettings, settings

TIMED = tuple(method for method in METHODS if method not in ("joint", "no-training"))


def main() -> None:
    """Time all methods and print their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the folder of a benchmark; made-up features if not given")
    parser.add_argument("--profile", choices=("features", "cpu"), default="features")
    parser.add_argument("--rows", type=int, default=128, help="to train on, of --data; made-up tasks have 96")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    parts = {"training_rows": asked.rows, "selection_rows": 8, "test_rows": 8}
    changes = {"data": parts, "training": {"epochs": asked.epochs}}
    found = settings("made" if asked.data is None else asked.profile, changes)
    with TemporaryDirectory() as folder:
        problem, _ = prepare(ContinualSpec(found, asked.data), Path(folder))
        order = found.orders[0]
        rates: dict[str, list[float]] = {method: [] for method in TIMED}
        for turn in range(asked.repeats + 1):
            for method in TIMED if turn % 2 else reversed(TIMED):
                rate = last_rate(method, problem, found, order, Path(folder) / f"{method}-{turn}")
                if turn:  # the first warms up
                    rates[method].append(rate)
    sequential = np.array(rates["sequential"])
    print(f"sequential: {np.median(sequential):.0f} rows a second ({asked.threads} threads, {len(order)} tasks)")
    for method, own in rates.items():
        low, middle, high = np.quantile(np.array(own) / sequential, (0.25, 0.5, 0.75))
        print(f"{method:16} {middle:.2f} ({low:.2f} to {high:.2f})")


def last_rate(method: str, problem: Problem, found: ContinualSettings, order: tuple[str, ...], folder: Path) -> float:
    """Return the rows a second of the last training of a chain."""
    chain = Chain(method, 1e-3, order, 0, "validation")  # type: ignore[arg-type]  # a method's name
    made = run_chain(chain, problem, found, folder, accelerator=Accelerator(cpu=True))
    return made.examples[-1] / made.seconds[-1]


if __name__ == "__main__":
    main()
