"""What records say: means over seeds, and paired differences with intervals."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import product
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from loraml_theory.harness.errors import InputError
from realdata.experiments.grid import FINETUNES, WAYS
from realdata.experiments.records import Record, run_id
from realdata.intervals import (
    Difference,
    MeanError,
    SignFlip,
    crossed_difference,
    group_difference,
    mean_with_error,
    paired_difference,
    sign_flip_test,
)
from realdata.peft_ml.budget import Count

When: TypeAlias = Literal["before", "last", "best"]
REFERENCE = "standard"
_LATE: tuple[When, When] = ("last", "best")
COLUMNS = (
    *("method", "finetune", "n", "rank", "quirks", "seed", "task", "score", "before", "last", "best", "best_epoch"),
    *("retraining_steps", "retraining_examples", "fine_tuning_steps", "fine_tuning_examples", "test_examples"),
    *("seconds", "device", "precision"),
)


class TableCell(NamedTuple):
    """What the runs of one line of a table share; they differ by seed and task."""

    method: str
    finetune: str
    n: int | None
    rank: int
    quirks: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """One cell minus another, seed by seed, in the unit of the score.

    Parameters
    ----------
    seeds
        Those that both have.
    last, best
        Mean difference after the last epoch and at the selected one, with Student's interval over seeds; None with
        fewer than two seeds.
    selected
        Mean difference at the selected epoch, however many seeds there are.
    everything
        After the last epoch, with an interval over seeds and test examples, or over seeds and tasks where there are
        several; with one seed over the second alone.
    tasks, sign_flip
        After the last epoch, the mean over seeds, task by task: with Student's interval over tasks, and the test by
        random signs of the tasks' differences; None with a single task.
    """

    seeds: tuple[int, ...]
    last: Difference | None
    best: Difference | None
    selected: float
    everything: Difference
    tasks: Difference | None
    sign_flip: SignFlip | None


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Parameters
    ----------
    cell
        Which.
    seeds
        Averaged over, each with all tasks.
    before, last, best
        Mean over seeds of the mean score over tasks, with the standard error over `Results.spread`.
    retraining, fine_tuning
        What a run spent; several where the runs differ.
    compared
        To standard retraining with everything else the same; None for itself or where there is none.
    """

    cell: TableCell
    seeds: tuple[int, ...]
    before: MeanError
    last: MeanError
    best: MeanError
    retraining: tuple[Count, ...]
    fine_tuning: tuple[Count, ...]
    compared: Comparison | None


