"""The paper's retraining on a GPU: trials a second by the CuPy engine, beside the prediction of docs/gpu.md.

python benchmarks/gpu_descent.py [--trials 20000]
"""

from __future__ import annotations

import argparse
import sys
from time import perf_counter

import numpy as np

from loraml_theory.adapters import Parameters
from loraml_theory.harness.errors import InputError
from loraml_theory.moments import draw
from loraml_theory.objectives import LoRAML
from loraml_theory.solvers.gradient import alternating_gradient_descent
from sims.engines.cupy_engine import CupyEngine
from sims.engines.engine import Schedule

PREDICTED = {"float64": 36_000, "float32": 55_000}  # an H100, on paper


def main() -> int:
    """Print one line a precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20_000)
    trials = parser.parse_args().trials
    rng = np.random.default_rng(0)
    U_star = rng.standard_normal((trials, 3, 10, 1))
    moments = draw(rng, rng.standard_normal((trials, 1, 10, 10)) + U_star @ U_star.swapaxes(-1, -2), 5000, sigma=0.1)
    start = Parameters(A=np.zeros((trials, 10, 10)), U=0.1 * rng.standard_normal((trials, 3, 10, 1)))
    few = LoRAML(type(moments)(moments.S[:4], moments.W[:4], moments.noise[:4], moments.n))
    expected = alternating_gradient_descent(few, Parameters(A=start.A[:4], U=start.U[:4])).parameters.A
    for dtype, predicted in PREDICTED.items():
        try:
            engine = CupyEngine(dtype=dtype)
        except InputError as error:
            print(error, file=sys.stderr)
            return 1
        engine.retrain(moments, start, Schedule(outer_steps=1))  # compiles
        begin = perf_counter()
        A = engine.retrain(moments, start, Schedule()).end.A
        rate = trials / (perf_counter() - begin)
        error_of_end = np.linalg.norm(A[:4] - expected) / np.linalg.norm(expected)
        print(
            f"{engine.device} {dtype}: {rate:,.0f} trials a second ({predicted:,} predicted for an H100), "
            f"ends differ from the reference's by {error_of_end:.1e}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
