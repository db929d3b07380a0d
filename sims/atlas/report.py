"""The atlas as a table, with intervals for starts that share structures, and as a picture."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from fractions import Fraction
from io import StringIO
from math import isinf
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loraml_theory.harness import plotting
from loraml_theory.harness.atomic import write_whole
from sims.atlas.landscape import BASIN, GD, NEWTON, SIGMA, SOLVERS_AND_STARTS, MapCell
from sims.ensembles.proportions import clopper_pearson, korn_graubard

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OUTCOMES = ("reached", "spurious", "unconverged")
COLOURS = {"reached": "#d7e6f2", "spurious": "#d55e00", "unconverged": "#9a9da3"}
WORDS = {
    "reached": "reached the global minimum",
    "spurious": "ended in a spurious minimum (per cent of starts)",
    "unconverged": "not converged",
}
SHORT = {GD: "gradient descent", BASIN: "gradient descent,\nthen Newton", NEWTON: "Newton"}


def interval(counts: np.ndarray, starts: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of starts, from the counts of every structure.

    For one structure the starts are independent (Clopper and Pearson); several are a sample of structures, whose starts
    are dependent (Korn and Graubard).
    """
    if len(counts) == 1:
        return clopper_pearson(float(counts[0]), starts)
    return korn_graubard(counts / starts, trials=starts)


def rows(cells: Sequence[MapCell]) -> list[dict[str, str | int | float]]:
    """Return the table, one row per cell of the map and method."""
    return [_row(cell) for cell in cells]


def _row(cell: MapCell) -> dict[str, str | int | float]:
    row: dict[str, str | int | float] = {
        "kind": cell.kind,
        "d": cell.d,
        "k": cell.k,
        "T": cell.T,
        "N": "inf" if isinf(cell.N) else int(cell.N),
        "sigma": 0.0 if isinf(cell.N) else SIGMA,
        "solver": cell.solver,
        "start": cell.start,
        "structures": len(cell.reached),
        "starts": cell.starts,
    }
    for outcome in OUTCOMES:
        counts = getattr(cell, outcome)
        low, high = interval(counts, cell.starts)
        row |= {
            outcome: round(float(np.mean(counts)) / cell.starts, 6),
            f"{outcome}_low": round(low, 6),
            f"{outcome}_high": round(high, 6),
        }
    return row | {"structures_with_a_trapped_start": int(np.sum(cell.spurious > 0))} | _after_traps(cell)


def _after_traps(cell: MapCell) -> dict[str, str | float]:
    """Return medians and ranges over the spurious ends of what the test task needs there; empty where there is none."""
    found: dict[str, str | float] = {}
    for name, values in (("rank_after_trap", cell.ranks), ("error_after_trap", cell.errors)):
        for suffix, summary in (("", np.median), ("_low", np.min), ("_high", np.max)):
            found[name + suffix] = round(float(summary(values)), 6) if len(values) else ""
    return found


def write_table(cells: Sequence[MapCell], path: Path) -> None:
    """Write the table as CSV, whole or not at all."""
    table = rows(cells)
    text = StringIO()
    writer = csv.DictWriter(text, list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    write_whole(path, text.getvalue())


def draw(cells: Sequence[MapCell], path: Path) -> list[Path]:
    """Draw a map of squares for every method and sample size, T to the right, k/d upwards; return the files."""
    from matplotlib.patches import Patch

    cells = [cell for cell in cells if cell.kind == "generic"]
    samples = list(dict.fromkeys(cell.N for cell in cells))
    tasks, ranks = sorted({cell.T for cell in cells}), sorted({cell.k for cell in cells})
    order = sorted(SOLVERS_AND_STARTS, key=lambda method: ("small", "large", "spectral").index(method[1]))
    width, height = 1.1 + len(order) * (0.34 * len(tasks) + 0.1), 1.3 + len(samples) * (0.34 * len(ranks) + 0.15)
    with plotting.figure(width, height) as picture:
        axes = picture.subplots(len(samples), len(order), sharex=True, sharey=True, squeeze=False)
        for line, N in zip(axes, samples, strict=True):
            for ax, (solver, start) in zip(line, order, strict=True):
                here = [c for c in cells if (c.N, c.solver, c.start) == (N, solver, start)]
                _map(ax, here, tasks, ranks)
            line[0].set_ylabel("population" if isinf(N) else f"N = {N:g}, σ = {SIGMA:g}", labelpad=8)
        for ax, (solver, start) in zip(axes[0], order, strict=True):
            ax.set_title(f"{start} start\n{SHORT[solver]}", fontsize="small", loc="center")
        d = cells[0].d
        axes[0, 0].set_yticks(range(len(ranks)), [f"k/d = {Fraction(k, d)}" for k in ranks])
        axes[0, 0].set_xticks(range(len(tasks)), [f"T = {T}" if tasks[0] == T else str(T) for T in tasks])
        handles = [Patch(color=COLOURS[outcome], label=WORDS[outcome]) for outcome in OUTCOMES]
        handles.append(Patch(facecolor="none", edgecolor=plotting.FAINT, label="no spectral form: T < 3 or 3k > d"))
        picture.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize="small")
        return plotting.save(picture, path)


def _map(ax: Axes, cells: Sequence[MapCell], tasks: Sequence[int], ranks: Sequence[int]) -> None:
    """Draw one square per cell, filled from below by the trapped starts and from above by the unconverged ones."""
    from matplotlib.patches import Rectangle

    side = 0.92
    for T, k in {(T, k) for T in tasks for k in ranks} - {(cell.T, cell.k) for cell in cells}:
        corner = tasks.index(T) - side / 2, ranks.index(k) - side / 2
        ax.add_patch(Rectangle(corner, side, side, facecolor="none", edgecolor=plotting.FAINT))
    for cell in cells:
        left, bottom = tasks.index(cell.T) - side / 2, ranks.index(cell.k) - side / 2
        total = len(cell.reached) * cell.starts
        trapped, unfinished = float(cell.spurious.sum()) / total, float(cell.unconverged.sum()) / total
        areas = {"reached": (0.0, 1.0), "unconverged": (1 - unfinished, unfinished), "spurious": (0.0, trapped)}
        for outcome, (start, share) in areas.items():
            corner = left, bottom + side * start
            ax.add_patch(Rectangle(corner, side, side * share, color=COLOURS[outcome], linewidth=0))
        if trapped:
            percent = f"{100 * trapped:.{int(trapped < 0.01)}f}"
            text = ax.text(left + side / 2, bottom + side * 0.62, percent, fontsize="small")
            text.set(ha="center", va="center", fontweight="bold", color="#7d3500")
    ax.set(xlim=(-0.6, len(tasks) - 0.4), ylim=(-0.6, len(ranks) - 0.4), aspect="equal")
    ax.grid(visible=False)
    ax.tick_params(length=0, labelsize=8)
    for spine in ax.spines.values():
        spine.set_visible(False)
