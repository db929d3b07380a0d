"""Exact recovery at d = 1024, k = 16, T = 8: seconds, errors and memory of every method.

    python benchmarks/recovery.py [--d 1024] [--k 16] [--T 8] [--starts 5] [--seed 0] [--direct]

The problem is reduced exactly to the kT-dimensional span of the tasks' differences (`loraml_theory.reduction`). With
--direct the spectral form runs in the full dimension as well.
"""

from __future__ import annotations

import argparse
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from threadpoolctl import threadpool_info

from loraml_theory import spectral_recovery, zoo
from loraml_theory.adapters import Parameters
from loraml_theory.moments import population
from loraml_theory.objectives import ProjectedLoRAML
from loraml_theory.reduction import Reduction, reduce_to_span
from loraml_theory.solvers import Status, newton
from loraml_theory.structure import GroundTruth

TOLERANCE = 1e-13
"""Of Newton's gradient, relative: a decade below what is needed, for quadratic convergence to go on to rounding."""

REACHED = 1e-9
"""Relative errors of the base below this are the truth; the next stationary point is far from it."""


@dataclass(frozen=True)
class Recovery:
    """One attempt at recovering A*.

    Parameters
    ----------
    how
        The method and its start.
    error
        ``||A - A*||_F / ||A*||_F``.
    misfit
        ``(2 g)^{1/2}`` over ``(sum_t ||W_t - mean||_F^2)^{1/2}``: 0 at a global minimum.
    ended
        The solver's status; converged for a closed form.
    iterations
        Trust-region steps; 0 for a closed form.
    seconds
        Wall time, without that of the reduction.
    """

    how: str
    error: float
    misfit: float
    ended: Status
    iterations: int
    seconds: float

    @property
    def reached(self) -> bool:
        """Whether it found the truth."""
        return self.error <= REACHED


def recover(rng: np.random.Generator, truth: GroundTruth, *, starts: int = 5) -> Iterator[Recovery]:
    """Reduce the population problem to the span, then recover A* by the spectral form and from random starts.

    Parameters
    ----------
    rng
        Source of the starts.
    truth
        One truth without batch axes, T >= 3 with an independent triple (ML-3).
    starts
        Number of random starts, of the size of the shifts.

    Yields
    ------
    The spectral recovery, then one recovery a start, as they are done.
    """
    reduction = reduce_to_span(rng, truth.W_retraining, truth.k)
    started = perf_counter()
    U = spectral_recovery(reduction.W, truth.k).U
    yield _recovery("spectral form", truth, reduction, U, Status.CONVERGED, 0, perf_counter() - started)
    objective = ProjectedLoRAML(population(reduction.W))
    scale = np.sqrt(np.max(np.linalg.norm(reduction.W, axis=(-2, -1))) / reduction.W.shape[-1])
    for number in range(starts):
        start = scale * rng.standard_normal((truth.T, reduction.W.shape[-1], truth.k))
        started = perf_counter()
        end = newton(objective, Parameters(U=start), relative_tolerance=TOLERANCE)
        seconds = perf_counter() - started
        ended = Status(int(end.status))
        yield _recovery(f"Newton, start {number}", truth, reduction, end.parameters.U, ended, end.iterations, seconds)


def _recovery(
    how: str, truth: GroundTruth, reduction: Reduction, U: np.ndarray, ended: Status, iterations: int, seconds: float
) -> Recovery:
    """Measure the base that reduced factors stand for."""
    misfit = np.sqrt(2 * float(ProjectedLoRAML(population(reduction.W)).value(Parameters(U=U))))
    return Recovery(
        how,
        float(np.linalg.norm(reduction.base(U) - truth.A_star) / np.linalg.norm(truth.A_star)),
        float(misfit / np.linalg.norm(reduction.W)),
        ended,
        iterations,
        seconds,
    )


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
