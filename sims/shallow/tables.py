"""Tables of the shallow-network experiments: one row per run, setting and method; paired differences; curves."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from math import comb, inf
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from loraml_theory.harness.errors import InputError
from loraml_theory.harness.input_files import MEBIBYTE, read_text
from sims.methods import COMPARED
from sims.shallow.results import Result, Study
from sims.shallow.settings import VALUES, Variant

SETTING = ("d", "k", "T", "N", "n", "sigma", "epochs", "tuning_epochs")
MEASURED = ("start_loss", "retraining_loss", "untuned_error", "fresh_error", "in_sample_error", "tuning_loss")
RUN_COLUMNS = (
    "axis",
    "value",
    "method",
    "rank",
    "seed",
    "run",
    *SETTING,
    "solver",
    *MEASURED,
    "engine",
    "device",
    "precision",
)
CURVE_COLUMNS = (
    *("variant", "quantity", "axis", "value", "method", "rank", "seed", "runs", *SETTING, "solver"),
    *("iteration", "median", "low", "high"),
)


LARGEST = 32 * MEBIBYTE  # in memory a table is about 12 times as large


@dataclass(frozen=True, eq=False)
class Paired:
    """The comparison of both methods at one setting.

    Parameters
    ----------
    value, rank
        Value of what varies, and rank of the fine-tuned adapter.
    setting
        Everything that results depend on except seed and run, by column.
    runs
        Seed and number of the R runs that both methods have.
    meta, standard
        Errors of LoRA-ML and of standard retraining, ``(R,)``.
    """

    value: int
    rank: int
    setting: Mapping[str, Any]
    runs: tuple[tuple[int, int], ...]
    meta: np.ndarray
    standard: np.ndarray

    @property
    def differences(self) -> np.ndarray:
        """``log10(SR / LoRA-ML)`` of every run: above 0 where LoRA-ML is ahead."""
        return np.log10(self.standard / self.meta)


class Interval(NamedTuple):
    """A median with an interval, and the probability that it covers the population's median."""

    median: float
    low: float
    high: float
    confidence: float


def run_rows(found: Iterable[Result], study: Study) -> Iterator[dict[str, Any]]:
    """Yield the columns `RUN_COLUMNS` of every run, setting and method.

    ``start_loss`` and ``retraining_loss`` are sums over tasks of mean squared residuals, ``tuning_loss`` the test
    task's mean squared residual; errors are against targets without noise, ``untuned_error`` that of the base on
    fresh inputs.
    """
    descent = study.descent
    computed_by = {"engine": descent.name, "device": descent.device, "precision": descent.precision}
    for result in found:
        setting = {name: getattr(result.cell, name) for name in SETTING}
        for method, run in np.ndindex(result.retrained.loss.shape):
            tuned, retrained = result.tuned, result.retrained
            measured = (
                retrained.start_loss[method, run],
                retrained.loss[method, run],
                tuned.fresh_error[method, run, 0],
                tuned.fresh_error[method, run, -1],
                tuned.in_sample_error[method, run, -1],
                tuned.loss[method, run],
            )
            which = {"axis": result.vary, "value": result.value, "method": COMPARED[method], "rank": result.rank}
            numbers = dict(zip(MEASURED, (float(x) for x in measured), strict=True))
            yield {**which, "seed": study.seed, "run": run, **setting, "solver": study.solver, **numbers, **computed_by}


