"""Empirical claims: the compared methods, the evidence of their records, and records drawn for controls."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import nan
from typing import ClassVar, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from paper_checks.claim import AnyClaim, Assumption, Finding, Given, Nature, Recorded
from paper_checks.evidence.evidence import Evidence, Note
from paper_checks.evidence.experiment import RecordedExperiment
from paper_checks.evidence.phrasing import plural
from realdata.experiments.records import Record, RunKey
from realdata.experiments.tables import Results, TableCell
from realdata.experiments.wording import points
from realdata.intervals import Difference, paired_difference
from realdata.peft_ml.budget import Count
from realdata.peft_ml.settings import ADAPTED

POINTS = 100.0
SCORE = "accuracy"  # of drawn records
UNIT = "percentage points"
AHEAD = "accuracy of the method claimed to be ahead minus the other's"
FINE_TUNING = {"lora": "LoRA", "last-layer": "last layer", "full": "full fine-tuning"}


E = TypeVar("E", bound=Recorded)


@dataclass(frozen=True, kw_only=True)
class EmpiricalClaim(AnyClaim[E]):
    """A claim about an experiment, judged by the records of its runs; it never affects the exit status.

    Parameters
    ----------
    experiment
        The kind of experiment.
    described
        Names an experiment's data, and their and the settings' differences from the paper.
    command
        The command that makes records.
    """

    noun: ClassVar[str] = "experiment"

    nature: Nature = "empirical"
    unit: str = UNIT
    keys: tuple[str, ...] = (AHEAD,)
    experiment: str
    described: Callable[[E], str]
    command: str

    def subjects(self, given: Given) -> Sequence[E]:
        """Return the experiments of this kind; each kind has its own type."""
        return [cast(E, found) for found in given.experiments if found.kind == self.experiment]

    def scope(self, subjects: Sequence[E]) -> str:
        """Name the data, and their and the settings' differences from the paper."""
        named = dict.fromkeys(self.described(found) for found in subjects)
        return f"Judged on {'; and on '.join(named)}. " if named else ""


class Order(NamedTuple):
    """A statement that one method is ahead of another after the same fine-tuning.

    Parameters
    ----------
    ahead, behind
        Methods of retraining.
    finetune
        Fine-tuning of both.
    """

    ahead: str
    behind: str
    finetune: str

    @property
    def opposite(self) -> Order:
        """The statement that the second is ahead of the first."""
        return Order(self.behind, self.ahead, self.finetune)

    @property
    def adapted(self) -> bool:
        """Whether there are adapters, which have a rank."""
        return self.finetune == "lora" or not {self.ahead, self.behind}.isdisjoint(ADAPTED)

    def __str__(self) -> str:
        return f"{self.ahead} minus {self.behind}, {FINE_TUNING[self.finetune]}"


class Setting(NamedTuple):
    """The setting of an order: examples fine-tuned on, None for all, and the rank of adapters if there are any."""

    n: int | None
    rank: int


def _paper_mode(experiment: RecordedExperiment) -> Finding:
    found = sum(not record.key.quirks for record in experiment.results.records)
    return Finding(found > 0, found)


PAPER_MODE = Assumption("records without switches of the reference code (measured: how many)", _paper_mode)


def order_evidence(
    experiment: RecordedExperiment, order: Order, *, claimed: Setting, margin: float = 0.0
) -> Iterator[Evidence | Note]:
    """Compare two methods by their accuracy on the test set after the last epoch, in every setting that both have.

    In each, the evidence is the mean over seeds of the paired difference, with a 95 % interval over seeds and test
    examples (`realdata.intervals.crossed_difference`); it states that the difference is above `margin` percentage
    points. The claimed setting decides; with one seed, or none, it cannot be decided.
    """
    settings = _settings(experiment.results, order)
    claimed = _as_listed(claimed, order, settings)
    for setting in dict.fromkeys([claimed, *settings]):
        cells = _cells(order, setting)
        compared = experiment.results.compare(*cells) if set(cells) <= set(experiment.results.cells) else None
        if compared is None:
            if setting == claimed:
                yield no_evidence(experiment.name, f"{order} {_words(order, setting)}, no seed of both", margin)
            continue
        what = f"{order} {_words(order, setting)}, {_counted(compared.seeds)}"
        yield difference_evidence(experiment.name, what, compared.everything, margin=margin, decides=setting == claimed)
        if setting == claimed and compared.last and compared.best:
            text = f"last epoch {points(compared.last)}, selected epoch {points(compared.best)} {UNIT}"
            yield Note(experiment.name, f"{order} {_words(order, setting)}, over seeds alone: {text}")


