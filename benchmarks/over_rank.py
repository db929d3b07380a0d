"""Adapters of too large a rank while retraining, on images: `python benchmarks/over_rank.py [--data DIR] [--seeds 10]`.

For each seed a Mixer is retrained on the first tasks of the images (scikit-learn's digits, or CIFAR-10 by --data): by
LoRA-ML with adapters of each rank, and by standard retraining. The last task is then fine-tuned by LoRA of each rank.
Errors are of its test images, in per cent, mean over seeds; in brackets the 95 % interval over seeds of the difference
to LoRA-ML of rank 1, or of the rank given by --against, fine-tuned at the same rank. ML-8 says what theory expects:
with adapters that are too large the base is not determined, and a new task needs the rank of the adapters.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from advisor_on_images import Study

from realdata.intervals import mean_with_error, paired_difference

RANKS = (1, 4, 16)
STANDARD = "standard"


def errors(seed: int, *, data: Path | None, profile: str) -> dict[tuple[str, int], float]:
    """Return the test errors of one seed by base and rank of fine-tuning."""
    made = Study(seed, data=data, profile=profile)
    bases = {f"lora-ml, rank {rank}": made.retrained("lora-ml", rank).state_dict() for rank in RANKS}
    bases[STANDARD] = made.start.state_dict()
    return {(name, rank): made.error(state, rank) for name, state in bases.items() for rank in RANKS}


def main() -> None:
    """Print a row for each base."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path)
    options.add_argument("--profile", default="digits")
    options.add_argument("--seeds", type=int, default=10)
    options.add_argument("--against", type=int, choices=RANKS, default=RANKS[0])
    chosen = options.parse_args()
    found = []
    for seed in range(chosen.seeds):
        found.append(errors(seed, data=chosen.data, profile=chosen.profile))
        print(f"seed {seed}: {found[-1]}", file=sys.stderr, flush=True)
    reference = f"lora-ml, rank {chosen.against}"
    print(f"| retrained by | {' | '.join(f'fine-tuned at rank {rank}' for rank in RANKS)} |")
    print("| --- " * (1 + len(RANKS)) + "|")
    for name in dict.fromkeys(name for name, _ in found[0]):
        cells = []
        for rank in RANKS:
            values = [one[name, rank] for one in found]
            cell = f"{mean_with_error(values).mean:.1f}"
            if name != reference:
                low, high = paired_difference(values, [one[reference, rank] for one in found]).estimate[1:]
                cell += f" [{low:+.1f}, {high:+.1f}]"
            cells.append(cell.replace("-", "−"))
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
