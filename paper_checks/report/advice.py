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
STARTS = (("base", "base as it is"), ("sr", "average"), ("ml", "LoRA-ML base"))


def page(found: Document) -> str:
    """Return the page; every text in it is escaped."""
    changed = [layer for layer in found["layers"] if layer["k"] != 0]
    shown = {layer["name"] for layer in sorted(changed, key=lambda layer: -layer["energy"])[:PICTURES]}
    layers = [(layer, _pictures(layer, found) if layer["name"] in shown else []) for layer in found["layers"]]
    values = {"found": found, "layers": layers, "pictures": PICTURES, "row": row}
    return rendered("paper_checks.report", "advice.html.j2", values, filters={"typeset": typeset, "plural": plural})


def row(layer: Document) -> list[str]:
    """Return a layer's cells: shape, k, p, independent, ranks from the three starts, above the noise and by share."""
    return [
        *_shifts(layer),
        {True: "yes", False: "no", None: "–"}[layer["independent"]],
        _whole(layer["rank_base"]),
        _whole(layer["rank_sr"]),
        _whole(layer["rank_ml"]) + (" by theory" if layer["rank_ml_from"] == "theory" else ""),
        *_by_share(layer),
    ]


def _shifts(layer: Document) -> list[str]:
    """Return shape, k with its interval, and p."""
    interval = layer["k_ci"]
    spread = "" if interval is None or interval[0] == interval[1] else f" [{interval[0]}, {interval[1]}]"
    return [
        " × ".join(str(n) for n in layer["shape"]),
        "?" if layer["k"] is None else f"{'≥ ' if layer['k_censored'] else ''}{layer['k']}{spread}",
        "–" if layer["null_p"] is None else number(layer["null_p"], 2),
    ]


def _by_share(layer: Document) -> list[str]:
    return [_whole(layer[f"rank_{start}_share"]) for start, _ in STARTS]


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
                Picture(
                    data_uri(figure),
                    f"{caption}: of the energy from the closer of base and average, noise included",
                )
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
    for (start, name), colour in zip(STARTS, CYCLE, strict=False):
        if layer["left"][start]:
            left = np.array([np.nan if v is None else v for v in layer["left"][start]])
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


def without_common(names: list[str]) -> tuple[list[str], str]:
    """Return names without what all of them begin and end with, in whole parts, and that as ``begin…end``.

    Examples
    --------
    >>> without_common(["model.layers.0.q.weight", "model.layers.1.k.weight"])
    (['0.q', '1.k'], 'model.layers.….weight')
    >>> without_common(["head.weight"])
    (['head.weight'], '')
    """
    parts = [name.split(".") for name in names]
    room = min(map(len, parts), default=1) - 1
    first, last = (min(_alike(sides), room) for sides in (parts, [part[::-1] for part in parts]))
    last = min(last, room - first)
    if len(names) < 2 or not first + last:
        return names, ""
    begin, end = ("".join(f"{part}." for part in parts[0][:first]), parts[0][len(parts[0]) - last :])
    return [".".join(part[first : len(part) - last]) for part in parts], begin + "…" + "".join(f".{e}" for e in end)


def _alike(parts: list[list[str]]) -> int:
    """Return how many parts all begin with."""
    same = [len(set(column)) == 1 for column in zip(*parts, strict=False)]
    return same.index(False) if False in same else len(same)


HEADS = ("shape", "k", "p", "base", "average", "LoRA-ML")


def middle_cut(name: str, width: int) -> str:
    """Return a name of at most so many characters, its middle left out: layers differ at the begin and at the end.

    Examples
    --------
    >>> middle_cut("0.mlp.experts.gate_up_proj", 20), middle_cut("0.q_proj", 20)
    ('0.mlp.….gate_up_proj', '0.q_proj')
    """
    if len(name) <= width:
        return name
    begin = max(width // 3, 1)
    return f"{name[:begin]}…{name[len(name) - (width - 1 - begin) :]}"


def _table(found: Document, width: int) -> tuple[Table, str]:
    """Return one line per layer, and what all names have in common."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    names, common = without_common([one_line(layer["name"]) for layer in found["layers"]])
    rows = [[*_shifts(layer), *_by_share(layer)] for layer in found["layers"]]
    taken = sum(max(map(len, column)) + 2 for column in zip(HEADS, *rows, strict=True))
    room = max(width - taken - 2, len("layer"))
    table.add_column("layer", no_wrap=True)
    for head in HEADS:
        table.add_column(head, justify="left" if head == "shape" else "right", no_wrap=True)
    for name, cells in zip(names, rows, strict=True):
        table.add_row(Text(middle_cut(name, room)), *map(Text, cells))
    return table, common


def summary(console: Console, found: Document, path: str) -> None:
    """Print what to do, one line per layer, and why."""
    first, *why = found["overall"]["findings"]
    console.print(Text(first, "bold"))
    if found["layers"]:
        table, common = _table(found, console.width)
        share = f"{100 * found['settings']['share']:g} %"
        where = f", for {common}" if common else ""
        console.print(Text(f"The rank for {share} of the energy from base, average and LoRA-ML base{where}", "dim"))
        console.print(table)
    for sentence in why:
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
