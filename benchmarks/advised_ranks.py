"""The advised rank against where the test error stops falling: `python benchmarks/advised_ranks.py FILE --seeds 8`.

For each seed and each of the five pairs of classes of digits (or CIFAR-10, by --data), as in `advisor_on_images.py`: a
start is retrained on the other four pairs and fine-tuned in full on each of them, and the advisor is asked about these
checkpoints, with the start as their base. The pair left out is then fine-tuned from the start by LoRA of several ranks.
Of digits every seed draws its own test images.

With --planted the tasks are matrices instead: a base and shifts of a known rank, of equal or decaying singular values,
in noise of several sizes, which the new task's matrix has as well. Its error is that of the best fit of each rank to
that matrix, where 50 is that of rank 0.

FILE has a line of JSON for each case; cases that it has are not computed again, so the command can be stopped.

The mean error of a pair over seeds *stops falling* at the least rank from which no larger one lowers it by more than
`LEAST_GAIN` points; the 90 % interval is of the bootstrap over seeds. Rules are compared on even seeds, and reported on
odd ones, by the share of cases whose rank is within a factor of two of where the error of the pair stops falling there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

RANKS = (1, 2, 4, 8, 16, 32)
PLANTED = tuple((k, decay, noise) for k in (1, 2, 3, 5, 8) for decay in (1.0, 0.6) for noise in (0.02, 0.1, 0.3))
PAIRS, FACTOR, LEAST_GAIN, RESAMPLES, DRAWS = 5, 2, 1.0, 2000, 20
Values = NDArray[np.float64]


def case(seed: int, pair: int, *, data: Path | None, profile: str) -> dict[str, Any]:
    """Return the advice, the singular values of the checkpoints' shifts, and the errors of the pair left out."""
    import torch
    from advisor_on_images import Study, advised

    from realdata.vision import digits, sources

    torch.set_num_threads(1)
    open_images = sources.open_images

    def rotated(*given: Any, **options: Any) -> Any:
        source = open_images(*given, **options)
        classes, moved = len(source.class_names), 2 * pair + 2
        names = source.class_names[moved:] + source.class_names[:moved]

        def part(split: Any) -> Any:
            return replace(split, labels=(split.labels - moved) % classes)

        return replace(source, class_names=names, train=part(source.train), test=part(source.test))

    with patch.object(digits, "SEED", seed), patch.object(sources, "open_images", rotated):
        made = Study(seed, data=data, profile=profile)
        start = {name: tensor.clone() for name, tensor in made.start.state_dict().items()}
        states = {task.name: made.checkpoint(task, rank=None) for task in made.tasks}
        with TemporaryDirectory() as folder:
            found = advised(states, start, None, Path(folder))[0]
        errors = {rank: made.error(start, rank) for rank in RANKS}
    layers = [layer["name"] for layer in found["layers"]]
    shifts = {
        name: [
            torch.linalg.svdvals((state[name] - start[name]).flatten(1).double()).tolist() for state in states.values()
        ]
        for name in layers
    }
    shapes = {name: list(start[name].flatten(1).shape) for name in layers}
    return {
        **{"seed": seed, "pair": pair, "advised": found["overall"]["rank_base_share"]},
        **{"above_noise": found["overall"]["rank_base"], "errors": errors, "shifts": shifts, "shapes": shapes},
    }