class Results:
    """The records of an experiment by cell, seed and task.

    Parameters
    ----------
    records
        Of one experiment.
    score
        Which score the tables are of.
    unit
        What a task is of, in the singular.
    """

    def __init__(self, records: Iterable[Record], *, score: str, unit: str = "task") -> None:
        """Sort the records.

        Raises
        ------
        InputError
            If one lacks the score, two of one task were tested on different numbers of examples, or there is one task
            and the score is not the one that is 0 or 1 per example.
        """
        self.score = score
        self.unit = unit
        self.records = list(records)
        self.tasks = tuple(sorted({record.key.task for record in self.records}))
        self._check()
        found: dict[TableCell, dict[int, dict[str, Record]]] = {}
        for record in self.records:
            key = record.key
            cell = TableCell(key.method, key.finetune, key.n, key.rank, key.quirks)
            found.setdefault(cell, {}).setdefault(key.seed, {})[key.task] = record
        # a seed counts in a cell once all its tasks are there: a mean over other tasks is another quantity
        complete = {
            cell: {seed: tasks for seed, tasks in sorted(seeds.items()) if len(tasks) == len(self.tasks)}
            for cell, seeds in found.items()
        }
        self._found = {cell: seeds for cell, seeds in sorted(complete.items(), key=_position) if seeds}

    def _check(self) -> None:
        tested: dict[str, tuple[int, str]] = {}
        for record in self.records:
            if any(self.score not in scores for scores in (record.before, record.last, record.best)):
                raise InputError(f"{run_id(record.key)}: has no score {self.score!r}")
            size, first = tested.setdefault(record.key.task, (len(record.correct), run_id(record.key)))
            if len(record.correct) != size:
                raise InputError(
                    f"{run_id(record.key)}: was tested on {len(record.correct)} examples, {first} on {size}; "
                    "expected the same test set"
                )
            share = record.correct.count("1") / size
            if len(self.tasks) == 1 and abs(record.last[self.score] - share) > 1e-6:
                # what the examples of a single task came to is known of the first score only
                raise InputError(f"{run_id(record.key)}: its {self.score} is not the share of its correct examples")

    @property
    def cells(self) -> tuple[TableCell, ...]:
        """The cells with a complete seed, in the order of the tables."""
        return tuple(self._found)

    @property
    def seeds(self) -> tuple[int, ...]:
        """All seeds of complete cells."""
        return tuple(sorted({seed for seeds in self._found.values() for seed in seeds}))

    @property
    def quirks(self) -> tuple[tuple[str, ...], ...]:
        """The sets of switches that were run, none first, all together last."""
        return tuple(sorted({cell.quirks for cell in self._found}, key=lambda on: (len(on), on)))

    @property
    def spread(self) -> str:
        """What the standard errors of means are over: seeds, or where there is one seed only the several tasks."""
        return f"{self.unit}s" if len(self.seeds) == 1 and len(self.tasks) > 1 else "seeds"

    def runs(self, cell: TableCell) -> list[Record]:
        """Return the records of a cell, seed by seed."""
        return [record for tasks in self._found[cell].values() for _, record in sorted(tasks.items())]

    def by_seed(self, cell: TableCell, when: When) -> dict[int, float]:
        """Return the mean score over tasks of every seed."""
        return {
            seed: float(np.mean([getattr(record, when)[self.score] for record in tasks.values()]))
            for seed, tasks in self._found[cell].items()
        }

    def by_task(self, cell: TableCell, when: When) -> dict[str, float]:
        """Return the mean score over seeds of every task."""
        seeds = self._found[cell].values()
        return {
            task: float(np.mean([getattr(tasks[task], when)[self.score] for tasks in seeds])) for task in self.tasks
        }

    def mean(self, cell: TableCell, when: When) -> MeanError:
        """Return the mean over seeds and tasks, with its standard error over `spread`."""
        values = self.by_seed(cell, when) if self.spread == "seeds" else self.by_task(cell, when)
        return mean_with_error(list(values.values()))

    def row(self, cell: TableCell) -> Row:
        """Return the line of a cell."""
        runs = self.runs(cell)
        return Row(
            cell=cell,
            seeds=tuple(self._found[cell]),
            before=self.mean(cell, "before"),
            last=self.mean(cell, "last"),
            best=self.mean(cell, "best"),
            retraining=tuple(sorted({record.retraining for record in runs})),
            fine_tuning=tuple(sorted({record.fine_tuning for record in runs})),
            compared=None if cell.method == REFERENCE else self.compare(cell, cell._replace(method=REFERENCE)),
        )

    def compare(self, cell: TableCell, other: TableCell) -> Comparison | None:
        """Compare two cells seed by seed; None where they have no seed in common."""
        if other not in self._found:
            return None
        seeds = tuple(seed for seed in self._found[cell] if seed in self._found[other])
        if not seeds:
            return None
        last, best = (self._over_seeds(cell, other, seeds=seeds, when=when) for when in _LATE)
        a, b = self.by_seed(cell, "best"), self.by_seed(other, "best")
        at_best = float(np.mean([a[seed] - b[seed] for seed in seeds]))
        mine, theirs = self._table(cell, seeds), self._table(other, seeds)
        if len(self.tasks) == 1:
            everything = crossed_difference(mine, theirs, unit="test examples")
            return Comparison(seeds, last, best, at_best, everything, None, None)
        unit = f"{self.unit}s"
        flips = sign_flip_test(np.mean(mine - theirs, axis=0), rng=np.random.default_rng(0))
        everything = crossed_difference(mine, theirs, unit=unit)
        return Comparison(seeds, last, best, at_best, everything, group_difference(mine, theirs, unit=unit), flips)

    def _over_seeds(self, cell: TableCell, other: TableCell, *, seeds: Sequence[int], when: When) -> Difference | None:
        if len(seeds) < 2:
            return None
        a, b = self.by_seed(cell, when), self.by_seed(other, when)
        return paired_difference([a[seed] for seed in seeds], [b[seed] for seed in seeds])

    def _table(self, cell: TableCell, seeds: Sequence[int]) -> NDArray[np.float64]:
        """Return the score after the last epoch, ``(seeds, tasks)``, or for a single task ``(seeds, examples)``."""
        if len(self.tasks) > 1:
            return np.array([[self._found[cell][seed][task].last[self.score] for task in self.tasks] for seed in seeds])
        texts = [self._found[cell][seed][self.tasks[0]].correct for seed in seeds]
        return np.array([[float(character) for character in text] for text in texts])


