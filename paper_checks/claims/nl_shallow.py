"""NL-shallow: the order of the methods in the paper's study of a two-layer network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import nan

import numpy as np

from paper_checks.claim import Control, Profile, judge
from paper_checks.evidence.empirical import EmpiricalClaim
from paper_checks.evidence.evidence import Evidence, Note, Outcome
from paper_checks.evidence.phrasing import number, plural
from paper_checks.evidence.shallow_runs import ShallowRuns
from sims.shallow.settings import RUNS, SOLVERS, VALUES, ShallowCell, cells
from sims.shallow.tables import SETTING, Paired, median_interval, over_axis

ALPHA = 0.05
"""Largest probability that any interval of a study misses its median."""
UNIT = "log10 of SR's test error over LoRA-ML's"
MEDIAN = "median of log10(SR / LoRA-ML), the ratio of test errors"
MARGIN = 3.0
"""Margin of a control, in powers of ten: no method is this far ahead."""


@dataclass(frozen=True)
class Statement:
    """A statement on the median of ``sign * log10(SR / LoRA-ML)``: above `margin`, or equal to it."""

    sign: int = 1
    margin: float = 0.0
    equal: bool = False


AHEAD = Statement()


def check(runs: ShallowRuns, _profile: Profile, *, stated: Statement = AHEAD) -> Iterator[Evidence | Note]:
    """Compare both methods' test errors run by run, in every setting of every axis.

    The evidence is the median over runs of ``log10(SR / LoRA-ML)`` with an interval between order statistics
    (`sims.shallow.tables.median_interval`) of level ``1 - ALPHA / settings``, so that all of them together hold with
    probability ``1 - ALPHA`` for any distribution. An axis agrees where each of its settings does; the mean over
    its settings is shown beside them and decides nothing.
    """
    for axis, pairs in runs.axes.items():
        found = _settings(runs, axis, stated)
        yield from found
        if all(len(pair.runs) for pair in pairs):
            what = f"each run's mean over the settings of {axis}"
            yield _evidence(runs, what, over_axis(pairs), stated=stated, decides=False)
        yield Note(runs.name, _said(axis, found))


def _settings(runs: ShallowRuns, axis: str, stated: Statement) -> list[Evidence]:
    """Return the evidence of every setting of an axis; those without runs are undecided."""
    there = {(pair.value, pair.rank): pair.differences for pair in runs.axes[axis]}
    return [
        _evidence(runs, f"{axis} = {place[0]}, rank {place[1]}", there.get(place, np.empty(0)), stated=stated)
        for place in sorted({*there, *_claimed(axis)})
    ]


def _claimed(axis: str) -> list[tuple[int, int]]:
    """Return value and rank of every setting of an axis."""
    return [(value, rank) for value, cell in cells(axis).items() for rank in cell.ranks]


def _evidence(
    runs: ShallowRuns, what: str, differences: np.ndarray, *, stated: Statement, decides: bool = True
) -> Evidence:
    level, size = 1 - ALPHA / runs.distinct, len(differences)
    said = partial(
        Evidence,
        "statistical",
        runs.name,
        predicted=stated.margin,
        relation="equal" if stated.equal else "above",
        tolerance=0.0,
        decides=decides,
        key=MEDIAN if decides else "",
    )
    if not size or not np.all(np.isfinite(differences)):
        got = "errors that are not finite" if size else "no run of both methods"
        return said(what=f"{what}, {got}", measured=nan, reason=f"{got}: nothing is decided", decidable=False)
    found = median_interval(stated.sign * differences, confidence=level)
    few = "" if found.confidence >= level else ", too few"
    return said(
        what=f"{what}, {plural(size, 'run')}{few}",
        measured=found.median,
        interval=(found.low, found.high),
        reason=f"none; between order statistics, {100 * found.confidence:.4g} %; "
        f"all of them hold together with 95 % if each has {100 * level:.4g} %",
        decidable=not few,
    )


def _said(axis: str, found: Sequence[Evidence]) -> str:
    """Return the verdict on an axis, and the settings where the order is not shown, with the ratio of errors."""
    missed = [_ratio(item) for item in found if item.outcome is not Outcome.AGREES]
    return f"{axis} {judge(found)}" + (f", not shown at {', '.join(missed)}" if missed else "")


def _ratio(item: Evidence) -> str:
    place = ", ".join(item.what.split(", ")[:2])
    if item.interval is None:
        return f"{place} (nothing to compare)"
    least, most = (number(10**x, 2) for x in item.interval)
    return f"{place} ({number(10**item.measured, 2)}, {least} to {most})"


def described(runs: ShallowRuns) -> str:
    """Return the number of runs, and their settings' differences from the paper's."""
    pairs = [(axis, pair) for axis, found in runs.axes.items() for pair in found]
    paper = {**asdict(ShallowCell()), "solver": SOLVERS[0]}
    changed = {
        name
        for axis, pair in pairs
        for name in (*SETTING, "solver")
        if name != axis and pair.setting[name] != paper[name]
    }
    counts = sorted({len(pair.runs) for _, pair in pairs})
    spread = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    settings = (
        f"settings that are not the paper's ({', '.join(sorted(changed))})" if changed else "the paper's settings"
    )
    return f"{spread} runs with {settings}"


@dataclass(frozen=True, kw_only=True)
class ShallowClaim(EmpiricalClaim[ShallowRuns]):
    """The claim, with a verdict for every axis."""

    def scope(self, subjects: Sequence[ShallowRuns]) -> str:
        """Return a sentence on the runs, and the verdict on every axis."""
        said = [_said(axis, _settings(runs, axis, AHEAD)) for runs in subjects for axis in runs.axes]
        return f"{super().scope(subjects)}By axis: {'; '.join(said)}. " if said else ""


def ordered(seed: int) -> ShallowRuns:
    """Draw runs on all axes in which LoRA-ML is ahead by a factor of ten."""
    return drawn_runs(seed, ratio=10.0)


def drawn_runs(seed: int, *, ratio: float, runs: int = RUNS) -> ShallowRuns:
    """Draw runs on all axes with lognormal errors, with this median ratio of SR's to LoRA-ML's."""
    rng = np.random.default_rng(seed)
    numbers = tuple((seed, run) for run in range(runs))

    def pair(axis: str, value: int, rank: int) -> Paired:
        setting = {**asdict(cells(axis)[value]), "rank": rank, "solver": SOLVERS[0]}
        meta, standard = (middle * 10 ** (0.1 * rng.standard_normal(runs)) for middle in (0.01, 0.01 * ratio))
        return Paired(value, rank, setting, numbers, meta, standard)

    return ShallowRuns("drawn runs", {axis: [pair(axis, *place) for place in _claimed(axis)] for axis in VALUES})


CLAIM = ShallowClaim(
    id="NL-shallow",
    title="A two-layer network: LoRA-ML is ahead of SR",
    statement=(
        r"For $y = c^\top \operatorname{sigmoid}((A + UU^\top) x)$ with the paper's settings, the test error on fresh "
        "inputs after "
        "retraining and fine-tuning at rank k (at T = 2 also 3k) is smaller with LoRA-ML than with SR, in the median "
        "of the paired ratio over draws of truth, data and starts, at every value of d, T, N, n and k that is varied."
    ),
    source="arXiv 2410.22264, the shallow-network experiment; values of N, n and k are this project's",
    experiment="shallow",
    command="loraml figure shallow --vary all --out DIR",
    described=described,
    assumptions=(),
    check=check,
    controls=(
        Control("mutated: SR is ahead", partial(check, stated=Statement(sign=-1)), ordered),
        Control("mutated: the methods do not differ", partial(check, stated=Statement(equal=True)), ordered),
        Control(
            f"mutated: LoRA-ML is ahead by a factor of more than {10**MARGIN:g}",
            partial(check, stated=Statement(margin=MARGIN)),
            ordered,
        ),
    ),
    unit=UNIT,
    keys=(MEDIAN,),
)