def planted_case(seed: int, number: int) -> dict[str, Any]:
    """Return the same of matrices 40 x 30, of a case of `PLANTED`: rank, decay of the singular values, noise."""
    import torch
    from advisor_on_images import advised

    k, decay, noise = PLANTED[number]
    rng = np.random.default_rng([seed, number])
    start = rng.standard_normal((40, 30))

    def task() -> tuple[Values, Values]:
        U, V = (np.linalg.qr(rng.standard_normal((size, k)))[0] for size in (40, 30))
        shift = U * (10 * decay ** np.arange(k)) @ V.T
        return shift, shift + noise * rng.standard_normal((40, 30))

    shifts = [task()[1] for _ in range(PAIRS - 1)]
    states = {f"t{t}": {"w": torch.from_numpy(start + shift)} for t, shift in enumerate(shifts)}
    with TemporaryDirectory() as folder:
        found = advised(states, {"w": torch.from_numpy(start)}, None, Path(folder))[0]["overall"]
    errors = np.zeros(len(RANKS))
    for _ in range(DRAWS):
        shift, seen = task()
        left, values, right = np.linalg.svd(seen)
        fits = [(left[:, :rank] * values[:rank][: len(right)]) @ right[:rank] for rank in (min(r, 30) for r in RANKS)]
        errors += [50 * float(np.sum((fit - shift) ** 2) / np.sum(shift**2)) / DRAWS for fit in fits]
    return {
        **{"seed": seed, "pair": number, "advised": found["rank_base_share"], "above_noise": found["rank_base"]},
        **{"errors": dict(zip(RANKS, errors.tolist(), strict=True)), "shapes": {"w": [40, 30]}},
        "shifts": {"w": [np.linalg.svd(shift, compute_uv=False).tolist() for shift in shifts]},
    }


def stops_falling(errors: Values) -> int:
    """Return the least rank from which no larger one lowers the error by more than `LEAST_GAIN`; ``(ranks,)``."""
    return next(
        rank
        for at, rank in enumerate(RANKS)
        if at + 1 == len(RANKS) or errors[at] - errors[at + 1 :].min() <= LEAST_GAIN
    )


def interval(errors: Values) -> tuple[int, int]:
    """Return the 90 % interval of where the mean error stops falling, by drawing seeds again; ``(seeds, ranks)``."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(errors), size=(RESAMPLES, len(errors)))
    found = [stops_falling(errors[rows].mean(axis=0)) for rows in drawn]
    low, high = np.quantile(found, (0.05, 0.95), method="nearest")
    return int(low), int(high)


def energy_rank(case: Mapping[str, Any], share: float) -> int:
    """Return the one rank for all layers that reaches a share of a shift's energy; the median over tasks."""
    ranks = []
    for task in zip(*case["shifts"].values(), strict=True):
        tails = np.zeros(1 + max(map(len, task)))
        for values in task:
            energies = np.square(values)
            tails[: len(values)] += energies[::-1].cumsum()[::-1]
        ranks.append(int(np.argmax(tails <= (1 - share) * tails[0])))
    return int(np.ceil(np.median(ranks)))


def effective_rank(case: Mapping[str, Any]) -> int:
    """Return exp of the entropy of the energies (Roy and Vetterli, 2007), the mean over layers by their energy."""
    ranks = []
    for task in zip(*case["shifts"].values(), strict=True):
        energies = [np.square(values) for values in task]
        each = [np.exp(-np.sum(p * np.log(p))) for p in (own[own > 0] / own.sum() for own in energies)]
        ranks.append(np.average(each, weights=[own.sum() for own in energies]))
    return int(np.ceil(np.median(ranks)))


def hard_threshold_rank(case: Mapping[str, Any], over_layers: Callable[[Sequence[int]], float]) -> int:
    """Return how many singular values exceed omega(beta) times their median (Gavish and Donoho, 2014)."""
    ranks = []
    for task in zip(*case["shifts"].values(), strict=True):
        counts = []
        for values, shape in zip(task, case["shapes"].values(), strict=True):
            beta = min(shape) / max(shape)
            omega = 0.56 * beta**3 - 0.95 * beta**2 + 1.82 * beta + 1.43
            counts.append(int(np.sum(np.array(values) > omega * np.median(values))))
        ranks.append(over_layers(counts))
    return int(np.ceil(np.median(ranks)))


