"""What the records of chains say of designs: the variances between seeds and between orders of the tasks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from realdata.continual.tables import REFERENCE, Chains, Line, by_pair, seconds
from realdata.experiments.power import Power, of_differences

BASES = ("lora-ml", "sr")
"""The start whose difference to another NL-continual is about, and the other."""


def chain_powers(chains: Chains, score: str) -> Iterator[Power]:
    """Yield what every difference in average accuracy says: to the reference, and of a method from both bases.

    A pair of lines without a seed that has all orders of both is omitted.
    """
    for line in chains.lines:
        if line.method != REFERENCE:
            yield from _power(line, chains.line(REFERENCE, line.start), score)
        if line.start == BASES[0]:
            yield from _power(line, chains.line(line.method, BASES[1]), score)


def _power(line: Line, other: Line | None, score: str) -> Iterator[Power]:
    if other is None:
        return
    mine, theirs = by_pair(line, score), by_pair(other, score)
    both = mine.keys() & theirs.keys()
    orders = sorted({order for _, order in both})
    seeds = sorted({seed for seed, _ in both if all((seed, order) in both for order in orders)})
    if not seeds:
        return
    table = np.array([[mine[seed, order] - theirs[seed, order] for order in orders] for seed in seeds])
    what = f"{line.method} from {line.start} − {other.method} from {other.start}"
    cost = len(orders) * (seconds(line).mean + seconds(other).mean)
    yield of_differences(what, table, retraining_seconds=0.0, fine_tuning_seconds=cost, unit="order")
