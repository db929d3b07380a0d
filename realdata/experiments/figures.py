"""Pictures of results: differences with intervals, learning curves, score against n and against rank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import sqrt
from textwrap import fill
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from loraml_theory.harness.plotting import INK
from realdata.experiments.drawing import LOOKS, Figure, Panel
from realdata.experiments.tables import Comparison, Results, TableCell
from realdata.experiments.wording import PERCENT, Scale
from realdata.intervals import MeanError, mean_with_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_Columns: TypeAlias = Mapping[str, list[float]]


def figures(results: Results) -> list[Figure]:
    """Return the figures that the records have enough axes for."""
    drawn = [
        _differences(results),
        _effects(results),
        *_against(results, "n"),
        *_against(results, "rank"),
        _fine_tuning_curves(results),
        _retraining_curves(results),
    ]
    return [figure for figure in drawn if figure is not None and figure.panels]


def n_text(n: int | None) -> str:
    """Write a number of examples, or that all are meant."""
    return "all" if n is None else str(n)


def setting(cell: TableCell) -> str:
    """Say what was fine-tuned and on how much."""
    return f"{cell.finetune}, n = {n_text(cell.n)}"


def first(results: Results) -> tuple[TableCell, ...]:
    """Return the cells of the first set of switches and the least rank, which the curves show."""
    cells = [cell for cell in results.cells if cell.quirks == results.quirks[0]] if results.cells else []
    rank = min((cell.rank for cell in cells), default=0)
    return tuple(cell for cell in cells if cell.rank == rank)


def _retraining_curves(results: Results) -> Figure | None:
    column = f"validation_{results.score}"
    runs: dict[str, dict[int, list[_Columns]]] = {}
    for cell in first(results):
        for record in results.runs(cell):  # one retraining serves several fine-tunings: each counts once
            runs.setdefault(cell.method, {}).setdefault(record.key.seed, [record.retraining_curve])
    curves = {method: _mean_curve(list(found.values()), column) for method, found in runs.items()}
    if not any(curves.values()):
        return None

    def draw(ax: Axes) -> None:
        drawn = {method: curve for method, curve in curves.items() if curve}
        _draw_curves(ax, drawn, score=results.score, scale=results.scale)

    caption = (
        f"{results.score.capitalize()} on held-out training examples of the retraining tasks, mean over tasks and "
        "seeds, of the model as each task uses it: with its own adapter or head, for reptile and fomaml after inner "
        "steps on the task, also at epoch 0. Bands: ± one standard error over seeds."
    )
    return Figure("retraining-curves", "Retraining", caption, (Panel("retraining tasks", draw),))


def _fine_tuning_curves(results: Results) -> Figure:
    panels: dict[str, dict[str, _Curve]] = {}
    for cell in first(results):
        alike: dict[object, list[_Columns]] = {}  # means over these come first, as in the tables
        for record in results.runs(cell):
            one = record.key.seed if results.spread == "seeds" else record.key.task
            alike.setdefault(one, []).append(record.curve)
        curve = _mean_curve(list(alike.values()), f"test_{results.score}")
        if curve:
            panels.setdefault(setting(cell), {})[cell.method] = curve

    def panel(title: str, curves: dict[str, _Curve]) -> Panel:
        return Panel(title, lambda ax: _draw_curves(ax, curves, score=f"test {results.score}", scale=results.scale))

    one_task = len(results.tasks) == 1
    caption = (
        f"Test {results.score} by epoch of fine-tuning, mean over {'' if one_task else f'{results.unit}s and '}seeds; "
        f"bands: ± one standard error over {results.spread}. Epoch 0 is before the first step."
    )
    made = tuple(panel(title, curves) for title, curves in panels.items())
    return Figure("fine-tuning-curves", "Fine-tuning", caption, made)


class _Curve(NamedTuple):
    epochs: NDArray[np.float64]
    mean: NDArray[np.float64]
    error: NDArray[np.float64]


def _mean_curve(groups: Sequence[Sequence[_Columns]], column: str) -> _Curve | None:
    """Average curves within groups, then over them, at the epochs that all have; NaN, no value there, is left out."""
    if not groups or any(column not in curve for curves in groups for curve in curves):
        return None
    tables = [
        [{e: v for e, v in zip(curve["epoch"], curve[column], strict=True) if not np.isnan(v)} for curve in curves]
        for curves in groups
    ]
    epochs = sorted(set.intersection(*(set(table) for own in tables for table in own)))
    if not epochs:
        return None
    values = np.array([np.mean([[table[epoch] for epoch in epochs] for table in own], axis=0) for own in tables])
    error = values.std(axis=0, ddof=1) / sqrt(len(values)) if len(values) > 1 else np.zeros(len(epochs))
    return _Curve(np.array(epochs), values.mean(axis=0), error)


def _draw_curves(ax: Axes, curves: dict[str, _Curve], *, score: str, scale: Scale) -> None:
    for method, curve in curves.items():
        look = LOOKS[method]
        every = max(1, len(curve.epochs) // 8)
        ax.plot(
            curve.epochs, curve.mean, color=look.colour, marker=look.marker, markevery=every, markersize=4, label=method
        )
        ax.fill_between(
            curve.epochs, curve.mean - curve.error, curve.mean + curve.error, color=look.colour, alpha=0.18, linewidth=0
        )
    ax.set_xlabel("epoch")
    _score_axis(ax, score, scale)


def _against(results: Results, axis: str) -> Iterator[Figure]:
    """Yield the figure of the score against n or rank, if two values of it were run."""
    cells = [cell for cell in results.cells if cell.quirks == results.quirks[0]]
    if axis == "n":
        cells = list(first(results))
    values = sorted({getattr(cell, axis) for cell in cells}, key=lambda value: (value is None, value or 0))
    if len(values) < 2:
        return
    panels: dict[str, list[TableCell]] = {}
    for cell in cells:
        panels.setdefault(cell.finetune if axis == "n" else setting(cell), []).append(cell)
    names = {"n": "n, examples fine-tuned on", "rank": "rank of the adapters"}
    caption = (
        f"Test {results.score} after the last epoch against {names[axis]}: mean ± one standard error over seeds. "
        "The positions are even, not to scale; marks are moved apart sideways."
    )

    def panel(title: str, chosen: Sequence[TableCell]) -> Panel:
        return Panel(title, lambda ax: _draw_against(ax, results, chosen, axis=axis, values=values, name=names[axis]))

    heading = "Against the number of examples" if axis == "n" else "Against the rank"
    made = tuple(panel(title, chosen) for title, chosen in panels.items())
    yield Figure(f"{results.score}-{axis}", heading, caption, made)


def _draw_against(
    ax: Axes, results: Results, cells: Sequence[TableCell], *, axis: str, values: Sequence[int | None], name: str
) -> None:
    methods = list(dict.fromkeys(cell.method for cell in cells))
    for i, method in enumerate(methods):
        mine = [cell for cell in cells if cell.method == method]
        means: list[MeanError] = [mean_with_error(list(results.by_seed(cell, "last").values())) for cell in mine]
        shift = 0.08 * (i - (len(methods) - 1) / 2)
        ax.errorbar(
            [values.index(getattr(cell, axis)) + shift for cell in mine],
            [mean.mean for mean in means],
            yerr=[mean.standard_error or 0.0 for mean in means],
            color=LOOKS[method].colour,
            marker=LOOKS[method].marker,
            capsize=2.5,
            label=method,
        )
    ax.set_xticks(range(len(values)), [n_text(value) for value in values])
    ax.set_xlabel(name)
    _score_axis(ax, f"test {results.score}", results.scale)


class _Mark(NamedTuple):
    """One difference with its interval: on which row, of which method."""

    row: str
    method: str
    found: Comparison


def _differences(results: Results) -> Figure:
    """Draw the difference of every method to the reference."""
    panels: dict[str, list[_Mark]] = {}
    for cell in first(results):
        found = results.to_reference(cell)
        if found is not None:
            panels.setdefault(f"fine-tuning by {cell.finetune}", []).append(
                _Mark(f"n = {n_text(cell.n)}", cell.method, found)
            )
    over = "seeds, on these test examples; none with one seed"
    if results.spread != "seeds":
        over = f"{results.spread}, for one seed"
    caption = (
        f"Test {results.score} after the last epoch, each method minus {results.reference}, with 95 % intervals by "
        f"Student's t over {over}. Right of 0 the method is ahead."
    )
    made = _forests(panels, results, against=results.reference)
    return Figure("differences", f"Against {results.reference}", caption, made)


def _effects(results: Results) -> Figure | None:
    """Draw the difference that each set of switches makes to none of them."""
    if () not in results.quirks:
        return None
    panels: dict[str, list[_Mark]] = {}
    for cell in results.cells:
        found = results.compare(cell, cell._replace(quirks=())) if cell.quirks else None
        if found is not None:
            row = cell.quirks[0] if len(cell.quirks) == 1 else "all"
            panels.setdefault(f"{setting(cell)}, rank {cell.rank}", []).append(_Mark(row, cell.method, found))
    caption = (
        f"Test {results.score} after the last epoch, each switch alone and all together minus none of them, with 95 % "
        "intervals by Student's t over seeds, on these test examples; none with one seed."
    )
    return Figure("quirks", "Switches of the reference code", caption, _forests(panels, results, against="no switch"))


def _forests(panels: dict[str, list[_Mark]], results: Results, *, against: str) -> tuple[Panel, ...]:
    unit = results.scale.of_differences
    label = fill(f"{results.score} minus that of {against}, {unit}; right is better", 46)

    def panel(title: str, marks: Sequence[_Mark]) -> Panel:
        return Panel(title, lambda ax: _draw_forest(ax, marks, results.scale.factor, label=label))

    return tuple(panel(title, marks) for title, marks in panels.items())


def _draw_forest(ax: Axes, marks: Sequence[_Mark], factor: float, *, label: str) -> None:
    rows = list(dict.fromkeys(mark.row for mark in marks))
    methods = list(dict.fromkeys(mark.method for mark in marks))
    ax.axvline(0, color=INK, linewidth=0.8)
    for row, method, found in marks:
        shown = found.last or found.tasks
        value, low, high = shown.estimate if shown else (found.everything.estimate.value,) * 3
        ax.errorbar(
            factor * value,
            rows.index(row) + 0.6 / len(methods) * (methods.index(method) - (len(methods) - 1) / 2),
            xerr=[[factor * (value - low)], [factor * (high - value)]],
            color=LOOKS[method].colour,
            marker=LOOKS[method].marker,
            markersize=4,
            linestyle="none",
            label=method,
        )
    ax.set_yticks(range(len(rows)), rows)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.grid(visible=False, axis="y")
    ax.set_xlabel(label)


def _score_axis(ax: Axes, name: str, scale: Scale) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    ax.yaxis.set_major_locator(MaxNLocator(nbins=6))
    if scale == PERCENT:
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{round(100 * value, 2):g} %"))
    ax.set_ylabel(name if scale == PERCENT else f"{name}, {scale.unit}")
