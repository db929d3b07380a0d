"""The figures of the shallow-network experiments: pictures, and the numbers behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraml_theory.harness import plotting
from loraml_theory.harness.atomic import write_whole
from sims.linear.figures import LONG, MEANINGS
from sims.methods import COMPARED
from sims.shallow.results import Result, Study, results
from sims.shallow.settings import VARIANTS, ShallowCell, Variant
from sims.shallow.tables import central, curves_csv, run_rows, runs_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DASHES = ("-", (0, (4, 1.5)))
"""Line styles of the smaller rank and of the larger."""


def shallow_figure(
    vary: str,
    out: Path,
    study: Study,
    *,
    variant: str = "paper",
    base: ShallowCell | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[list[Path], list[Result]]:
    """Run one figure and write ``shallow-<axis>.png``, ``.csv`` and ``shallow-<axis>-runs.csv``; return the paths."""
    chosen = VARIANTS[variant]
    found = results(vary, study, base=base, progress=progress)
    picture, curves, runs = (out / f"shallow-{vary}{end}" for end in (".png", ".csv", "-runs.csv"))
    write_whole(curves, curves_csv(found, study, chosen))
    write_whole(runs, runs_csv(run_rows(found, study)))
    pictures = draw(found, picture, chosen, solver=study.solver)
    return [*pictures, curves, runs], found


def draw(found: Sequence[Result], path: Path, variant: Variant, *, solver: str) -> list[Path]:
    """Draw one panel per value: both methods' median and central range, at every rank; return the files."""
    panels = [list(group) for _, group in groupby(found, key=lambda result: result.value)]
    with plotting.figure(3.2 * len(panels) + 1.4, 4.4) as picture:
        row = picture.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for ax, group in zip(row, panels, strict=True):
            for result, dashes in zip(group, DASHES, strict=False):
                _draw_result(ax, result, variant, dashes)
            _frame(ax, group)
        row[0].set_ylabel(variant.label)
        for ax, group in zip(row, panels, strict=True):
            if len(group) > 1 or ax is row[-1]:
                _label(ax, group, variant)
        picture.suptitle(_title(found, variant, solver), fontsize="medium", x=0.01, horizontalalignment="left")
        return plotting.save(picture, path)


def _draw_result(ax: Axes, result: Result, variant: Variant, dashes: Any) -> None:
    for method, name in enumerate(COMPARED):
        median, low, high = central(getattr(result.tuned, variant.column)[method], variant)
        colour = plotting.SHADES[name][1]
        ax.fill_between(result.tuned.steps, low, high, color=colour, alpha=0.16, linewidth=0)
        ax.plot(result.tuned.steps, median, color=colour, linestyle=dashes)


def _frame(ax: Axes, group: Sequence[Result]) -> None:
    """Set the axes; iterations are logarithmic, since most of a long descent happens in its first tenth."""
    last = float(group[0].tuned.steps[-1])
    ax.set_yscale("log")
    if last >= LONG:
        ax.set_xscale("log")
    ax.set_xlim(10 if last >= LONG else 0, max(last, 1))
    ax.set_xlabel("fine-tuning iteration")
    ranks = " and ".join(str(result.rank) for result in group)
    ax.set_title(f"{group[0].vary} = {group[0].value}, adapters of rank {ranks}", fontsize="medium")


def _label(ax: Axes, group: Sequence[Result], variant: Variant) -> None:
    ends = []
    for result in group:
        for method, name in enumerate(COMPARED):
            median, _, _ = central(getattr(result.tuned, variant.column)[method], variant)
            text = name if len(group) == 1 else f"{name}, rank {result.rank}"
            ends.append((float(median[-1]), text, plotting.SHADES[name][1]))
    plotting.label_ends(ax, ends, x=float(group[0].tuned.steps[-1]))


def _title(found: Sequence[Result], variant: Variant, solver: str) -> str:
    """Return a title of two lines: the curves, and what is held fixed."""
    result = found[0]
    cell = result.cell
    fixed = ", ".join(f"{name} = {getattr(cell, name)}" for name in "dkTNn" if name != result.vary)
    retraining = str(cell.epochs) if solver == "adamw" else "second order"
    return (
        f"Shallow network, varying the {MEANINGS[result.vary]}: median and central range (4th to 8th of ten) of "
        f"{result.retrained.loss.shape[1]} runs\n"
        f"{fixed}, noise {cell.sigma:g}; {retraining} + {cell.tuning_epochs} steps of AdamW; variant: {variant.name}"
    )