def runs_csv(rows: Iterable[dict[str, Any]]) -> str:
    """Return the table of runs; numbers are written in full, so that all other tables follow from it."""
    page = StringIO()
    writer = csv.DictWriter(page, RUN_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return page.getvalue()


def read_runs(path: Path) -> list[dict[str, Any]]:
    """Read a table of runs.

    Raises
    ------
    InputFileError
        If the file cannot be read.
    InputError
        If a column is missing or a number is invalid.
    """
    text = read_text(path, expected="a table of runs", limit=LARGEST)
    try:
        reader = csv.DictReader(StringIO(text, newline=""))
        if tuple(reader.fieldnames or ()) != RUN_COLUMNS:
            raise InputError(f"{path}: expected the columns {', '.join(RUN_COLUMNS)}")
        return [_typed(row) for row in reader]
    except InputError:
        raise
    except (csv.Error, TypeError, ValueError) as problem:
        raise InputError(f"{path}: is not a table of runs ({problem})") from None


def paired(rows: Iterable[dict[str, Any]], *, column: str = "fresh_error") -> list[Paired]:
    """Pair both methods over the runs that both have, by value and rank.

    Raises
    ------
    ValueError
        If a value has several settings, or a method's run occurs twice.
    """
    settings: dict[tuple[int, int], dict[str, Any]] = {}
    errors: dict[tuple[int, int], dict[str, dict[tuple[int, int], float]]] = {}
    for row in rows:
        place, run = (row["value"], row["rank"]), (row["seed"], row["run"])
        setting = {name: row[name] for name in (*SETTING, "rank", "solver")}
        if settings.setdefault(place, setting) != setting:
            raise ValueError(f"{row['axis']} = {place[0]}, rank {place[1]} comes with several settings")
        side = errors.setdefault(place, {method: {} for method in COMPARED})[row["method"]]
        if run in side:
            raise ValueError(f"{row['axis']} = {place[0]}: run {run[1]} of seed {run[0]} occurs twice")
        side[run] = row[column]
    found = []
    for (value, rank), methods in sorted(errors.items()):
        meta, standard = (methods[method] for method in COMPARED)
        runs = tuple(sorted(meta.keys() & standard.keys()))
        sides = (np.array([side[run] for run in runs]) for side in (meta, standard))
        found.append(Paired(value, rank, settings[value, rank], runs, *sides))
    return found


def over_axis(pairs: Sequence[Paired]) -> np.ndarray:
    """Return each run's mean of `Paired.differences` over all settings, ``(R,)``, for the runs common to all.

    The settings of a run share truth, data and starts where they can, so that only runs are independent.
    """
    shared = set.intersection(*(set(pair.runs) for pair in pairs))
    rows = [pair.differences[[run in shared for run in pair.runs]] for pair in pairs]
    return np.asarray(np.mean(rows, axis=0))


def median_interval(values: np.ndarray, *, confidence: float = 0.95) -> Interval:
    """Return the median with the shortest interval between order statistics of sufficient confidence, or the widest.

    The order statistics i and R + 1 - i of R independent values enclose the median of any distribution with probability
    ``1 - 2^(1-R) sum_{j<i} C(R, j)`` or more.

    Examples
    --------
    >>> median_interval(np.arange(10.0))
    Interval(median=4.5, low=1.0, high=8.0, confidence=0.978515625)
    """
    x, size = np.sort(np.asarray(values)), len(values)
    sure = [1 - 2.0 ** (1 - size) * sum(comb(size, j) for j in range(i)) for i in range(1, size // 2 + 1)]
    best = max(sum(value >= confidence for value in sure), 1)
    covered = sure[best - 1] if sure else 0.0
    return Interval(float(np.median(x)), float(x[best - 1]), float(x[size - best]), float(covered))


def curves_csv(found: Iterable[Result], study: Study, variant: Variant) -> str:
    """Return one row for every recorded iteration of every curve: median and central range of the runs."""
    page = StringIO()
    writer = csv.writer(page, lineterminator="\n")
    writer.writerow(CURVE_COLUMNS)
    for result in found:
        setting = [getattr(result.cell, name) for name in SETTING]
        for method, name in enumerate(COMPARED):
            about = [variant.name, variant.quantity, result.vary, result.value, name, result.rank]
            errors = getattr(result.tuned, variant.column)[method]
            for step, *numbers in zip(result.tuned.steps, *central(errors, variant), strict=True):
                about_runs = [study.seed, len(errors)]
                writer.writerow(
                    [*about, *about_runs, *setting, study.solver, int(step), *(f"{x:.6g}" for x in numbers)]
                )
    return page.getvalue()


def central(errors: np.ndarray, variant: Variant) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return median, low and high over runs, the first axis; of ten the 4th and the 8th, as in the paper."""
    x, runs = np.sort(errors, axis=0), len(errors)
    median = x[(runs - 1) // 2] if variant.lower_median else np.median(x, axis=0)
    low, high = central_places(runs)
    return median, x[low - 1], x[high - 1]


def central_places(runs: int) -> tuple[int, int]:
    """Return the first and the last place of the central range of ordered runs, counted from 1.

    Examples
    --------
    >>> central_places(10), central_places(2)
    ((4, 8), (1, 2))
    """
    return 3 * runs // 10 + 1, runs - 2 * runs // 10


def _typed(row: dict[str, str]) -> dict[str, Any]:
    """Turn the words of a row into numbers."""
    whole = {"value", "rank", "seed", "run", *SETTING} - {"sigma"}
    real = {"sigma", *MEASURED}
    typed: dict[str, Any] = {
        name: int(word) if name in whole else float(word) if name in real else word for name, word in row.items()
    }
    if typed["method"] not in COMPARED:
        raise ValueError(f"method {typed['method']!r}")
    if typed["axis"] not in VALUES or typed[typed["axis"]] != typed["value"]:
        raise ValueError(f"axis {typed['axis']!r}, value {typed['value']}")
    for name in ("fresh_error", "in_sample_error"):
        if typed[name] <= 0 or typed[name] == inf:  # a diverged run may have nan
            raise ValueError(f"{name} {typed[name]}")
    return typed