def _position(item: tuple[TableCell, Mapping[int, object]]) -> tuple[object, ...]:
    """Return what cells are sorted by: as the commands' options list them, all examples after any number of them."""
    cell = item[0]
    return (
        *(len(cell.quirks), cell.quirks, cell.rank, FINETUNES.index(cell.finetune), cell.n is None, cell.n or 0),
        WAYS.index(cell.method),
    )


def csv_of(records: Iterable[Record], *, scores: Sequence[str]) -> str:
    """Return one line per run and score and a header, see `COLUMNS`."""
    page = StringIO()
    writer = csv.writer(page, lineterminator="\n")
    writer.writerow(COLUMNS)
    for record, score in product(records, scores):
        key = record.key
        writer.writerow(
            [
                *(
                    key.method,
                    key.finetune,
                    "all" if key.n is None else key.n,
                    key.rank,
                    "+".join(key.quirks),
                    key.seed,
                ),
                *(key.task, score, record.before[score], record.last[score], record.best[score], record.best_epoch),
                *(*record.retraining, *record.fine_tuning, len(record.correct)),
                *(record.provenance.get(name, "") for name in ("seconds", "device", "precision")),
            ]
        )
    return page.getvalue()


def percent(value: MeanError) -> str:
    """Write a share in percent, with its standard error if there is one.

    Examples
    --------
    >>> percent(MeanError(0.7642, 0.0061, 3)), percent(MeanError(0.5, None, 1))
    ('76.4 ± 0.6', '50.0')
    """
    mean = f"{100 * value.mean:.1f}"
    return mean if value.standard_error is None else f"{mean} ± {100 * value.standard_error:.1f}"


def points(found: Difference) -> str:
    """Write a difference of shares in percentage points with its interval.

    Examples
    --------
    >>> from realdata.intervals import Estimate
    >>> points(Difference(Estimate(0.0123, -0.004, 0.0286), 3, 1, "seeds"))
    '+1.2 [−0.4, +2.9]'
    """
    value, low, high = (_signed(100 * number) for number in found.estimate)
    return f"{value} [{low}, {high}]"


def latest(found: Comparison) -> str:
    """Write the difference after the last epoch, with its interval over seeds if there is one."""
    return _signed(100 * found.everything.estimate.value) if found.last is None else points(found.last)


def selected(found: Comparison) -> str:
    """Write the difference at the selected epoch, with its interval over seeds if there is one."""
    return _signed(100 * found.selected) if found.best is None else points(found.best)


def interval(found: Difference) -> str:
    """Write the interval of a difference of shares in percentage points.

    Examples
    --------
    >>> from realdata.intervals import Estimate
    >>> interval(Difference(Estimate(0.0123, -0.004, 0.0286), 3, 2000, "seeds and test examples"))
    '[−0.4, +2.9]'
    """
    return f"[{_signed(100 * found.estimate.low)}, {_signed(100 * found.estimate.high)}]"


def p_value(found: SignFlip | None) -> str:
    """Write the p-value of a sign-flip test.

    Examples
    --------
    >>> p_value(SignFlip(0.0234375, True)), p_value(SignFlip(0.0001, True)), p_value(None)
    ('0.023', '< 0.001', '')
    """
    if found is None:
        return ""
    return "< 0.001" if found.p_value < 0.0005 else f"{found.p_value:.3f}"


def _signed(number: float) -> str:
    rounded = round(number, 1) + 0.0  # never a negative zero
    return "0.0" if rounded == 0 else f"{rounded:+.1f}".replace("-", "−")


def count(found: Sequence[Count]) -> str:
    """Write gradient steps and examples, or their range where runs differ.

    Examples
    --------
    >>> count([Count(600, 38400)]), count([Count(25, 2500), Count(50, 5000)])
    ('600 / 38 400', '25–50 / 2 500–5 000')
    """
    parts = [sorted({entry[i] for entry in found}) for i in range(2)]
    texts = ["–".join(dict.fromkeys((grouped(values[0]), grouped(values[-1])))) for values in parts]
    return " / ".join(texts)


def grouped(number: int) -> str:
    """Write a whole number with its digits in groups of three.

    Examples
    --------
    >>> grouped(38400)
    '38 400'
    """
    return f"{number:,}".replace(",", " ")
