"""From a sweep's rows to one table for every method and axis: measured and predicted errors by truth and point."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from math import inf, nan
from pathlib import Path
from typing import TypeAlias

import numpy as np

from loraml_theory.harness.folders import FolderError
from sims import seeding
from sims.rates.floors import left_over
from sims.rates.slopes import Table
from sims.sweep.store import SPEC, read_begun

Columns: TypeAlias = Mapping[str, np.ndarray]
Predict: TypeAlias = Callable[[Columns, int], np.ndarray]

NUMBERS = ("d", "k", "T", "N", "n", "sigma")
AXES = ("n", "d", "k", "T", "N")
GROUP = ("method", "rank_rule", "start", "fine_tuning", "kind")
STATISTICS = {"parameter": "parameter_error", "in-sample": "in_sample_error", "base": "base_error"}
LEAST_TRUTHS = 8  # with fewer, a point is left out and a verdict open
HEAVY_TAILS = 3  # for n <= d + 3 the variance of the parameter error is infinite


@dataclass(frozen=True, eq=False)
class AxisTable:
    """Everything about one method along one axis.

    Parameters
    ----------
    group
        Method, rank rule, start, way of fine-tuning and kind of truth.
    axis
        Its name.
    table
        Errors and predictions by truth and point; the lines are numbered as in `lines`.
    lines
        The fixed values of each line, by name.
    rows, unconverged, unpredicted
        Numbers of applicable rows of the group, and of those left out: retraining or fine-tuning did not converge, or
        there is no prediction.
    signal_to_noise
        The value of FT-2's condition that 99 % of the rows exceed.
    """

    group: Mapping[str, str]
    axis: str
    table: Table
    lines: tuple[Mapping[str, float], ...]
    rows: int
    unconverged: int
    unpredicted: int
    signal_to_noise: float


def root_seed(folder: Path) -> int:
    """Return the root of every random number of a sweep's folder."""
    seed = read_begun(folder)["spec"].get("seed")
    if type(seed) is not int or seed < 0:
        raise FolderError(f"{folder / SPEC}: spec.seed: got {seed!r:.40}, expected a whole number >= 0")
    return seed


def predicted(columns: Columns, root: int) -> np.ndarray:
    r"""Return each row's predicted ``E ||Delta||_F^2``, NaN where there is none.

    From the population solution FT-2's finite-n form, and at finite N in addition ``(sigma^2 / N) left_over``. Where
    the rank does not reach the test task, the floor, the limit in n.
    """
    limit = np.where(np.isnan(columns["predicted_error"]), columns["predicted_floor"], columns["predicted_error"])
    return limit + _left_overs(columns, root)


def predicted_in_sample(columns: Columns, root: int) -> np.ndarray:
    """Return the same for ``E tr(Delta S Delta^T)``."""
    return np.asarray(columns["predicted_in_sample_error"]) + _left_overs(columns, root)


def predicted_base(columns: Columns, _root: int) -> np.ndarray:
    """Return each row's predicted ``E ||A_hat - A*||_F^2``."""
    return np.asarray(columns["predicted_base_error"])


PREDICTIONS: dict[str, Predict] = {
    "parameter": predicted,
    "in-sample": predicted_in_sample,
    "base": predicted_base,
}


def _left_overs(columns: Columns, root: int) -> np.ndarray:
    """Return the remains of the base's noise in every row; NaN for LoRA-ML at T = 2, where it depends on the solver."""

    @cache
    def of_truth(kind: str, seed: int, d: int, k: int, T: int, rank: int) -> float:
        truth = seeding.truth(root, seed, kind=kind, d=d, k=k, T=T)
        return left_over(truth.R[-1], truth.U_retraining, rank)

    def one(method: str, kind: str, seed: int, d: int, k: int, T: int, N: float, sigma: float, rank: int) -> float:
        if inf == N or sigma == 0:
            return 0.0
        if method.startswith("sr"):
            return sigma**2 / N * (d - min(rank, d)) ** 2 / T
        return nan if T == 2 or rank < k else sigma**2 / N * of_truth(kind, seed, d, k, T, rank)

    names = ("method", "kind", "seed", "d", "k", "T", "N", "sigma", "rank")
    return np.array([one(*row) for row in zip(*(columns[name].tolist() for name in names), strict=True)])