RULES: Mapping[str, Callable[[Mapping[str, Any]], int]] = {
    "95 % of the energy (the advisor)": lambda case: case["advised"],
    **{
        f"{share} % of the energy": (lambda case, share=share: energy_rank(case, share / 100))
        for share in (50, 60, 70, 80, 90, 95, 98, 99)
    },
    "above the noise (Kritchman and Nadler)": lambda case: case["above_noise"],
    "hard threshold, largest layer": lambda case: hard_threshold_rank(case, max),
    "hard threshold, median layer": lambda case: hard_threshold_rank(case, lambda counts: float(np.median(counts))),
    "effective rank": effective_rank,
    "always 4": lambda _: 4,
    "always 8": lambda _: 8,
}


def errors_of(cases: Sequence[Mapping[str, Any]], pair: int) -> Values:
    """Return the errors of a pair, ``(seeds, ranks)``."""
    return np.array([[one["errors"][str(rank)] for rank in RANKS] for one in cases if one["pair"] == pair])


def within(cases: Sequence[Mapping[str, Any]], rule: Callable[[Mapping[str, Any]], int]) -> float:
    """Return the share of cases whose rank is within a factor of two of where the error of their pair stops falling."""
    stops = {pair: stops_falling(errors_of(cases, pair).mean(axis=0)) for pair in {one["pair"] for one in cases}}
    right = [rule(one) <= FACTOR * stops[one["pair"]] and stops[one["pair"]] <= FACTOR * rule(one) for one in cases]
    return sum(right) / len(right)


def pairs(cases: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the errors, and where they stop falling, of each pair."""
    yield f"| pair | advised | {' | '.join(f'rank {r}' for r in RANKS)} | stops | 90 % |"
    yield "| --- " * (4 + len(RANKS)) + "|"
    for pair in sorted({one["pair"] for one in cases}):
        errors = errors_of(cases, pair)
        deviation = errors.std(axis=0, ddof=1) / len(errors) ** 0.5
        cells = " | ".join(f"{m:.1f} ± {s:.1f}" for m, s in zip(errors.mean(axis=0), deviation, strict=True))
        advised = sorted(one["advised"] for one in cases if one["pair"] == pair)
        low, high = interval(errors)
        found = f"{stops_falling(errors.mean(axis=0))} | {low} to {high}"
        yield f"| {2 * pair}, {2 * pair + 1} | {advised[0]} to {advised[-1]} | {cells} | {found} |"
    yield ""


def rules(cases: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield how often the rank of each rule is within a factor of two of where the error stops falling."""
    yield "| rule | ranks | even seeds | odd seeds |"
    yield "| --- | --- | --- | --- |"
    halves = [[one for one in cases if one["seed"] % 2 == odd] for odd in (0, 1)]
    for name, rule in RULES.items():
        ranks = [rule(one) for one in cases]
        shares = " | ".join(f"{100 * within(half, rule):.0f} %" for half in halves)
        yield f"| {name} | {min(ranks)} to {max(ranks)} | {shares} |"


def main() -> None:
    """Compute the cases that are missing, and print the tables."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("file", type=Path)
    options.add_argument("--seeds", type=int, default=8)
    options.add_argument("--pairs", default=",".join(map(str, range(PAIRS))))
    options.add_argument("--data", type=Path)
    options.add_argument("--profile", default="digits")
    options.add_argument("--planted", action="store_true")
    chosen = options.parse_args()
    chosen.file.touch()
    cases = [json.loads(line) for line in chosen.file.read_text("utf-8").splitlines()]
    there = {(one["seed"], one["pair"]) for one in cases}
    made: Callable[[int, int], dict[str, Any]] = partial(case, data=chosen.data, profile=chosen.profile)
    numbers: Sequence[int] = [int(pair) for pair in chosen.pairs.split(",")]
    if chosen.planted:
        made, numbers = planted_case, range(len(PLANTED))
    for seed in range(chosen.seeds):
        for number in numbers:
            if (seed, number) not in there:
                cases.append(json.loads(json.dumps(made(seed, number))))
                with chosen.file.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(cases[-1]) + "\n")
    for line in (*(() if chosen.planted else pairs(cases)), *rules(cases)):
        print(line)


if __name__ == "__main__":
    main()
