"""The paper's linear figures: pictures with and without theory, and the numbers behind them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from io import StringIO
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loraml_theory.harness import plotting
from loraml_theory.harness.atomic import write_whole
from sims.engines.engine import Engine
from sims.linear.runs import Curve, curves
from sims.linear.settings import LinearCell
from sims.methods import COMPARED, FAMILIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEANINGS: dict[str, str] = {
    "d": "dimension d",
    "T": "number T of retraining tasks",
    "N": "number N of each retraining task's samples",
    "n": "number n of the test task's samples",
    "k": "rank k of each task's shift",
}
RANKS = {"T": "k, 3k at T = 2", "k": "k"}  # of the adapters, where it depends on what varies
OPTIMUM, FLOOR = (8, (4, 4)), (4, (1, 3))  # period of the dashes, and the dashes
LONG = 5000
COLUMNS = (
    *("variant", "quantity", "axis", "value", "method", "d", "k", "T", "N", "n", "sigma", "noise", "rank", "runs"),
    *("iteration", "mean", "min", "max", "optimum", "predicted_floor"),
)


def linear_figure(
    vary: str,
    out: Path,
    engine: Engine,
    *,
    variant: str = "paper",
    seed: int = 0,
    base: LinearCell | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Path]:
    """Run one figure and write ``linear-<axis>.png``, ``.csv`` and ``linear-<axis>-theory.png``; return the paths."""
    found = curves(vary, engine, variant=variant, seed=seed, base=base, progress=progress)
    names = (f"linear-{vary}.png", f"linear-{vary}.csv", f"linear-{vary}-theory.png")
    plain, table, theory = (out / name for name in names)
    write_whole(table, as_csv(found))
    return [*draw_plain(found, plain), table, *draw_theory(found, theory)]


def as_csv(found: Sequence[Curve]) -> str:
    """Return one line for every recorded iteration of every curve."""
    page = StringIO()
    writer = csv.writer(page, lineterminator="\n")
    writer.writerow(COLUMNS)
    for curve in found:
        cell, variant = curve.cell, curve.variant
        about = [variant.name, variant.quantity, curve.vary, curve.value, curve.method]
        about += [*(getattr(cell, name) for name in ("d", "k", "T", "N", "n", "sigma")), f"{variant.noise(cell):g}"]
        about += [cell.rank, len(curve.errors)]
        ends = [f"{np.mean(values):.6g}" for values in (curve.optimum, curve.floor)]
        statistics = np.stack([curve.errors.mean(0), curve.errors.min(0), curve.errors.max(0)], axis=1)
        for step, row in zip(curve.steps, statistics, strict=True):
            writer.writerow([*about, int(step), *(f"{value:.6g}" for value in row), *ends])
    return page.getvalue()


def draw_plain(found: Sequence[Curve], path: Path) -> list[Path]:
    """Draw the paper's figure, one panel per method with a shade and a marker for each value; return the files."""
    with plotting.figure(8.8, 4.6) as picture:
        row = picture.subplots(1, len(COMPARED), sharey=True)
        ends = [_draw_method(ax, found, method) for ax, method in zip(row, COMPARED, strict=True)]
        row[0].set_ylabel(_error(found))
        for ax, labels in zip(row, ends, strict=True):  # once both panels have widened the shared axis
            plotting.label_ends(ax, labels, x=float(found[0].steps[-1]))
        plotting.heading(picture, _title(found))
        return plotting.save(picture, path)


def _draw_method(ax: Axes, found: Sequence[Curve], method: str) -> list[tuple[float, str, str]]:
    """Draw a method's curves, the bands below all lines; return each curve's end, label and colour."""
    mine = [curve for curve in found if curve.method == method]
    for place, (curve, colour) in enumerate(zip(mine, plotting.SHADES[method], strict=True)):
        _draw_curve(ax, curve, colour, plotting.MARKERS[place], place)
    ax.set_title(FAMILIES[method], fontsize="medium")
    _frame(ax, found)
    return [
        (_end(curve), f"{curve.vary} = {curve.value}{_rank(curve)}", colour)
        for curve, colour in zip(mine, plotting.SHADES[method], strict=True)
    ]


