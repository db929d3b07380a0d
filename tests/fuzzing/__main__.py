"""Fuzz the commands that read files, by hand: ``python -m tests.fuzzing --inputs 10000``."""

from __future__ import annotations

import argparse
import os
import sys

os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", MPLBACKEND="Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from tests.fuzzing.campaign import campaign
from tests.fuzzing.targets import TARGETS


def main() -> int:
    """Fuzz, print a line a command and every fault; return 1 if there is one."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing", description=__doc__)
    parser.add_argument("commands", nargs="*", metavar="COMMAND", help=f"of: {', '.join(TARGETS)}; all if not given")
    parser.add_argument("--inputs", type=int, default=200, help="spoilt inputs for each command")
    parser.add_argument("--first", type=int, default=0, help="seed of the first")
    given = parser.parse_args()
    unknown = [name for name in given.commands if name not in TARGETS]
    if unknown:
        parser.error(f"{unknown[0]} is not one of: {', '.join(TARGETS)}")
    faults = 0
    for name in given.commands or TARGETS:
        seeds = range(given.first, given.first + given.inputs)
        tally = campaign(name, TARGETS[name], seeds)
        statuses = ", ".join(f"{count} of status {status}" for status, count in sorted(tally.statuses.items()))
        print(f"{name}: {statuses}; at most {tally.seconds:.1f} s and {tally.mebibytes:.0f} MiB", flush=True)
        for fault in tally.faults:
            print(f"  {fault}", flush=True)
        faults += len(tally.faults)
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
