"""The report's section on real data: its tables and its picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loraml_theory.harness.plotting import CYCLE, INK, data_uri
from paper_checks.claim import Picture
from paper_checks.report.figures import axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CHOSEN, ZERO = "cross-validated", "zero"
Record = dict[str, Any]


@dataclass(frozen=True)
class Section:
    """The content of the section.

    Parameters
    ----------
    picture
        The differences of all held-out classes at the least number of images to fine-tune on.
    k
        The rank of the table by class: the middle one.
    by_class
        Cells of the table by class: the class, lambda, and for each n both errors and their difference.
    samples
        The numbers n of that table.
    overall
        Cells of the table over classes: k, n, the difference with the ridge, classes lower and higher, the
        difference without a ridge, and how many retrainings did not converge there.
    """

    picture: Picture
    k: int
    by_class: list[list[str]]
    samples: list[int]
    overall: list[list[str]]


def section(real: Record) -> Section | None:
    """Select the content from the study's record; None where it has no rows."""
    if not real.get("rows"):
        return None
    rows = [row for row in real["rows"] if row["ridge_choice"] == CHOSEN]
    samples = sorted({row["n"] for row in rows})
    ranks = sorted({row["k"] for row in rows})
    k = ranks[len(ranks) // 2]
    return Section(_forest(real, ranks, samples[0]), k, _by_class(rows, k, samples), samples, _overall(real["overall"]))


def difference(record: Record) -> str:
    """Write a difference in percent with its interval.

    Examples
    --------
    >>> difference({"difference_percent": -3.61, "ci_low": -7.02, "ci_high": 0.2})
    '-3.6 [-7.0, +0.2]'
    """
    return f"{record['difference_percent']:+.1f} [{record['ci_low']:+.1f}, {record['ci_high']:+.1f}]"


def _by_class(rows: Sequence[Record], k: int, samples: Sequence[int]) -> list[list[str]]:
    cells: dict[str, list[str]] = {}
    for n in samples:
        for row in rows:
            if (row["k"], row["n"]) == (k, n):
                line = cells.setdefault(row["class"], [row["class"], f"{row['ridge']:g}"])
                line += [f"{row['error_sr']:.3f}", f"{row['error_lora_ml']:.3f}", difference(row)]
    return list(cells.values())


def _overall(records: Sequence[Record]) -> list[list[str]]:
    free = {(record["k"], record["n"]): record for record in records if record["ridge_choice"] == ZERO}
    cells = []
    for record in records:
        if record["ridge_choice"] == CHOSEN:
            k, n = record["k"], record["n"]
            counts = [f"{record['classes_lower']} / {record['classes_higher']}"]
            without = free[k, n]
            stopped = f"{without['not_converged']} of {without['classes']}"
            cells.append([f"{k}", f"{n}", difference(record), *counts, difference(without), stopped])
    return cells


def _forest(real: Record, ranks: Sequence[int], n: int) -> Picture:
    """Draw the difference of every class, and over all of them, with intervals."""
    rows, overall = (
        [record for record in real[name] if record["ridge_choice"] == CHOSEN and record["n"] == n]
        for name in ("rows", "overall")
    )
    classes = list(dict.fromkeys(row["class"] for row in rows))
    lines = {name: position for position, name in enumerate(classes)} | {None: len(classes) + 0.4}
    with axes(height=1.1 + 0.36 * len(lines)) as (figure, ax):
        ax.axvline(0, color=INK, linewidth=0.8)
        for i, k in enumerate(ranks):
            drawn = [record for record in [*rows, *overall] if record["k"] == k]
            heights = [lines[record.get("class")] + 0.24 * (i - (len(ranks) - 1) / 2) for record in drawn]
            _draw_intervals(ax, drawn, heights, colour=CYCLE[i], label=f"k = {k}")
        ax.axhline(len(classes) - 0.3, color=INK, linewidth=0.6)
        ax.set_yticks(list(lines.values()), [*(f"digit {name}" for name in classes), "mean"])
        ax.set_ylim(len(classes) + 0.9, -0.6)
        ax.grid(visible=False, axis="y")
        ax.tick_params(axis="y", length=0)
        ax.set_xlabel("test error of LoRA-ML over standard retraining's, minus 1 (%)")
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(ranks))
        caption = (
            f"LoRA-ML's test error relative to standard retraining's, fine-tuned on n = {n} images of the held-out "
            "class, with 95 % intervals: over splits for a class, over classes for the mean. Left of 0, LoRA-ML's "
            "error is lower"
        )
        return Picture(data_uri(figure), caption)


def _draw_intervals(ax: Axes, records: Sequence[Record], heights: Sequence[float], *, colour: str, label: str) -> None:
    middle = [record["difference_percent"] for record in records]
    below = [m - record["ci_low"] for m, record in zip(middle, records, strict=True)]
    above = [record["ci_high"] - m for m, record in zip(middle, records, strict=True)]
    ax.errorbar(middle, heights, xerr=[below, above], fmt="o", color=colour, markersize=3.5, linewidth=1.3, label=label)