def axis_tables(
    columns: Columns, *, root: int, statistic: str = "parameter", predict: Predict | None = None
) -> Iterator[AxisTable]:
    """Yield a table for every method and every axis that takes two or more values somewhere.

    Parameters
    ----------
    columns
        A sweep's, see `sims.sweep.store`.
    root
        The spec's root seed, from which truths are drawn again where a prediction needs them.
    statistic
        ``parameter``, ``in-sample`` or ``base``, see `STATISTICS`.
    predict
        Replaces the prediction of the statistic.
    """
    applicable = columns["status"] != "not_applicable"
    if statistic == "parameter":
        applicable &= columns["n"] > columns["d"] + HEAVY_TAILS
    columns = _rows(columns, applicable)
    columns = {**columns, "predicted": (predict or PREDICTIONS[statistic])(columns, root)}
    names = np.array([" ".join(words) for words in zip(*(columns[name] for name in GROUP), strict=True)])
    for name in dict.fromkeys(names.tolist()):
        group = _rows(columns, names == name)
        for axis in AXES[statistic == "base" :]:  # the base does not depend on n
            found = _axis_table(group, axis, STATISTICS[statistic])
            if found is not None:
                yield found


def _axis_table(group: Columns, axis: str, statistic: str) -> AxisTable | None:
    """Return one table; LoRA-ML's along T begins at 3, where a new task's rank, and with it the error, jumps (ML-2)."""
    converged = (group["status"] == "converged") & np.isfinite(group[statistic])
    if statistic != "base_error":
        converged &= group["fine_tuning_status"] == "converged"
    meaningful = converged & (group["T"] >= (3 if axis == "T" and group["method"][0].startswith("lora-ml") else 2))
    comparable = meaningful & (group["predicted"] > 0) & (group[statistic] > 0) & np.isfinite(group[axis])
    kept = _rows(group, comparable)
    others = [name for name in NUMBERS if name != axis]
    settings, line = np.unique(np.stack([kept[name] for name in others], axis=1), axis=0, return_inverse=True)
    points, point = np.unique(np.stack([line.reshape(-1), kept[axis]], axis=1), axis=0, return_inverse=True)
    seeds, cluster = np.unique(kept["seed"], return_inverse=True)
    shape = (len(seeds), len(points))
    counts = np.zeros(shape)
    np.add.at(counts, (cluster, point.reshape(-1)), 1)
    sums = [np.zeros(shape), np.zeros(shape)]
    for total, values in zip(sums, (kept[statistic], kept["predicted"]), strict=True):
        np.add.at(total, (cluster, point.reshape(-1)), values)
    enough = np.sum(counts > 0, axis=0) >= min(LEAST_TRUTHS, len(seeds))
    lengths = np.bincount(points[enough, 0].astype(int), minlength=len(settings))
    long = enough & (lengths[points[:, 0].astype(int)] > 1)
    if not long.any():
        return None
    errors, predictions = (np.where(counts > 0, total / np.maximum(counts, 1), nan)[:, long] for total in sums)
    used, renumbered = np.unique(points[long, 0].astype(int), return_inverse=True)
    return AxisTable(
        {name: str(group[name][0]) for name in GROUP},
        axis,
        Table(points[long, 1], renumbered.reshape(-1), errors, predictions),
        tuple(dict(zip(others, map(float, settings[i]), strict=True)) for i in used),
        rows=len(converged),
        unconverged=int(np.sum(~converged)),
        unpredicted=int(np.sum(meaningful & ~comparable)),
        signal_to_noise=float(np.quantile(kept["signal_to_noise"], 0.01, method="lower")),
    )


def _rows(columns: Columns, chosen: np.ndarray) -> dict[str, np.ndarray]:
    return {name: values[chosen] for name, values in columns.items()}
