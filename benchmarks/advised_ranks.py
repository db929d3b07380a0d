"""The advised rank against where the test error stops falling: `python benchmarks/advised_ranks.py [--seeds 3]`.

For each seed, as in `advisor_on_images.py`: a start is fine-tuned in full on all tasks of the images but the last, and
the advisor is asked about these checkpoints, with the start as their base. The last task is then fine-tuned by LoRA
from the start. Its error has stopped falling at the least rank from which no larger one is better by more than one
standard error of an error on the test images.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from advisor_on_images import Study, advised

RANKS = (1, 2, 4, 8, 16, 32)
FACTOR = 2


def stops_falling(errors: Mapping[int, float], examples: int) -> int:
    """Return the least rank that no larger one beats by more than a standard error; errors in per cent."""
    least = min(errors.values())
    allowed = least + (least * (100 - least) / examples) ** 0.5
    return min(rank for rank, error in errors.items() if error <= allowed)


def case(seed: int, *, data: Path | None, profile: str) -> tuple[int, dict[int, float], int]:
    """Return the advised rank, the errors by rank and the number of test images of one seed."""
    made = Study(seed, data=data, profile=profile)
    start = copy.deepcopy(made.start.state_dict())
    states = {task.name: made.checkpoint(task, rank=None) for task in made.tasks}
    with TemporaryDirectory() as folder:
        found = advised(states, start, None, Path(folder))[0]["overall"]
    rank = found["rank_base_share"]
    return rank, {each: made.error(start, each) for each in RANKS}, len(made.test.test)


def main() -> None:
    """Print a row for each seed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path)
    options.add_argument("--profile", default="digits")
    options.add_argument("--seeds", type=int, default=3)
    chosen = options.parse_args()
    print(f"| seed | advised | {' | '.join(f'rank {r}' for r in RANKS)} | stops | within {FACTOR} |")
    print("| --- " * (4 + len(RANKS)) + "|")
    for seed in range(chosen.seeds):
        rank, errors, examples = case(seed, data=chosen.data, profile=chosen.profile)
        stop = stops_falling(errors, examples)
        within = "yes" if rank <= FACTOR * stop and stop <= FACTOR * rank else "no"
        cells = " | ".join(f"{error:.1f}" for error in errors.values())
        print(f"| {seed} | {rank} | {cells} | {stop} | {within} |", flush=True)


if __name__ == "__main__":
    main()
