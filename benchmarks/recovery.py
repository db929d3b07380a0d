"""Exact recovery at d = 1024, k = 16, T = 8: seconds, errors and memory of every method.

    python benchmarks/recovery.py [--d 1024] [--k 16] [--T 8] [--starts 5] [--seed 0] [--direct]

The problem is reduced exactly to the kT-dimensional span of the tasks' differences (`loraml_theory.reduction`). With
--direct the spectral form runs in the full dimension as well.
"""

from __future__ import annotations

import argparse
import resource
import sys
from time import perf_counter

import numpy as np
from threadpoolctl import threadpool_info

from loraml_theory import spectral_recovery, zoo
from loraml_theory.reduction import reduce_to_span
from sims.large import recover


def main() -> None:
    """Print one line a method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("d", 1024), ("k", 16), ("T", 8), ("starts", 5), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--direct", action="store_true", help="also run the spectral form without the reduction")
    asked = parser.parse_args()
    rng = np.random.default_rng(asked.seed)
    truth = zoo.generic(rng, asked.d, asked.k, asked.T)
    threads = max((info["num_threads"] for info in threadpool_info()), default=1)
    print(f"d = {truth.d}, k = {truth.k}, T = {truth.T}, seed {asked.seed}; BLAS threads: {threads}")
    started = perf_counter()
    reduction = reduce_to_span(rng, truth.W_retraining, truth.k)
    print(
        f"{'reduction':18} {perf_counter() - started:7.2f} s  to dimension {reduction.W.shape[-1]}, "
        f"relative rest outside {reduction.outside:.1e}"
    )
    if asked.direct:
        started = perf_counter()
        A = spectral_recovery(truth.W_retraining, truth.k).A
        error = np.linalg.norm(A - truth.A_star) / np.linalg.norm(truth.A_star)
        print(f"{'spectral, full d':18} {perf_counter() - started:7.2f} s  ||A - A*||/||A*|| = {error:.1e}")
    reached = 0
    for found in recover(rng, truth, starts=asked.starts):
        reached += found.reached and found.iterations > 0
        print(
            f"{found.how:18} {found.seconds:7.2f} s  ||A - A*||/||A*|| = {found.error:.1e}  misfit {found.misfit:.1e}  "
            f"{found.ended.name.lower()}{f' in {found.iterations} steps' if found.iterations else ''}",
            flush=True,
        )
    print(f"{reached} of {asked.starts} random starts reached the truth")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform != "darwin" else 2**30)
    print(f"peak memory {peak:.2f} GiB")


if __name__ == "__main__":
    main()
