"""Cost of a trial of the paper's retraining against d, T, k and the size of the batch, with fitted exponents.

python benchmarks/scaling.py [--outer-steps 300] [--repeats 3]

What arithmetic predicts: a trial's 10 inner steps cost T d^2 k, the outer one T d^3.
"""

from __future__ import annotations

import argparse

from problems import exponent, retraining, seconds

from sims.engines.cpu_engine import CpuEngine
from sims.engines.engine import Schedule
from sims.kernels.simd import LANES

AXES: dict[str, list[int]] = {
    "d": [5, 10, 20, 40, 80],
    "T": [1, 2, 4, 8, 16],
    "k": [1, 2, 4, 8],
    "batch": [1, LANES, 4 * LANES, 16 * LANES, 64 * LANES],
}


def main() -> None:
    """Print a table an axis."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outer-steps", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    engine, schedule = CpuEngine(), Schedule(outer_steps=asked.outer_steps)
    engine.retrain(*retraining(1), schedule)  # compiles
    for axis, sizes in AXES.items():
        costs = []
        for size in sizes:
            trials = size if axis == "batch" else 8 * LANES
            given = retraining(trials, **({} if axis == "batch" else {axis: size}))
            costs.append(seconds(engine.retrain, *given, schedule, repeats=asked.repeats).min())
            print(f"{axis:>5} = {size:4}: {1e3 * costs[-1]:9.1f} ms, {1e6 * costs[-1] / trials:9.1f} us a trial")
        print(
            f"{axis:>5}: cost of the batch ~ {axis}^{exponent(sizes, costs):.2f}, over the last two sizes "
            f"^{exponent(sizes[-2:], costs[-2:]):.2f}"
        )


if __name__ == "__main__":
    main()
