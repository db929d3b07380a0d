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
from realdata.experiments.wording import PERCENT, Scale
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
        To the reference with everything else the same; None for itself or where there is none.
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
    first
        Whether it is the first score, which is known of every example.
    scale
        How it is written.
    reference
        The method that the others are compared with, where it was run; standard retraining where it was not.
    """

    def __init__(
        self,
        records: Iterable[Record],
        *,
        score: str,
        unit: str = "task",
        first: bool = True,
        scale: Scale = PERCENT,
        reference: str = REFERENCE,
    ) -> None:
        """Sort the records.

        Raises
        ------
        InputError
            If one lacks the score, two of one task were tested on different numbers of examples, or there is one task
            and the score is not the mean over its examples.
        """
        self.score = score
        self.unit = unit
        self.by_example = first
        self.scale = scale
        self.records = list(records)
        self.reference = reference if any(record.key.method == reference for record in self.records) else REFERENCE
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
            mean, told = float(_scores(record).mean()), record.last[self.score]
            if len(self.tasks) == 1 and self.by_example and abs(told - mean) > 1e-6 * max(1, abs(mean)):
                raise InputError(f"{run_id(record.key)}: its {self.score} is not the mean over its examples")

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
            compared=self.to_reference(cell),
        )

    def to_reference(self, cell: TableCell) -> Comparison | None:
        """Compare a cell with the reference's, everything else the same; None for itself or where there is none."""
        return None if cell.method == self.reference else self.compare(cell, cell._replace(method=self.reference))

    def compare(self, cell: TableCell, other: TableCell) -> Comparison | None:
        """Compare two cells seed by seed; None where they have no seed in common, or nothing to be paired over."""
        if other not in self._found or not (self.by_example or len(self.tasks) > 1):
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

    def example_differences(self, cell: TableCell, other: TableCell) -> list[NDArray[np.float64]] | None:
        """Return one cell's score minus another's after the last epoch, ``(seeds, examples)`` for every task.

        None where they have no seed in common, or the score is not known of every example.
        """
        seeds = [seed for seed in self._found[cell] if seed in self._found[other]]
        if not seeds or not self.by_example:
            return None

        def table(of: TableCell, task: str) -> NDArray[np.float64]:
            return np.array([_scores(self._found[of][seed][task]) for seed in seeds])

        return [table(cell, task) - table(other, task) for task in self.tasks]

    def _over_seeds(self, cell: TableCell, other: TableCell, *, seeds: Sequence[int], when: When) -> Difference | None:
        if len(seeds) < 2:
            return None
        a, b = self.by_seed(cell, when), self.by_seed(other, when)
        return paired_difference([a[seed] for seed in seeds], [b[seed] for seed in seeds])

    def _table(self, cell: TableCell, seeds: Sequence[int]) -> NDArray[np.float64]:
        """Return the score after the last epoch, ``(seeds, tasks)``, or for a single task ``(seeds, examples)``."""
        if len(self.tasks) > 1:
            return np.array([[self._found[cell][seed][task].last[self.score] for task in self.tasks] for seed in seeds])
        return np.array([_scores(self._found[cell][seed][self.tasks[0]]) for seed in seeds])


def _scores(record: Record) -> NDArray[np.float64]:
    """Return the first score of each test example after the last epoch."""
    return np.array([float(score) for score in record.correct])


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
