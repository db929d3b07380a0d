"""The figure of forgetting: average loss and forgetting against learning rate and steps, theory over descent."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loraml_theory.harness import plotting
from loraml_theory.harness.atomic import write_whole
from sims.continual.runs import FULL, PAIRS, Chains, Curve, Setting, curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = dict(zip(("sequential", "O-LoRA", "incremental"), plotting.CYCLE, strict=False))
SHAPES = {"sequential": "o", "O-LoRA": "s", "incremental": "^"}
SCORES = {"average": "average loss after the chain", "forgetting": "mean forgetting of earlier tasks"}
LABELS = {"learning rate": "learning rate η, m = {steps} steps a task", "steps": "steps m a task, η = {step_size:g}"}
COLUMNS = ("vary", "value", "method", "adapts", "by", "average", "average_error", "forgetting", "forgetting_error")
TICKS = (0.75, 1, 1.5, 2, 3)  # of the average loss
Limits = Mapping[str, tuple[np.ndarray, np.ndarray]]


def continual_figure(
    out: Path, *, structures: int, seed: int, progress: Callable[[str], None] = lambda _: None
) -> tuple[list[Path], str]:
    """Descend all chains, write ``continual.png`` and ``.csv``, and return the paths and a summary."""
    chains = Chains(Setting(structures=structures), seed=seed)
    found, limits = curves(chains, progress=progress), chains.limits()
    table = out / "continual.csv"
    write_whole(table, as_csv(found))
    return [*draw(found, limits, chains.setting, out / "continual.png"), table], summary(found, limits)


def as_csv(found: Sequence[Curve]) -> str:
    """Return one line for every point of every curve; losses in the unit of `Curve`."""
    page = StringIO()
    writer = csv.writer(page, lineterminator="\n")
    writer.writerow(COLUMNS)
    for curve in found:
        by = "theory" if curve.theory else "descent"
        for i, value in enumerate(curve.values):
            scores = (getattr(curve, name)[i] for name in COLUMNS[-4:])
            row = [curve.vary, f"{value:.6g}", curve.method, curve.adapts, by, *(f"{score:.6g}" for score in scores)]
            writer.writerow(row)
    return page.getvalue()


def summary(found: Sequence[Curve], limits: Limits) -> str:
    """Return each method's best average loss over the learning rates, its converged one, and its share of the gain."""
    best = float(limits["joint"][0].mean())
    lines = [f"{'average loss':36} {'best':>6} {'at η':>7} {'converged':>10} {'share of the joint gain':>24}"]
    for curve in found:
        if curve.vary == "learning rate" and not curve.theory:
            i = int(np.argmin(curve.average))
            least, end = float(curve.average[i]), float(limits[curve.method][0].mean())
            gain = f"{100 * (1 - least) / (1 - best):.0f} %"
            name = f"{curve.method}, {curve.adapts}"
            lines.append(f"{name:36} {least:6.3f} {curve.values[i]:7.3g} {end:10.3f} {gain:>24}")
    apart = max(_apart(found, curve) for curve in found if curve.theory)
    lines.append(
        f"joint {best:.3f}, nothing learnt 1; theory and descent on the full shift differ by {apart:.1g} at most"
    )
    return "\n".join([*lines, ""])


def _apart(found: Sequence[Curve], theory: Curve) -> float:
    """Return the largest difference of a predicted curve from the descended one."""
    same = (theory.method, theory.adapts, theory.vary)
    (descent,) = (c for c in found if not c.theory and (c.method, c.adapts, c.vary) == same)
    every = (len(theory.values) - 1) // (len(descent.values) - 1)
    return float(max(np.max(np.abs(getattr(theory, name)[::every] - getattr(descent, name))) for name in SCORES))


