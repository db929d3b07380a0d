"""What chains say: means over seeds and orders, and paired differences with intervals."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from realdata.continual.records import ChainRecord, Tuned
from realdata.continual.scores import MEASURES, average_accuracy, matrix, measured
from realdata.continual.settings import METHODS
from realdata.intervals import Difference, MeanError, crossed_difference, mean_with_error, paired_difference

REFERENCE = "sequential"


class Line(NamedTuple):
    """A method from a start.

    Parameters
    ----------
    method, start
        Which.
    records
        Its chains.
    """

    method: str
    start: str
    records: tuple[ChainRecord, ...]


@dataclass(frozen=True)
class Compared:
    """The differences of two lines, paired by seed and order.

    Parameters
    ----------
    seeds
        Over seeds on these orders; None with one seed.
    everything
        Over seeds and orders; None with one order.
    """

    seeds: Difference | None
    everything: Difference | None

    @property
    def widest(self) -> Difference | None:
        """The one that speaks of most: over seeds and orders, or over seeds."""
        return self.everything or self.seeds


class Tuning(NamedTuple):
    """How a method's learning rate was chosen, and whether it is the least or the largest that was tried."""

    method: str
    start: str
    rate: float
    tuned: Tuned
    at_the_end: bool


class Chains:
    """The records of an experiment, by method and start, in the order of the methods' list.

    Parameters
    ----------
    records
        Of the chains, without trials.
    """

    def __init__(self, records: Iterable[ChainRecord]) -> None:
        self.records = tuple(records)
        groups: dict[tuple[str, str], list[ChainRecord]] = {}
        for record in self.records:
            groups.setdefault((record.key.start, record.key.method), []).append(record)
        ordered = sorted(
            groups.items(), key=lambda item: (item[0][0] != "plain", item[0][0], METHODS.index(item[0][1]))
        )
        self.lines = tuple(Line(method, start, tuple(own)) for (start, method), own in ordered)

    @property
    def starts(self) -> tuple[str, ...]:
        """Starts that have records."""
        return tuple(dict.fromkeys(line.start for line in self.lines))

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds that have records."""
        return tuple(sorted({record.key.seed for record in self.records}))

    @property
    def orders(self) -> dict[int, tuple[str, ...]]:
        """The orders that have records, by number."""
        return dict(sorted({record.key.order: record.tasks for record in self.records}.items()))

    def line(self, method: str, start: str = "plain") -> Line | None:
        """Return a line, None if it has no records."""
        return next((line for line in self.lines if line[:2] == (method, start)), None)

    def compare(self, line: Line, reference: Line, score: str) -> Compared | None:
        """Return the differences in average accuracy; None without a seed that has all orders of both.

        Orders are those that both lines have.
        """
        values, others = by_pair(line, score), by_pair(reference, score)
        both = set(values) & set(others)
        orders = sorted({order for _, order in both})
        seeds = sorted({seed for seed, _ in both if all((seed, order) in both for order in orders)})
        if not seeds:
            return None
        a, b = (np.array([[own[seed, order] for order in orders] for seed in seeds]) for own in (values, others))
        over_seeds = paired_difference(a.mean(axis=1), b.mean(axis=1)) if len(seeds) > 1 else None
        return Compared(over_seeds, crossed_difference(a, b, unit="orders") if len(orders) > 1 else None)

    def tunings(self) -> list[Tuning]:
        """Return how the learning rates were chosen."""
        found = []
        for line in self.lines:
            record = line.records[0]
            if record.tuned is not None and record.learning_rate is not None:
                rates = record.tuned.rates
                at_the_end = len(rates) > 1 and record.learning_rate in (min(rates), max(rates))
                found.append(Tuning(line.method, line.start, record.learning_rate, record.tuned, at_the_end))
        return found


def average(line: Line, score: str) -> MeanError:
    """Return the average accuracy over tasks at the end, over seeds and orders."""
    return mean_with_error([average_accuracy(record, score) for record in line.records])


def measure(line: Line, score: str, name: str) -> MeanError | None:
    """Return the mean of one of `MEASURES` over seeds and orders; None where the method has none."""
    values = [measured(record, score, name) for record in line.records]
    return None if None in values else mean_with_error([value for value in values if value is not None])


def mean_matrix(line: Line, order: int, score: str) -> NDArray[np.float64]:
    """Return the mean over seeds of the matrix of an order, ``(T + 1, T)``; NaN where there is no row."""
    own = [matrix(record, score) for record in line.records if record.key.order == order]
    return np.asarray(np.mean(own, axis=0), dtype=np.float64)


def seconds(line: Line) -> MeanError:
    """Return the processor's seconds of training of a chain."""
    return mean_with_error([sum(record.seconds) for record in line.records])


def csv_of(chains: Chains, scores: Sequence[str]) -> str:
    """Return one line for each chain and score, with its matrix row by row."""
    count = max(len(record.tasks) for record in chains.records)
    cells = [f"a_{row}_{column}" for row in range(count + 1) for column in range(1, count + 1)]
    page = StringIO()
    writer = csv.writer(page, lineterminator="\n")
    head = ["method", "start", "order", "seed", "tasks", "score", "learning_rate", "average", *MEASURES]
    writer.writerow([*head, "steps", "examples", "seconds", *cells])
    for record in chains.records:
        for score in scores:
            found = [measured(record, score, name) for name in MEASURES]
            values = ["" if np.isnan(x) else repr(float(x)) for x in matrix(record, score).ravel()]
            writer.writerow(
                [
                    *record.key[:4],
                    " ".join(record.tasks),
                    score,
                    "" if record.learning_rate is None else repr(record.learning_rate),
                    repr(average_accuracy(record, score)),
                    *("" if value is None else repr(value) for value in found),
                    sum(record.steps),
                    sum(record.examples),
                    round(sum(record.seconds), 3),
                    *values,
                ]
            )
    return page.getvalue()


def by_pair(line: Line, score: str) -> dict[tuple[int, int], float]:
    """Return the average accuracy of every chain by seed and order."""
    return {(record.key.seed, record.key.order): average_accuracy(record, score) for record in line.records}
