"""Shallow networks: batched AdamW against training each model by itself in torch, and a second-order solver.

    OMP_NUM_THREADS=1 python benchmarks/shallow.py [--steps 300] [--repeats 7] [--trials 10] [--threads 1]

The setting is the paper's default, d = 10, k = 1, T = 3, N = 1000, float32. A trial is one LoRA-ML retraining; one
model by itself is an nn.Module with torch.optim.AdamW and autograd, on as many threads as the kernel has. Both make
the same steps from the same start, and a ratio is of two timings that follow each other. The second-order solver is
timed until it is at the loss at which AdamW's 40 000 steps end, for all trials, further starts included where the first
ends in a worse minimum; torch's seconds for these steps are those of the shortened schedule, times their number.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import torch
from problems import seconds, timed
from threadpoolctl import threadpool_limits

from sims.kernels.vectors import lanes_of
from sims.shallow.cpu_descent import CpuDescent
from sims.shallow.draws import draw_run
from sims.shallow.network import Network, Samples, losses
from sims.shallow.second_order import reach
from sims.shallow.settings import AdamW, ShallowCell
from sims.shallow.torch_descent import TorchDescent

CELL = ShallowCell()
STARTS = 8
TRACED = 500


class Model(torch.nn.Module):
    """The network as one would write it."""

    def __init__(self, start: Network, dtype: torch.dtype) -> None:
        """Take over a start."""
        super().__init__()
        self.A, self.c = (torch.nn.Parameter(torch.tensor(part, dtype=dtype)) for part in (start.A, start.c))
        self.U, self.V = (
            torch.nn.ParameterList(torch.tensor(part, dtype=dtype).unbind()) for part in (start.U, start.V)
        )

    def forward(self, x: torch.Tensor, task: int) -> torch.Tensor:
        """Return the outputs of one task."""
        z = torch.nn.functional.linear(x, self.A) + (x @ self.V[task]) @ self.U[task].T
        return torch.sigmoid(z) @ self.c


def by_itself(samples: Samples, start: Network, dtype: torch.dtype = torch.float32) -> Iterator[Model]:
    """Yield one model after every step."""
    model = Model(start, dtype)
    optimizer, loss = torch.optim.AdamW(model.parameters(), 1e-3), torch.nn.MSELoss()
    x, y = (torch.tensor(part, dtype=dtype) for part in samples)
    while True:
        for task in range(len(y)):
            loss(model(x[task], task), y[task]).backward()
        optimizer.step()
        optimizer.zero_grad()
        yield model


def drawn(trials: int, *, root: int = 0) -> tuple[Samples, Network]:
    """Draw trials."""
    runs = [draw_run(root, run, CELL) for run in range(trials)]
    samples = Samples(*(np.stack(parts) for parts in zip(*(run.retraining for run in runs), strict=True)))
    return samples, Network(*(np.stack([getattr(run.start, name) for run in runs]) for name in ("A", "c", "U", "V")))


def largest_difference(samples: Samples, start: Network, precision: str) -> float:
    """Return the largest difference of a trial's A over `TRACED` steps, relative to its largest entry."""
    at = np.arange(1, TRACED + 1)
    path = CpuDescent(precision=precision).descend(Samples(samples.x[:1], samples.y[:1]), start[:1], AdamW(), at=at)
    models = by_itself(Samples(samples.x[0], samples.y[0]), start[0], getattr(torch, precision))
    A = [model.A.detach().numpy().astype(float).copy() for model in islice(models, TRACED)]
    return float(max(np.abs(found - own).max() / np.abs(own).max() for found, own in zip(path.A[:, 0], A, strict=True)))


