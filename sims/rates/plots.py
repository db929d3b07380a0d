"""Pictures of rates: measured errors with their intervals on the predicted curves, one panel per method."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from loraml_theory.harness import plotting
from sims.methods import TITLES, family
from sims.rates.fits import Rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Setting: TypeAlias = tuple[tuple[str, float], ...]

SHOWN = 6  # lines in a panel, at most; the fit uses all
WIDE = 3  # panels side by side, at most
NAMES = {
    "n": "number n of the test task's samples",
    "d": "dimension d",
    "k": "rank k of each task's shift",
    "T": "number T of retraining tasks",
    "N": "number N of each retraining task's samples",
}
NEEDED = {"sr": "k(T+1)", "lora-ml": "k, 3k at T = 2"}
ERRORS = {
    "parameter": r"test error  $\|\hat W - W\|_F^2$",
    "in-sample": r"in-sample error  $\mathrm{tr}(\Delta S \Delta^T)$",
    "base": r"error of the base  $\|\hat A - A^\star\|_F^2$",
}


def write_pictures(out: Path, rates: Sequence[Rate], *, statistic: str = "parameter") -> list[Path]:
    """Write ``rates-<axis>.png`` for every axis that was fitted; return the paths."""
    paths: list[Path] = []
    for axis in dict.fromkeys(rate.data.axis for rate in rates):
        chosen = [rate for rate in rates if rate.data.axis == axis]
        paths += _picture(out / f"rates-{axis}.png", chosen, ERRORS[statistic])
    return paths


def _picture(path: Path, rates: Sequence[Rate], error: str) -> list[Path]:
    across = min(WIDE, len(rates))
    down = -(-len(rates) // across)
    with plotting.figure(3.1 * across + 0.6, 3.5 * down + 1) as picture:
        panels = picture.subplots(down, across, squeeze=False, sharey=True)
        looks = _looks(rates)
        for ax, rate in zip(panels.flat, rates, strict=False):
            _panel(ax, rate, looks)
        for ax in list(panels.flat)[len(rates) :]:
            ax.remove()
        for row in panels:
            row[0].set_ylabel(f"{error}, lower is better")
        _legend(picture, looks)
        axis, level = rates[0].data.axis, rates[0].criteria.confidence
        fixed = [part for part in next(iter(looks)) if all(part in setting for setting in looks)]
        shown = f"Marks: means over truths, {100 * level:g} % intervals; lines: theory"
        plotting.heading(picture, f"Error against the {NAMES[axis]}; {_written(fixed)}\n{shown}")
        return plotting.save(picture, path)


def _looks(rates: Sequence[Rate]) -> dict[Setting, tuple[str, str]]:
    """Return the settings that are drawn, the highest errors first, with a colour and a marker that hold in all panels.

    They are some of those that all panels have; where none is common to all, some of each panel's.
    """
    levels = [_levels(rate) for rate in rates]
    common = {setting: level for setting, level in levels[0].items() if all(setting in other for other in levels)}
    chosen = dict.fromkeys(setting for found in ([common] if common else levels) for setting in _spaced(found))
    looks = zip(cycle(plotting.CYCLE), cycle(plotting.MARKERS), strict=False)
    return dict(zip(chosen, looks, strict=False))


def _levels(rate: Rate) -> dict[Setting, float]:
    """Return the mean logarithm of the prediction for each setting, all that is fixed along a line."""
    table, predicted = rate.data.table, _means(rate)[3]
    return {
        tuple(line.items()): float(np.mean(np.log(predicted[table.line == place])))
        for place, line in enumerate(rate.data.lines)
    }


def _spaced(levels: Mapping[Setting, float]) -> list[Setting]:
    """Choose settings evenly from the highest to the lowest level."""
    order = sorted(levels, key=lambda setting: -levels[setting])
    places = np.unique(np.linspace(0, len(order) - 1, min(SHOWN, len(order))).round().astype(int))
    return [order[place] for place in places]


def _panel(ax: Axes, rate: Rate, looks: Mapping[Setting, tuple[str, str]]) -> None:
    """Draw some of the lines, with the verdict as the title."""
    x, mean, half, predicted = _means(rate)
    for place, line in enumerate(rate.data.lines):
        if (setting := tuple(line.items())) in looks:
            on = np.flatnonzero(rate.data.table.line == place)
            on, (colour, marker) = on[np.argsort(x[on])], looks[setting]
            ax.plot(x[on], predicted[on], color=colour, linewidth=1.4)
            ax.errorbar(
                x[on], mean[on], half[on], color=colour, marker=marker, mfc="white", linestyle="none", capsize=3
            )
    _frame(ax, np.unique(x), NAMES[rate.data.axis])
    group = rate.data.group
    slope, low, high, theory = map(plotting.decimals, (rate.slope.value, *rate.interval, rate.slope.predicted))
    ax.set_title(
        f"{TITLES[group['method']]},\n{_rank(group)}\nslope {slope} [{low}, {high}],\ntheory {theory}: {rate.verdict}",
        fontsize="small",
    )


def _rank(group: Mapping[str, str]) -> str:
    """Say the rank of the adapters."""
    if group["rank_rule"] == "needed":
        return f"adapters of rank {NEEDED[family(group['method'])]}"
    return f"adapters of rank {group['rank_rule']}"


def _frame(ax: Axes, ticks: np.ndarray, name: str) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xticks(ticks)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.tick_params(axis="x", which="minor", bottom=False)
    ax.set_xlabel(name)


def _legend(picture: Figure, looks: Mapping[Setting, tuple[str, str]]) -> None:
    """Name each setting by what differs between settings, if there are several."""
    from matplotlib.lines import Line2D

    same = set.intersection(*map(set, looks))
    entries = [
        Line2D(
            [],
            [],
            color=colour,
            marker=marker,
            mfc="white",
            label=_written(part for part in setting if part not in same),
        )
        for setting, (colour, marker) in looks.items()
    ]
    if len(entries) > 1:
        picture.legend(handles=entries, loc="outside lower center", ncols=3)


def _written(parts: Iterable[tuple[str, float]]) -> str:
    return ", ".join(plotting.setting(name, value) for name, value in parts)


def _means(rate: Rate) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return x, mean, half its interval's width (normal theory over truths) and prediction at every point."""
    from statistics import NormalDist

    table = rate.data.table
    counts = np.isfinite(table.errors).sum(0)
    spread = np.nanstd(table.errors, axis=0) / np.sqrt(np.maximum(counts - 1, 1))
    quantile = NormalDist().inv_cdf((1 + rate.criteria.confidence) / 2)
    return table.axis, np.nanmean(table.errors, axis=0), quantile * spread, np.nanmean(table.predicted, axis=0)
