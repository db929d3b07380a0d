"""Drawing moments at N = 10^9 against N = 10^3.

python benchmarks/moments.py [--trials 5000] [--repeats 15]
"""

from __future__ import annotations

import argparse

import numpy as np
from problems import timed, truths

from loraml_theory.moments import draw

FEW, MANY = 10**3, 10**9


def main() -> None:
    """Print the times of both, drawn in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--repeats", type=int, default=15)
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    W = truths(rng, asked.trials, d=10, k=1, T=3)
    draw(rng, W, FEW, sigma=0.1)  # warms up
    times = np.array([[timed(draw, rng, W, N, sigma=0.1)[0] for N in (FEW, MANY)] for _ in range(asked.repeats)])
    for N, column in zip((FEW, MANY), times.T, strict=True):
        low, middle, high = 1e6 / asked.trials * np.quantile(column, [0.25, 0.5, 0.75])
        print(f"N = {N:>10}: {middle:6.1f} us a trial (quartiles {low:.1f} to {high:.1f}), d = 10, T = 3")
    ratios = times[:, 1] / times[:, 0]
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    print(f"ratio: {middle:.3f} (quartiles {low:.3f} to {high:.3f}) over {asked.repeats} pairs")


if __name__ == "__main__":
    main()