def limits(threads: int) -> str:
    """Say what a step costs in products and sigmoids, and how long these alone take at the rates measured here."""
    import numba

    from sims.kernels.vectors import load, sigmoids, store

    lanes = lanes_of(np.float32)

    @numba.njit
    def all_sigmoids(z: np.ndarray, out: np.ndarray) -> None:
        for i in range(0, z.size, 2 * lanes):
            a, b = sigmoids(load(z, i), load(z, i + lanes))
            store(out, i, a)
            store(out, i + lanes, b)

    z, out = np.linspace(-5, 5, 4096, dtype=np.float32), np.empty(4096, np.float32)
    all_sigmoids(z, out)
    sigmoid_rate = threads * 4096 / seconds(all_sigmoids, z, out, repeats=200).min()
    M = np.ones((1500, 1500), np.float32)
    with threadpool_limits(threads, user_api="blas"):
        peak = 2 * 1500**3 / seconds(np.matmul, M, M, repeats=10).min()
    products, count = CELL.T * CELL.N * 4 * CELL.d**2, CELL.T * CELL.N * CELL.d
    bound = products / peak + count / sigmoid_rate
    return (
        f"a step: {products / 1e6:.1f} Mflop of products at {peak / 1e9:.0f} Gflop/s and {count} sigmoids at "
        f"{sigmoid_rate / 1e9:.1f} G/s alone take {1e6 * bound:.0f} us on {threads} thread(s)"
    )


def adamw(samples: Samples, start: Network, asked: argparse.Namespace) -> None:
    """Print microseconds a step and trial, and their ratios."""
    at, trials = np.array([asked.steps]), len(samples.x)
    one = Samples(samples.x[0], samples.y[0])
    batched: dict[str, Callable[[], object]] = {
        name: (lambda engine=engine: engine.descend(samples, start, AdamW(), at=at))  # type: ignore[misc]
        for name, engine in (("kernel", CpuDescent(threads=asked.threads)), ("torch, batched", TorchDescent()))
    }
    for run in batched.values():
        run()
    rows = []
    for _ in range(asked.repeats):
        alone = timed(lambda: [None for _ in islice(by_itself(one, start[0]), asked.steps)])[0]
        rows.append([alone, *(timed(run)[0] / trials for run in batched.values())])
    times = np.array(rows) / asked.steps * 1e6
    print(f"{'us a step and trial':>24} {'median':>8} {'least':>8}   ratio of each pair: median (least to largest)")
    for column, name in enumerate(("one model by itself", *batched)):
        ratio = times[:, 0] / times[:, column]
        said = f"{np.median(ratio):.1f} ({ratio.min():.1f} to {ratio.max():.1f})" if column else ""
        print(f"{name:>24} {np.median(times[:, column]):8.1f} {times[:, column].min():8.1f}   {said}".rstrip())


def second_order(samples: Samples, start: Network, asked: argparse.Namespace) -> None:
    """Print how long the solver takes to AdamW's end loss, and the ratio to a model by itself."""
    at = np.array([CELL.epochs])
    end = CpuDescent(threads=asked.threads).descend(samples, start, AdamW(), at=at)[0]
    target = losses(end, samples)
    starts = [start, *(drawn(len(target), root=1000 + other)[1] for other in range(STARTS - 1))]
    one, ratios, own = Samples(samples.x[0], samples.y[0]), [], []
    for _ in range(3):
        alone = (
            timed(lambda: [None for _ in islice(by_itself(one, start[0]), asked.steps)])[0] / asked.steps * CELL.epochs
        )
        taken, found = timed(reach, samples, starts, target)
        own.append(taken / len(target))
        ratios.append(alone / own[-1])
    print(f"AdamW ends at {np.array2string(target, precision=4)}, {CELL.T} tasks with noise {CELL.sigma**2:g} each")
    print(f"second order: {int(found.finished.sum())} of {len(target)} at or below it, iterations {found.iterations}")
    print(
        f"seconds a trial, median: {np.median(own):.2f}; ratio of {CELL.epochs} steps of one model by itself to it: "
        f"{np.median(ratios):.0f} ({min(ratios):.0f} to {max(ratios):.0f})"
    )


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("steps", 300), ("repeats", 7), ("trials", 10), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    samples, start = drawn(asked.trials)
    setting = f"d = {CELL.d}, k = {CELL.k}, T = {CELL.T}, N = {CELL.N}"
    print(f"{setting}, float32, {asked.trials} trials, {asked.threads} thread(s)")
    for precision in ("float64", "float32"):
        print(f"A along {TRACED} steps, {precision}: {largest_difference(samples, start, precision):.1e} apart")
    print(limits(asked.threads))
    adamw(samples, start, asked)
    with threadpool_limits(asked.threads, user_api="blas"):
        second_order(samples, start, asked)


if __name__ == "__main__":
    main()