def draw_theory(found: Sequence[Curve], path: Path) -> list[Path]:
    """Draw one panel per value, with both methods' closed-form optimum and predicted floor; return the files."""
    panels = [list(group) for _, group in groupby(found, key=lambda curve: curve.value)]
    with plotting.figure(2.8 * len(panels) + 1, 4.2) as picture:
        row = np.atleast_1d(picture.subplots(1, len(panels), sharey=True))
        for ax, group in zip(row, panels, strict=True):
            for place, curve in enumerate(group):
                _draw_with_theory(ax, curve, place)
            ax.set_title(f"{group[0].vary} = {group[0].value}{_rank(group[0], 'adapters of rank')}", fontsize="medium")
            _frame(ax, found)
        row[0].set_ylabel(_error(found))
        ends = [(_end(c), c.method, plotting.SHADES[c.method][1]) for c in panels[-1]]
        plotting.label_ends(row[-1], ends, x=float(found[0].steps[-1]))
        _theory_legend(picture)
        plotting.heading(picture, _title(found))
        return plotting.save(picture, path)


def _draw_with_theory(ax: Axes, curve: Curve, place: int) -> None:
    """Draw a curve, its optimum and its floor; the dashes of one method lie in the gaps of the other's."""
    _, colour, dark = plotting.SHADES[curve.method]
    _draw_curve(ax, curve, colour, plotting.METHOD_MARKERS[curve.method], place)
    for level, (period, dashes), width in ((curve.optimum, OPTIMUM, 1.3), (curve.floor, FLOOR, 1.7)):
        ax.axhline(float(level.mean()), color=dark, linestyle=(place * period / 2, dashes), linewidth=width)


def _draw_curve(ax: Axes, curve: Curve, colour: str, marker: str, place: int) -> None:
    shown = curve.steps >= first_shown(curve.steps)
    steps, errors = curve.steps[shown], curve.errors[:, shown]
    plotting.band(ax, steps, errors.min(0), errors.max(0), colour)
    plotting.line(ax, steps, errors.mean(0), colour, place=place, marker=marker)


def first_shown(steps: np.ndarray) -> int:
    """Return the first iteration shown; a long descent, most of which is in its first tenth, has a logarithmic axis."""
    return max(int(steps[1]), 10) if steps[-1] >= LONG else 0


def _frame(ax: Axes, found: Sequence[Curve]) -> None:
    steps = found[0].steps
    ax.set_yscale("log")
    if steps[-1] >= LONG:
        ax.set_xscale("log")
    ax.set_xlim(first_shown(steps), float(steps[-1]))
    ax.set_xlabel("fine-tuning iteration")


def _error(found: Sequence[Curve]) -> str:
    return f"{found[0].variant.label}, lower is better"


def _end(curve: Curve) -> float:
    return float(curve.errors[:, -1].mean())


def _rank(curve: Curve, what: str = "rank") -> str:
    """Say the adapters' rank, if it depends on what varies."""
    rank = f"{curve.cell.rank} (3k)" if curve.cell.T == 2 else str(curve.cell.rank)
    return f", {what} {rank}" if curve.vary in RANKS else ""


def _title(found: Sequence[Curve]) -> str:
    """Return a title of two lines: the curves, and what is held fixed."""
    curve = found[0]
    cell, variant = curve.cell, curve.variant
    fixed = ", ".join(f"{name} = {getattr(cell, name)}" for name in "dkTNn" if name != curve.vary)
    rank = RANKS.get(curve.vary, str(cell.rank))
    return (
        f"Varying the {MEANINGS[curve.vary]}. Lines: mean of {len(curve.errors)} runs; bands: least to largest\n"
        f"{fixed}, noise {variant.noise(cell):g}; adapters of rank {rank}; variant: {variant.name}"
    )


def _theory_legend(picture: Figure) -> None:
    from matplotlib.lines import Line2D

    entries = [
        Line2D([], [], color=plotting.GREY, label="gradient descent"),
        Line2D([], [], color=plotting.GREY, linestyle=(0, OPTIMUM[1]), linewidth=1.3, label="closed-form optimum"),
        Line2D([], [], color=plotting.GREY, linestyle=(0, FLOOR[1]), linewidth=1.7, label="predicted floor"),
    ]
    picture.legend(handles=entries, loc="outside lower center", ncols=3)