def untrained_evidence(experiment: RecordedExperiment, order: Order, *, claimed: Setting) -> Iterator[Evidence]:
    """State that the first method of an order is more accurate before fine-tuning than after, over seeds."""
    what = f"{order.ahead} before minus after fine-tuning, {FINE_TUNING[order.finetune]}"
    results = experiment.results
    cell, _ = _cells(order, _as_listed(claimed, order, _settings(results, order)))
    before = results.by_seed(cell, "before") if cell in results.cells else {}
    if len(before) < 2:
        yield no_evidence(experiment.name, f"{what}, {_counted(before)}", 0.0)
        return
    found = paired_difference(list(before.values()), list(results.by_seed(cell, "last").values()))
    yield difference_evidence(experiment.name, f"{what}, {_counted(before)}", found, margin=0.0, decides=True)


def uncounted(experiment: RecordedExperiment) -> Iterator[Note]:
    """Name the records that are not used for the verdict."""
    on = [record.key.quirks for record in experiment.results.records if record.key.quirks]
    if on:
        names = ", ".join(sorted({name for quirks in on for name in quirks}))
        text = f"{plural(len(on), 'record')} with switches of the reference code on: not counted ({names})"
        yield Note(experiment.name, text)


def drawn_experiment(
    seed: int,
    *,
    kind: str,
    accuracies: Mapping[tuple[str, str], float],
    before: float = 0.5,
    rank: int = 1,
    tasks: Sequence[str] = ("drawn",),
    seeds: int = 5,
    examples: int = 500,
) -> RecordedExperiment:
    """Draw records of runs with the given accuracies.

    Parameters
    ----------
    accuracies
        Accuracies by method and fine-tuning, for all examples, seeds and tasks.
    before
        The accuracy of all before fine-tuning.
    rank
        Rank of the adapters.
        examples
        Test examples of each task.
    """
    rng = np.random.default_rng(seed)
    records = []
    for (method, finetune), accuracy in accuracies.items():
        for seed_, task in product(range(seeds), tasks):
            correct = rng.random(examples) < accuracy
            records.append(_record(RunKey(method, seed_, (), finetune, rank, None, task), correct, before=before))
    return RecordedExperiment("drawn records", kind, {}, Results(records, score=SCORE))


def _record(key: RunKey, correct: NDArray[np.bool_], *, before: float) -> Record:
    after = {SCORE: float(np.mean(correct))}
    return Record(
        key=key,
        retraining=Count(0, 0),
        fine_tuning=Count(0, 0),
        retraining_curve={"epoch": [0]},
        curve={"epoch": [0]},
        before={SCORE: before},
        last=after,
        best=after,
        best_epoch=0,
        correct="".join("01"[int(right)] for right in correct),
        provenance={},
    )


def _settings(results: Results, order: Order) -> list[Setting]:
    """Return the settings that both methods were run in; those without adapters at one rank only."""
    cells = set(results.cells)
    both = sorted(
        {Setting(cell.n, cell.rank) for cell in cells if set(_cells(order, Setting(cell.n, cell.rank))) <= cells},
        key=lambda setting: (setting.rank, setting.n is None, setting.n or 0),
    )
    return both if order.adapted else [setting for setting in both if setting.rank == both[0].rank]


def _as_listed(claimed: Setting, order: Order, settings: Sequence[Setting]) -> Setting:
    """Return the claimed setting; without adapters, with the nominal rank that the records have."""
    return claimed if order.adapted or not settings else claimed._replace(rank=settings[0].rank)


def _cells(order: Order, setting: Setting) -> tuple[TableCell, TableCell]:
    """Return the settings of the results of either method in the paper's mode."""
    ahead, behind = (TableCell(method, order.finetune, setting.n, setting.rank, ()) for method in order[:2])
    return ahead, behind


def _words(order: Order, setting: Setting) -> str:
    n = "on all examples" if setting.n is None else f"on n = {setting.n}"
    return f"{n}, rank {setting.rank}" if order.adapted else n


def _counted(seeds: Collection[int]) -> str:
    return plural(len(seeds), "seed") if len(seeds) > 1 else f"{plural(len(seeds), 'seed')}, too few"


def difference_evidence(name: str, what: str, found: Difference, *, margin: float, decides: bool) -> Evidence:
    """Return a difference of test accuracies as evidence that it is above a margin, in percentage points.

    Parameters
    ----------
    name, what
        The experiment, and which methods in which setting.
    found
        The difference; of one seed nothing is decided.
    margin
        In percentage points.
    decides
        Whether the claim is judged by it.
    """
    value, low, high = (POINTS * x for x in found.estimate)
    said = f"none; {UNIT} of test accuracy, paired 95 % interval over {found.over}"
    return Evidence(
        "statistical",
        name,
        what,
        value,
        margin,
        "above",
        0.0,
        said if found.seeds > 1 else f"{said}: other seeds may differ more, so nothing is decided",
        interval=(low, high),
        decidable=found.seeds > 1,
        decides=decides,
        key=AHEAD if decides else "",
    )


def no_evidence(name: str, what: str, margin: float) -> Evidence:
    """Return that a difference of test accuracies is not known."""
    reason = "too few records: at least two seeds that both have are needed"
    return Evidence("statistical", name, what, nan, margin, "above", 0.0, reason, decidable=False, key=AHEAD)