def draw(found: Sequence[Curve], limits: Limits, setting: Setting, path: Path) -> list[Path]:
    """Draw a panel for each score and what varies; return the files."""
    with plotting.figure(9.2, 6.6) as picture:
        panels = picture.subplots(2, 2, sharex="col", sharey="row")
        for column, vary in enumerate(LABELS):
            for row, score in enumerate(SCORES):
                _panel(panels[row, column], [c for c in found if c.vary == vary], score)
            panels[1, column].set_xlabel(LABELS[vary].format(steps=setting.steps, step_size=setting.step_size))
        for row, (score, label) in enumerate(SCORES.items()):
            panels[row, 0].set_ylabel(label)
            _limits(panels[row], limits, score)
        panels[0, 0].set_title("against the learning rate", fontsize="medium")
        panels[0, 1].set_title("against the number of steps", fontsize="medium")
        _legend(picture)
        plotting.heading(
            picture,
            f"Chains of T = {setting.T} tasks, d = {setting.d}, k = {setting.k}; losses over ½ mean ‖R‖²\n"
            f"Means over {setting.structures} structures, lower is better; bands and bars: ± 2 standard errors",
        )
        return plotting.save(picture, path)


def _panel(ax: Axes, found: Sequence[Curve], score: str) -> None:
    for curve in found:
        colour, y, error = COLOURS[curve.method], getattr(curve, score), getattr(curve, f"{score}_error")
        if curve.theory:
            plotting.band(ax, curve.values, y - 2 * error, y + 2 * error, colour)
            ax.plot(curve.values, y, color=colour)
            if score == "average":
                best = int(np.argmin(y))
                ax.plot(
                    curve.values[best], y[best], "*", color=colour, markersize=13, markeredgecolor="white", zorder=5
                )
        elif curve.adapts == FULL:
            ax.plot(curve.values, y, SHAPES[curve.method], color=colour, markerfacecolor="white")
        else:
            bars = {"yerr": 2 * error, "elinewidth": 0.9, "linestyle": (0, (2, 1.5)), "linewidth": 1.1}
            ax.errorbar(curve.values, y, fmt=SHAPES[curve.method], color=colour, **bars)
    ax.set_xscale("log")
    if score == "average":
        ax.set_yscale("log")
        ax.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
        ax.minorticks_off()


def _limits(row: Sequence[Axes], limits: Limits, score: str) -> None:
    """Draw what is known at both ends, and name it beside the right panel."""
    ends = []
    for name, (average, forgetting) in limits.items():
        level = float((average if score == "average" else forgetting).mean())
        if name == "joint" and score == "forgetting":
            continue
        colour = COLOURS.get(name, plotting.INK)
        for ax in row:
            ax.axhline(level, color=colour, linestyle=(0, (1, 2)), linewidth=1.2)
        ends.append((level, f"joint, CL-3: {level:.2f}" if name == "joint" else f"{name}: {level:.2f}", colour))
    if score == "average":
        for ax in row:
            ax.axhline(1, color=plotting.GREY, linestyle=(0, (1, 2)), linewidth=1.2)
        ends.append((1.0, "nothing learnt: 1", plotting.GREY))
    plotting.label_ends(row[-1], ends, gap=0.075, fontsize="small")


def _legend(picture: Figure) -> None:
    from matplotlib.lines import Line2D

    entries = [
        *(Line2D([], [], color=COLOURS[name], marker=SHAPES[name], linestyle="", label=name) for name in COLOURS),
        Line2D([], [], color=plotting.GREY, label="theory, full shift (CL-2, CL-5)"),
        Line2D([], [], color=plotting.GREY, marker="*", markersize=11, linestyle="", label="its best"),
        Line2D(
            [], [], color=plotting.GREY, marker="o", markerfacecolor="white", linestyle="", label="descent, full shift"
        ),
        Line2D(
            [], [], color=plotting.GREY, marker="o", linestyle=(0, (2, 1.5)), linewidth=1.1, label=f"descent, {PAIRS}"
        ),
        Line2D([], [], color=plotting.GREY, linestyle=(0, (1, 2)), linewidth=1.2, label="converged (CL-1, CL-4, CL-5)"),
    ]
    picture.legend(handles=entries, loc="outside lower center", ncols=4, fontsize="small")
