"""The paper's linear figures: pictures with and without theory, and the numbers behind them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from io import StringIO
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from loraml_theory.harness import plotting
from loraml_theory.harness.atomic import write_whole
from sims.engines.engine import Engine
from sims.linear.runs import Curve, curves
from sims.linear.settings import LinearCell

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
OPTIMUM, FLOOR = (0, (5, 3)), (0, (1, 1.6))
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
    """Draw the paper's figure, every curve in one panel; return the files."""
    with plotting.figure(7.6, 4.8) as picture:
        ax = picture.subplots()
        for curve in found:
            _draw_curve(ax, curve, _colour(curve, found), "-" if curve.method == "LoRA-ML" else (0, (4, 1.5)))
        _frame(ax, found)
        ax.set_ylabel(found[0].variant.label)
        ax.set_title(_title(found), fontsize="medium", pad=10)
        ends = [(_end(c), f"{c.method}, {c.vary} = {c.value}", _colour(c, found)) for c in found]
        plotting.label_ends(ax, ends, x=float(found[0].steps[-1]))
        return plotting.save(picture, path)


def draw_theory(found: Sequence[Curve], path: Path) -> list[Path]:
    """Draw one panel per value, with both methods' closed-form optimum and predicted floor; return the files."""
    panels = [list(group) for _, group in groupby(found, key=lambda curve: curve.value)]
    with plotting.figure(3.4 * len(panels) + 1.2, 4.6) as picture:
        row = np.atleast_1d(picture.subplots(1, len(panels), sharey=True))
        for ax, group in zip(row, panels, strict=True):
            for curve in group:
                _, colour, dark = plotting.SHADES[curve.method]
                _draw_curve(ax, curve, colour, "-")
                ax.axhline(float(curve.optimum.mean()), color=dark, linestyle=OPTIMUM, linewidth=1.3)
                ax.axhline(float(curve.floor.mean()), color=plotting.INK, linestyle=FLOOR, linewidth=1.5)
            ax.set_title(
                f"{group[0].vary} = {group[0].value}, adapters of rank {group[0].cell.rank}", fontsize="medium"
            )
            _frame(ax, found)
        row[0].set_ylabel(found[0].variant.label)
        ends = [(_end(c), c.method, plotting.SHADES[c.method][1]) for c in panels[-1]]
        plotting.label_ends(row[-1], ends, x=float(found[0].steps[-1]))
        _theory_legend(picture)
        picture.suptitle(_title(found), fontsize="medium", x=0.01, horizontalalignment="left")
        return plotting.save(picture, path)


def _draw_curve(ax: Axes, curve: Curve, colour: str, line: Any) -> None:
    ax.fill_between(curve.steps, curve.errors.min(0), curve.errors.max(0), color=colour, alpha=0.16, linewidth=0)
    ax.plot(curve.steps, curve.errors.mean(0), color=colour, linestyle=line)


def _frame(ax: Axes, found: Sequence[Curve]) -> None:
    """Set the axes; iterations are logarithmic, since most of a long descent happens in its first tenth."""
    steps = found[0].steps
    ax.set_yscale("log")
    if steps[-1] >= LONG:
        ax.set_xscale("log")
    ax.set_xlim(max(float(steps[1]), 10) if steps[-1] >= LONG else 0, float(steps[-1]))
    ax.set_xlabel("fine-tuning iteration")


def _end(curve: Curve) -> float:
    return float(curve.errors[:, -1].mean())


def _colour(curve: Curve, found: Sequence[Curve]) -> str:
    values = sorted({other.value for other in found})
    return plotting.SHADES[curve.method][values.index(curve.value)]


def _title(found: Sequence[Curve]) -> str:
    """Return a title of two lines: the curves, and what is held fixed."""
    curve = found[0]
    cell, variant = curve.cell, curve.variant
    fixed = ", ".join(f"{name} = {getattr(cell, name)}" for name in "dkTNn" if name != curve.vary)
    return (
        f"Varying the {MEANINGS[curve.vary]}: mean and range of {len(curve.errors)} runs\n"
        f"{fixed}, noise {variant.noise(cell):g}; variant: {variant.name}"
    )


def _theory_legend(picture: Figure) -> None:
    from matplotlib.lines import Line2D

    entries = [
        Line2D([], [], color=plotting.GREY, label="gradient descent"),
        Line2D([], [], color=plotting.GREY, linestyle=OPTIMUM, linewidth=1.3, label="closed-form optimum"),
        Line2D([], [], color=plotting.INK, linestyle=FLOOR, linewidth=1.5, label="predicted floor"),
    ]
    picture.legend(handles=entries, loc="outside lower center", ncols=3)
