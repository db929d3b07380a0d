"""What merged bases are worth where the truth is linear: `python benchmarks/merging.py [--draws 40] [--shared 1]`.

Tasks ``W_t = A + U_t V_t^T + noise`` with shifts of rank k, fine-tuned from a base B that is D = A - B, a matrix of
rank k, away from A. From B and T tasks each method makes a base; the LoRA-ML base is the one that `loraml advise
--write-base` writes. TIES and DARE are peft's, with all weights alike; KnOTS-style TIES merges the tasks in the joint
singular basis of all of them. Numbers are energies over that of a shift, the mean over draws with a 95 % interval:

- error: ``||base - A||^2``, with the prediction where there is a formula;
- rest: of ``W_new - base``, W_new a new task, what an adapter of rank k leaves;
- unadapted: ``||W_t - base||^2``, the mean over the T tasks.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from torch import Tensor

P, Q, K, SIGMA = 40, 30, 2, 0.1
TASKS = (2, 3, 5, 10)
SPARSE, HALF = 0.2, 0.5
MEASURES = ("error", "rest", "unadapted")


class Draw(NamedTuple):
    """A truth, the base B that the tasks were fine-tuned from, the tasks, and a new one."""

    A: Tensor
    B: Tensor
    W: list[Tensor]
    new: Tensor


def drawn(seed: int, T: int, *, shared: float) -> Draw:
    """Draw normal factors; D has `shared` times the energy of a shift."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    B = normal(P, Q)
    A = B + shared**0.5 * normal(P, K) @ normal(K, Q)
    *W, new = (A + normal(P, K) @ normal(K, Q) + SIGMA * normal(P, Q) for _ in range(T + 1))
    return Draw(A, B, W, new)


def of_shifts(merge: Callable[..., Tensor], weight: float | None = None, **options: float) -> Callable[[Draw], Tensor]:
    """Return a method that merges the differences from B by one of peft's functions."""

    def method(found: Draw) -> Tensor:
        T = len(found.W)
        return found.B + merge([W - found.B for W in found.W], torch.full((T,), weight or 1 / T).double(), **options)

    return method


def joint_ties(shifts: list[Tensor], weights: Tensor, *, density: float) -> Tensor:
    """Merge ``S_t = U C_t`` by TIES of the C_t, U the left singular vectors of all shifts side by side."""
    from peft.utils.merge_utils import ties

    U, values, turned = torch.linalg.svd(torch.cat(shifts, dim=1), full_matrices=False)
    return U @ ties(list((values[:, None] * turned).split(Q, dim=1)), weights, density=density)


def lora_ml(found: Draw) -> Tensor:
    """Return the base that the advisor writes."""
    from safetensors.torch import load_file, save_file

    from realdata.advisor import AdviceSettings, advise, open_tasks

    with TemporaryDirectory() as folder:
        words = []
        for t, W in enumerate(found.W):
            save_file({"w": W}, f"{folder}/{t}.safetensors")
            words.append(f"t{t}={folder}/{t}.safetensors")
        path = Path(folder, "base.safetensors")
        advise(open_tasks(words), AdviceSettings(draws=1), write_base=path)
        return load_file(path)["w"].clone()


def methods() -> Mapping[str, Callable[[Draw], Tensor]]:
    """Return the methods by name."""
    from peft.utils import merge_utils

    return {
        "the base as it is": lambda found: found.B,
        "average": of_shifts(merge_utils.task_arithmetic),
        f"TIES, density {SPARSE}": of_shifts(merge_utils.ties, 1.0, density=SPARSE),
        f"TIES, density {HALF}": of_shifts(merge_utils.ties, 1.0, density=HALF),
        f"DARE, density {HALF}": of_shifts(merge_utils.dare_linear, density=HALF),
        f"DARE-TIES, density {HALF}": of_shifts(merge_utils.dare_ties, 1.0, density=HALF),
        f"KnOTS-style TIES, density {HALF}": of_shifts(joint_ties, 1.0, density=HALF),
        "LoRA-ML base": lora_ml,
    }


def predicted(name: str, T: int, *, shared: float) -> float | None:
    r"""Return the expected error in units of a shift's energy, k p q.

    The shifts are independent of mean 0: their mean has 1/T of the energy of one, and noise adds sigma^2 / (k T). DARE
    keeps an entry with probability rho, divided by rho: that adds (1 - rho) / rho of the energy of ``W_t - B``, over T.
    With two tasks the advisor writes the average; with more, as sigma goes to 0, A itself (ML-3).
    """
    noise = SIGMA**2 / K
    average = (1 + noise) / T
    dare = average + (1 - HALF) / HALF * (shared + 1 + noise) / T
    known = {"the base as it is": shared, "average": average, f"DARE, density {HALF}": dare}
    return {**known, "LoRA-ML base": average if T == 2 else 0.0}.get(name)


def measured(found: Draw, base: Tensor) -> list[float]:
    """Return the measures of a base, in units of a shift's expected energy."""
    rest = torch.linalg.svdvals(found.new - base)[K:].square().sum()
    unadapted = torch.stack([(W - base).square().sum() for W in found.W]).mean()
    return [float(each) / (K * P * Q) for each in ((base - found.A).square().sum(), rest, unadapted)]


def study(T: int, *, draws: int, shared: float) -> dict[str, Tensor]:
    """Return the measures of every method, ``(draws, measures)``."""
    torch.manual_seed(T)  # of DARE
    made = methods()
    rows: dict[str, list[list[float]]] = {name: [] for name in made}
    for found in map(partial(drawn, T=T, shared=shared), range(draws)):
        for name, method in made.items():
            rows[name].append(measured(found, method(found)))
    return {name: torch.tensor(each, dtype=torch.float64) for name, each in rows.items()}


def cell(values: Tensor, expected: float | None) -> str:
    """Return the mean with its interval, and the prediction."""
    half = 1.96 * float(values.std()) / len(values) ** 0.5
    return f"{float(values.mean()):.3f} ± {half:.3f}" + ("" if expected is None else f" ({expected:.3f})")


def main() -> None:
    """Print a table for each measure."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--draws", type=int, default=40)
    options.add_argument("--shared", type=float, default=1.0, help="energy of D, in units of a shift's")
    chosen = options.parse_args()
    found = {T: study(T, draws=chosen.draws, shared=chosen.shared) for T in TASKS}
    for number, measure in enumerate(MEASURES):
        print(f"\n| {measure} | " + " | ".join(f"T = {T}" for T in TASKS) + " |\n" + "| --- " * (1 + len(TASKS)) + "|")
        for name in methods():
            expected = [predicted(name, T, shared=chosen.shared) if measure == "error" else None for T in TASKS]
            cells = [cell(found[T][name][:, number], each) for T, each in zip(TASKS, expected, strict=True)]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
