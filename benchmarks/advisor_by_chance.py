"""How often the advisor says that retraining helps: `python benchmarks/advisor_by_chance.py [--draws 200] [--power]`.

Adapters of one base are drawn and given to the advisor. Where they have nothing in common, retraining cannot help, and
at most one of 200 draws may be told so. With --power they share some columns of both factors: the share of draws that
is told so, by the number of shared columns (of four) and of tasks.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from torch import Tensor


class Case(NamedTuple):
    """Adapters of one module: tasks, shape, rank, scales of the rows of lora_A, the --rank given, shared columns."""

    T: int = 4
    shape: tuple[int, int] = (24, 20)
    rank: int = 4
    scales: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    asked: int | None = None
    shared: int = 0


DECAYING = (1.0, 0.6, 0.3, 0.15)
UNRELATED = (
    *(Case(T=T, shape=shape, rank=1, scales=(1.0,)) for T in (3, 4) for shape in ((24, 20), (8, 12))),
    Case(rank=2, scales=(1.0, 1.0)),
    Case(rank=8, scales=(1.0,) * 8),
    *(Case(T=T, scales=scales, asked=k) for T in (3, 4) for scales in (Case().scales, DECAYING) for k in (None, 1, 2)),
    Case(T=5, scales=DECAYING, asked=1),
    Case(shape=(8, 12), scales=DECAYING, asked=1),
    Case(shape=(64, 48), rank=8, scales=(*DECAYING, *DECAYING), asked=2),
)


def write_adapters(folder: Path, case: Case, seed: int) -> list[str]:
    """Write peft's files of drawn adapters; return them as words of the command."""
    import json

    from safetensors.torch import save_file

    draw = torch.Generator().manual_seed(seed)
    p, q = case.shape

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw)

    common = normal(case.shared, q), normal(p, case.shared)
    words = []
    for t in range(case.T):
        own = case.rank - case.shared
        A = torch.cat([common[0], normal(own, q)]) * torch.tensor(case.scales)[:, None]
        B = torch.cat([common[1], normal(p, own)], dim=1)
        (folder / str(t)).mkdir()
        name = "base_model.model.layer.lora_{}.weight"
        save_file({name.format("A"): A, name.format("B"): B}, str(folder / str(t) / "adapter_model.safetensors"))
        config = {"peft_type": "LORA", "r": case.rank, "lora_alpha": case.rank, "base_model_name_or_path": "a/base"}
        (folder / str(t) / "adapter_config.json").write_text(json.dumps(config), "utf-8")
        words.append(f"t{t}={folder / str(t)}")
    return words


def verdicts(case: Case, *, draws: int, seed: int = 0) -> Counter[str]:
    """Count what the advisor says of draws."""
    from realdata.advisor import AdviceSettings, advise, open_tasks
    from realdata.advisor.verdict import overall

    found: Counter[str] = Counter()
    for i in range(draws):
        with TemporaryDirectory() as folder:
            tasks = open_tasks(write_adapters(Path(folder), case, seed + i))
            found[overall(advise(tasks, AdviceSettings(rank=case.asked, draws=19))).verdict] += 1
    return found


def power(draws: int) -> Iterator[str]:
    """Yield a row for each number of tasks: the share of draws told that it helps, or is expected to."""
    yield "| tasks | 0 of 4 shared | 1 | 2 | 3 |\n| --- | --- | --- | --- | --- |"
    for T in (3, 4, 6, 8):
        found = [verdicts(Case(T=T, shared=shared), draws=draws) for shared in range(4)]
        yield f"| {T} | " + " | ".join(f"{told_to_help(each) / draws:.2f}" for each in found) + " |"


def told_to_help(found: Counter[str]) -> int:
    """Return the number of draws that are told that retraining helps, or is expected to."""
    return found["helps"] + found["expected to help"]


def main() -> None:
    """Print one line for each case."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--draws", type=int, default=200)
    options.add_argument("--power", action="store_true", help="planted shared columns instead")
    chosen = options.parse_args()
    if chosen.power:
        for line in power(chosen.draws):
            print(line, flush=True)
    else:
        for case in UNRELATED:
            print(case, dict(verdicts(case, draws=chosen.draws)), flush=True)


if __name__ == "__main__":
    main()
