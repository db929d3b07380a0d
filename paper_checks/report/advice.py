"""The advisor's page and its printed summary, both from the document in `advice.json`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table
from rich.text import Text

from loraml_theory.harness.errors import one_line
from loraml_theory.harness.page import page as rendered
from loraml_theory.harness.plotting import CYCLE, INK, data_uri
from paper_checks.claim import Picture
from paper_checks.evidence.phrasing import number, plural
from paper_checks.report.figures import axes
from paper_checks.report.html import typeset

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.console import Console

Document = dict[str, Any]

PICTURES = 24
"""Number of layers with pictures, those of most energy: a page of hundreds would be too large."""
TITLES = {
    "helps": "A smaller rank would do from a meta-learned base",
    "expected to help": "Theory expects a smaller rank from a meta-learned base",
    "no help": "A meta-learned base would not need a smaller rank",
    "no structure": "No shifts of low rank visible",
    "unchanged": "The tasks do not differ",
    "cannot tell": "These weights cannot tell whether a meta-learned base would help",
}


def page(found: Document) -> str:
    """Return the page; every text in it is escaped."""
    changed = [layer for layer in found["layers"] if layer["k"] != 0]
    shown = {layer["name"] for layer in sorted(changed, key=lambda layer: -layer["energy"])[:PICTURES]}
    layers = [(layer, _pictures(layer, found) if layer["name"] in shown else []) for layer in found["layers"]]
    title = TITLES[found["overall"]["verdict"]]
    values = {"found": found, "title": title, "layers": layers, "pictures": PICTURES, "row": row}
    return rendered("paper_checks.report", "advice.html.j2", values, filters={"typeset": typeset, "plural": plural})


def row(layer: Document) -> list[str]:
    """Return a layer's cells: shape, k, p, independent, ranks from the average and the base, by noise and by share."""
    interval = layer["k_ci"]
    spread = "" if interval is None or interval[0] == interval[1] else f" [{interval[0]}, {interval[1]}]"
    return [
        " × ".join(str(n) for n in layer["shape"]),
        "?" if layer["k"] is None else f"{'≥ ' if layer['k_censored'] else ''}{layer['k']}{spread}",
        "–" if layer["null_p"] is None else number(layer["null_p"], 2),
        {True: "yes", False: "no", None: "–"}[layer["independent"]],
        _whole(layer["rank_sr"]),
        _whole(layer["rank_ml"]) + (" by theory" if layer["rank_ml_from"] == "theory" else ""),
        _whole(layer["rank_sr_share"]),
        _whole(layer["rank_ml_share"]),
    ]


def _whole(value: int | None) -> str:
    return "–" if value is None else str(value)


def _pictures(layer: Document, found: Document) -> list[Picture]:
    """Draw the singular values of the differences, and the rest of a held-out task after adapters of each rank."""
    pictures = []
    with axes(height=2.7) as (figure, ax):
        _draw_spectra(ax, layer)
        caption = f"Singular values of the differences of two tasks, {layer['name']}"
        pictures.append(Picture(data_uri(figure), f"{caption}; above the line they are not noise"))
    if layer["left"]["sr"]:
        with axes(height=2.7) as (figure, ax):
            _draw_left(ax, layer, found["settings"]["share"])
            caption = (
                f"The rest of a held-out task's difference from a base after adapters of each rank, {layer['name']}"
            )
            pictures.append(
                Picture(data_uri(figure), f"{caption}: the share of the energy from the average, noise included")
            )
    return pictures


def _draw_spectra(ax: Axes, layer: Document) -> None:
    for pair in layer["singular_values"]:
        values = np.array([v for v in pair["values"] if v], dtype=float)
        ax.plot(np.arange(1, len(values) + 1), values, ".-", color=CYCLE[0], alpha=0.5, linewidth=0.8, markersize=3)
    edges = [pair["edge"] for pair in layer["singular_values"] if pair["edge"]]
    if edges:
        ax.axhline(float(np.median(edges)), color=INK, linewidth=0.9, linestyle="--")
    if layer["k"]:
        ax.axvline(2 * layer["k"] + 0.5, color=CYCLE[1], linewidth=0.9, linestyle=":")
        ax.annotate(f" 2k = {2 * layer['k']}", (2 * layer["k"] + 0.5, 1), xycoords=("data", "axes fraction"), va="top")
    if any(v for pair in layer["singular_values"] for v in pair["values"]):
        ax.set_yscale("log")
    ax.set_xlabel("number")
    ax.set_ylabel("singular value")


def _draw_left(ax: Axes, layer: Document, share: float) -> None:
    for method, name, colour in (("sr", "average", CYCLE[1]), ("ml", "LoRA-ML base", CYCLE[2])):
        if layer["left"][method]:
            left = np.array([np.nan if v is None else v for v in layer["left"][method]])
            ax.plot(np.arange(len(left)), left, ".-", color=colour, label=f"from the {name}", markersize=4)
    ax.axhline(1 - share, color=INK, linewidth=0.9, linestyle="--")
    ax.set_ylim(0, None)
    ax.set_xlabel("rank")
    ax.set_ylabel("share left")
    ax.legend()


def not_analysed(found: Document) -> list[str]:
    """Return a sentence for each reason why weights are not analysed, those not compared last."""
    reasons: dict[tuple[bool, str], list[str]] = {}
    for item in found["skipped"]:
        reasons.setdefault((not item["compared"], item["reason"]), []).append(item["name"])
    kinds = {False: "Not analysed", True: "Not compared"}
    return [f"{kinds[kind]}: {_listed(names)} {reason}" for (kind, reason), names in sorted(reasons.items())]


def _listed(names: list[str]) -> str:
    """Name one weight, and how many more there are.

    Examples
    --------
    >>> _listed(["a.bias"]), _listed(["a.bias", "b.bias", "c.bias"])
    ('a.bias', 'a.bias and 2 more,')
    """
    return one_line(names[0]) + (f" and {len(names) - 1} more," if len(names) > 1 else "")


def summary(console: Console, found: Document, path: str) -> None:
    """Print the results, one line per layer."""
    share = f"{100 * found['settings']['share']:g} %"
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("layer", overflow="fold")
    heads = ("shape", "k", "p", "independent", "rank: average", "LoRA-ML", f"{share}: average", "LoRA-ML")
    for head in heads:
        table.add_column(head, justify="right" if head not in ("shape", "independent") else "left")
    for layer in found["layers"]:
        table.add_row(Text(one_line(layer["name"])), *(Text(cell) for cell in row(layer)))
    console.print(Text(TITLES[found["overall"]["verdict"]], "bold"))
    if found["layers"]:
        console.print(table)
    for sentence in found["overall"]["findings"]:
        console.print(Text(f"• {sentence}"))
    for sentence in (*found["notes"], *not_analysed(found)):
        console.print(Text(f"• {sentence}", "dim"))
    if found["overall"]["cannot_tell"]:
        console.print(Text("What this cannot tell", "bold"))
        for sentence in found["overall"]["cannot_tell"]:
            console.print(Text(f"• {sentence}", "dim"))
    if found["written"]:
        theory = sum(layer["base"] == "LoRA-ML" for layer in found["layers"])
        count = plural(len(found["layers"]), "analysed weight")
        console.print(Text(f"Base: {found['written']}, {theory} of {count} by theory, the rest averaged"))
        if found["unwritten"]:
            console.print(Text(f"Not in it: {_listed(found['unwritten'])}"))
    console.print(Text(f"Report: {path}"))
