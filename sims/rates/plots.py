"""Pictures of rates: measured errors with their intervals on the predicted curves, one panel per method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loraml_theory.harness import plotting
from sims.methods import TITLES
from sims.rates.fits import Rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 6  # lines in a panel, at most; the fit uses all
WIDE = 3  # panels side by side, at most
NAMES = {
    "n": "number n of the test task's samples",
    "d": "dimension d",
    "k": "rank k of each task's shift",
    "T": "number T of retraining tasks",
    "N": "number N of each retraining task's samples",
}
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
    with plotting.figure(4.9 * across, 4.6 * down) as picture:
        panels = picture.subplots(down, across, squeeze=False, sharey=True)
        drawn = [(ax, rate, _panel(ax, rate)) for ax, rate in zip(panels.flat, rates, strict=False)]
        for ax, rate, ends in drawn:  # once all panels have widened the shared axis
            plotting.label_ends(ax, ends, x=float(rate.data.table.axis.max()), gap=0.055)
        for ax in list(panels.flat)[len(rates) :]:
            ax.remove()
        for row in panels:
            row[0].set_ylabel(error)
        axis, level = rates[0].data.axis, rates[0].criteria.confidence
        picture.suptitle(
            f"Error against the {NAMES[axis]}: means over truths with {100 * level:g} % intervals; lines: theory",
            fontsize="medium",
            x=0.01,
            horizontalalignment="left",
        )
        return plotting.save(picture, path)


def _panel(ax: Axes, rate: Rate) -> list[tuple[float, str, str]]:
    """Draw some of the lines, with the verdict as the title; return each line's end, label and colour."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    data, table = rate.data, rate.data.table
    x, mean, half, predicted = _means(rate)
    chosen = _chosen(table.line, predicted)
    varying = [name for name in data.lines[0] if len({data.lines[i][name] for i in chosen}) > 1]
    ends = []
    for place, line in enumerate(chosen):
        on = np.flatnonzero(table.line == line)[np.argsort(x[table.line == line])]
        colour = plotting.CYCLE[place % len(plotting.CYCLE)]
        ax.plot(x[on], predicted[on], color=colour, linewidth=1.4)
        marker = plotting.MARKERS[place % len(plotting.MARKERS)]
        ax.errorbar(x[on], mean[on], half[on], color=colour, marker=marker, markersize=5, linestyle="none", capsize=2)
        text = ", ".join(f"{name} = {data.lines[line][name]:g}" for name in varying)
        ends.append((float(predicted[on[-1]]), text, colour))
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xticks(np.unique(x))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.tick_params(axis="x", which="minor", bottom=False)
    ax.set_xlabel(NAMES[data.axis])
    slope, low, high, predicted_slope = map(plotting.decimals, (rate.slope.value, *rate.interval, rate.slope.predicted))
    ax.set_title(
        f"{TITLES[data.group['method']]}, rank {data.group['rank_rule']}\n"
        f"slope {slope} [{low}, {high}], predicted {predicted_slope}: {rate.verdict}",
        fontsize="small",
    )
    return ends if varying else []


def _means(rate: Rate) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return x, mean, half its interval's width (normal theory over truths) and prediction at every point."""
    from statistics import NormalDist

    table = rate.data.table
    counts = np.isfinite(table.errors).sum(0)
    spread = np.nanstd(table.errors, axis=0) / np.sqrt(np.maximum(counts - 1, 1))
    quantile = NormalDist().inv_cdf((1 + rate.criteria.confidence) / 2)
    return table.axis, np.nanmean(table.errors, axis=0), quantile * spread, np.nanmean(table.predicted, axis=0)


def _chosen(line: np.ndarray, predicted: np.ndarray) -> list[int]:
    """Choose lines of at least two points, evenly from the highest to the lowest predicted level."""
    levels = {int(i): float(np.mean(np.log(predicted[line == i]))) for i in np.unique(line)}
    order = sorted(levels, key=lambda i: -levels[i])
    places = np.unique(np.linspace(0, len(order) - 1, min(SHOWN, len(order))).round().astype(int))
    return [order[place] for place in places]
