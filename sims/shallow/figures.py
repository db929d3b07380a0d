"""The figures of the shallow-network experiments: pictures, and the numbers behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from loraml_theory.harness import plotting
from loraml_theory.harness.atomic import write_whole
from sims.linear.figures import LONG, MEANINGS, first_shown
from sims.methods import COMPARED, FAMILIES
from sims.shallow.results import Result, Study, results
from sims.shallow.settings import VARIANTS, ShallowCell, Variant
from sims.shallow.tables import central, central_places, curves_csv, run_rows, runs_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DASHES: tuple[Literal["-", "--"], ...] = ("-", "--")
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
    with plotting.figure(2.5 * len(panels) + 0.8, 4.4) as picture:
        row = picture.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for ax, group in zip(row, panels, strict=True):
            for place, result in enumerate(group):
                _draw_result(ax, result, variant, place)
            _frame(ax, group)
        row[0].set_ylabel(f"{variant.label}, lower is better")
        _legend(picture, max(panels, key=len))
        plotting.heading(picture, _title(found, variant, solver))
        return plotting.save(picture, path)


def _draw_result(ax: Axes, result: Result, variant: Variant, place: int) -> None:
    """Draw both methods at one rank; every curve has its markers elsewhere."""
    for method, name in enumerate(COMPARED):
        median, low, high = central(getattr(result.tuned, variant.column)[method], variant)
        steps = result.tuned.steps
        shown = steps >= first_shown(steps)
        colour = plotting.SHADES[name][1]
        marker = plotting.METHOD_MARKERS[name]
        plotting.band(ax, steps[shown], low[shown], high[shown], colour)
        plotting.line(
            ax,
            steps[shown],
            median[shown],
            colour,
            place=len(COMPARED) * place + method,
            marker=marker,
            linestyle=DASHES[place],
        )


def _legend(picture: Figure, group: Sequence[Result]) -> None:
    """Name each method's colour and marker, and each rank's line where there are two."""
    from matplotlib.lines import Line2D

    entries = [
        Line2D([], [], color=plotting.SHADES[name][1], marker=plotting.METHOD_MARKERS[name], mfc="white", label=title)
        for name, title in FAMILIES.items()
    ]
    if len(group) > 1:
        entries += [
            Line2D([], [], color=plotting.GREY, linestyle=dashes, label=f"rank {result.rank} ({word})")
            for result, dashes, word in zip(group, DASHES, ("k", "3k"), strict=False)
        ]
    picture.legend(handles=entries, loc="outside lower center", ncols=len(entries))


def _frame(ax: Axes, group: Sequence[Result]) -> None:
    last = float(group[0].tuned.steps[-1])
    ax.set_yscale("log")
    if last >= LONG:
        ax.set_xscale("log")
    ax.set_xlim(first_shown(group[0].tuned.steps), max(last, 1))
    ax.set_xlabel("fine-tuning iteration")
    ranks = " and ".join(str(result.rank) for result in group)
    ax.set_title(f"{group[0].vary} = {group[0].value}, rank {ranks}", fontsize="medium")


def _title(found: Sequence[Result], variant: Variant, solver: str) -> str:
    """Return a title: what varies, the curves, and what is held fixed."""
    result = found[0]
    cell, runs = result.cell, result.retrained.loss.shape[1]
    fixed = ", ".join(f"{name} = {getattr(cell, name)}" for name in "dkTNn" if name != result.vary)
    retraining = str(cell.epochs) if solver == "adamw" else "second order"
    low, high = map(_ordinal, central_places(runs))
    return (
        f"Two-layer network, varying the {MEANINGS[result.vary]}\n"
        f"Lines: median of {runs} runs; bands: the {low} to the {high} smallest of their errors at each iteration\n"
        f"{fixed}, noise {cell.sigma:g}; {retraining} + {cell.tuning_epochs} steps of AdamW; variant: {variant.name}"
    )


def _ordinal(place: int) -> str:
    """Return a place from 1 on as a numeral.

    Examples
    --------
    >>> [_ordinal(place) for place in (1, 2, 4, 11, 23)]
    ['1st', '2nd', '4th', '11th', '23rd']
    """
    teen = place // 10 % 10 == 1
    return f"{place}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(place % 10, 'th')}"
