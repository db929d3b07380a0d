"""Pictures of chains: the matrix of every method as a heat map, and how the average of the tasks so far goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from loraml_theory.harness.plotting import INK
from realdata.continual.records import NO_ROWS_BETWEEN
from realdata.continual.scores import matrix
from realdata.continual.settings import METHODS
from realdata.continual.tables import Chains, Line, mean_matrix
from realdata.experiments.drawing import Figure, Look, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = ("#0072b2", "#56b4e9", "#d55e00", "#e69f00", "#8a6d00", "#cc79a7", "#7a2e8e", "#009e73", "#4d4d4d")
LOOKS = {method: Look(_COLOURS[at % len(_COLOURS)], "os^DvPX*<>hd"[at % 12]) for at, method in enumerate(METHODS)}
"""Colour and marker of every method; those that share a colour differ in their marker."""


def figures(chains: Chains, scores: Mapping[str, str]) -> list[Figure]:
    """Return the heat maps of the first order by the first score, and the curves over all orders by all.

    Parameters
    ----------
    chains
        The records.
    scores
        Titles of the scores by name.
    """
    score, title = next(iter(scores.items()))
    number, tasks = next(iter(chains.orders.items()))
    lines = [line for line in chains.lines if any(record.key.order == number for record in line.records)]
    several = len(chains.starts) > 1
    maps = tuple(
        Panel(
            f"{line.method}{f', from {line.start}' if several else ''}",
            partial(_heat_map, values=100 * mean_matrix(line, number, score), tasks=tasks),
        )
        for line in lines
        if line.method != "no-training"
    )
    whole = [line for line in chains.lines if line.method not in (*NO_ROWS_BETWEEN, "per-task")]
    curves = tuple(
        Panel(
            f"{name}{f', from {start}' if several else ''}",
            partial(_curves, lines=[line for line in whole if line.start == start], score=name),
        )
        for start in chains.starts
        for name in scores
    )
    drawn = [
        Figure(
            "matrix",
            "Matrices",
            f"{title.capitalize()} in percent, order {number}, mean over seeds: after each training (rows; 0 before "
            "any) on each task (columns), every row after saving and loading. Joint training has no rows between.",
            maps,
        ),
        Figure(
            "curves",
            "As tasks come",
            f"{' and '.join(f'{name} ({about})' for name, about in scores.items())} in percent, mean of the tasks "
            "learnt so far, after each task; mean over seeds and orders, bands: ± one standard error.",
            curves,
        ),
    ]
    return [figure for figure in drawn if figure.panels]


def _heat_map(ax: Axes, *, values: np.ndarray, tasks: Sequence[str]) -> None:
    ax.imshow(values, vmin=0, vmax=100, cmap="cividis", aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            ax.text(column, row, f"{value:.0f}", ha="center", va="center", color="white" if value < 55 else INK)
    ax.set_xticks(range(len(tasks)), [task[:10] for task in tasks])
    ax.set_yticks(range(len(tasks) + 1))
    ax.grid(visible=False)
    ax.set_ylabel("trainings")


def _curves(ax: Axes, *, lines: Sequence[Line], score: str) -> None:
    for line in lines:
        found = [matrix(record, score) for record in line.records]
        values = 100 * np.array([[a[at, :at].mean() for at in range(1, a.shape[1] + 1)] for a in found])
        at = np.arange(1, values.shape[1] + 1)
        mean = values.mean(axis=0)
        look = LOOKS[line.method]  # type: ignore[index]  # a method's name
        ax.plot(at, mean, color=look.colour, marker=look.marker, label=line.method)
        if len(values) > 1:
            error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
            ax.fill_between(at, mean - error, mean + error, color=look.colour, alpha=0.15, linewidth=0)
    ax.set_xticks(range(1, len(at) + 1) if lines else [])
    ax.set_xlabel("tasks learnt")
    ax.set_ylabel("percent")
