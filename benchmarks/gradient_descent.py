"""The paper's retraining by the CPU engine against the same descent written on samples, in one run.

    python benchmarks/gradient_descent.py [--trials 512] [--repeats 5]

The samples' version holds all N samples and passes over them in every step. Its full run gives its seconds and the
points that the engine's must equal; shorter runs beside the engine's show how much the machine's speed wanders.
"""

from __future__ import annotations

import argparse

import numpy as np
from problems import retraining, seconds, start, timed, truths

from loraml_theory.adapters import Parameters
from loraml_theory.moments import Moments, from_samples
from sims.engines.cpu_engine import CpuEngine
from sims.engines.engine import Schedule

D, K, T, N = 10, 1, 3, 5000
FEW, EVERY = 100, 100


def on_samples(X: np.ndarray, Y: np.ndarray, A: np.ndarray, U: np.ndarray, schedule: Schedule) -> list[np.ndarray]:
    """Run the descent of one trial on samples X and Y, ``(T, d, N)``; return A at every `EVERY`-th step."""
    U, points = U.copy(), [A]
    for step in range(1, schedule.outer_steps + 1):
        for _ in range(schedule.inner_steps):
            for t in range(len(X)):
                G = ((A + U[t] @ U[t].T) @ X[t] - Y[t]) @ X[t].T / X.shape[-1]
                U[t] = U[t] - schedule.inner_step_size * (G + G.T) @ U[t]
        G = sum(((A + U[t] @ U[t].T) @ X[t] - Y[t]) @ X[t].T for t in range(len(X))) / X.shape[-1]
        A = A - schedule.outer_step_size / len(X) * G
        if step % EVERY == 0:
            points.append(A)
    return points


def operations(schedule: Schedule) -> float:
    """Return additions and multiplications of one trial as the engine does it (U^T U and U^T P included)."""
    inner = 4 * D**2 * K + 8 * D * K**2 + 2 * D * K
    outer = 2 * D**3 + 4 * D**2 * K + 2 * D**2 * K + 4 * D**2
    return schedule.outer_steps * T * (schedule.inner_steps * inner + outer)


def matrix_product_peak(size: int = 3000) -> float:
    """Return the best of five rates of a large float64 product, operations a second, on all threads of BLAS."""
    M = np.random.default_rng(0).standard_normal((size, size))
    return 2 * size**3 / seconds(np.matmul, M, M, repeats=5).min()


def sample(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, Parameters]:
    """Draw the samples and the start of one trial."""
    W = truths(rng, 1, d=D, k=K, T=T)[0]
    X = rng.standard_normal((T, D, N))
    return X, W @ X + 0.1 * rng.standard_normal((T, D, N)), start(rng, 1, d=D, k=K, T=T)


def same_iterates(engine: CpuEngine, schedule: Schedule) -> tuple[float, float]:
    """Return the samples' seconds for a whole trial, and the largest relative difference of A on the way."""
    X, Y, at = sample(np.random.default_rng(1))
    whole, points = timed(on_samples, X, Y, at.A[0], at.U[0], schedule)
    m = from_samples(X, Y)
    moments = Moments(m.S[None], m.W[None], m.noise[None], m.n)
    path = engine.retrain(moments, at, schedule, record_every=EVERY)
    differences = [
        np.linalg.norm(path.A[r, 0] - expected) / max(np.linalg.norm(expected), 1e-300)
        for r, expected in enumerate(points)
    ]
    return whole, max(differences)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    engine, schedule = CpuEngine(), Schedule()
    compilation, _ = timed(engine.retrain, *retraining(1, d=D, k=K, T=T), Schedule(outer_steps=1))
    whole, difference = same_iterates(engine, schedule)
    X, Y, at = sample(np.random.default_rng(2))
    batch = retraining(asked.trials, d=D, k=K, T=T, N=N)
    print(f"d = {D}, k = {K}, T = {T}, N = {N}, {schedule.outer_steps} x {schedule.inner_steps} steps")
    print(f"threads: {engine.threads}; compiled or loaded in {compilation:.1f} s; batches of {asked.trials} trials")
    print(f"on samples, one whole trial: {whole:.2f} s; largest relative difference of A on the way: {difference:.1e}")
    print(f"{'samples s/trial':>16} {'engine ms/trial':>16} {'ratio':>8} {'Gflop/s':>8} {'peak':>8} {'fraction':>8}")
    rows = []
    for _ in range(asked.repeats):
        slow = timed(on_samples, X, Y, at.A[0], at.U[0], Schedule(outer_steps=FEW))[0] * schedule.outer_steps / FEW
        fast = timed(engine.retrain, *batch, schedule)[0] / asked.trials
        rate, peak = operations(schedule) / fast, matrix_product_peak()
        rows.append((slow, 1e3 * fast, slow / fast, rate / 1e9, peak / 1e9, rate / peak))
        print("{:16.2f} {:16.3f} {:8.0f} {:8.1f} {:8.1f} {:8.2f}".format(*rows[-1]), flush=True)
    print("{:16.2f} {:16.3f} {:8.0f} {:8.1f} {:8.1f} {:8.2f}  (medians)".format(*np.median(rows, axis=0)))
    print(f"(samples s/trial: {FEW} outer steps, scaled to {schedule.outer_steps})")


if __name__ == "__main__":
    main()
