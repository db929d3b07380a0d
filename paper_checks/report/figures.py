"""Pictures of the report: transparent SVG as data URIs; on a dark page the style sheet inverts them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from loraml_theory.harness import plotting
from loraml_theory.harness.plotting import CYCLE, GREY, INK, data_uri
from paper_checks.claim import AnyClaim, Picture, S
from paper_checks.evidence.evidence import Evidence, Outcome
from paper_checks.notation import unicode

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKS = {Outcome.AGREES: ("o", CYCLE[2]), Outcome.DISAGREES: ("X", "#cf4637")}
OPEN = ("o", GREY)
CAPTION = (
    "Share that each value uses of what is tolerated, its tolerance and half its interval; a value that uses more than "
    "all of it disagrees"
)
FOREST = (
    "Measured values with their intervals; the statement is that they are above the line. Filled marks decide, hollow "
    "ones do not; green agrees, red disagrees, grey is undecided"
)
LEAST, MOST = 1e-4, 10.0  # larger values are drawn at the edge


def picture(claim: AnyClaim[S], applied_to: Sequence[S], evidence: Sequence[Evidence]) -> Picture | None:
    """Draw the claim's own figure on the most telling subject, or else intervals, or the values' deviations."""
    if claim.figure is not None and applied_to:
        subject = claim.most_telling(applied_to)
        with axes(height=3.2) as (figure, ax):
            claim.figure(ax, subject)
            return Picture(data_uri(figure), f"{unicode(claim.title)}, on {subject.name}")
    spread = [e for e in evidence if e.relation == "above" and e.interval]
    if spread:
        with axes(height=0.7 + 0.42 * len(spread)) as (figure, ax):
            _draw_forest(ax, spread, unit=claim.unit)
            return Picture(data_uri(figure), FOREST)
    drawn = [e for e in evidence if e.outcome in MARKS and e.kind != "proved"]
    if not drawn:
        return None
    rows = list(dict.fromkeys(e.instance for e in drawn))
    with axes(height=0.7 + 0.42 * len(rows)) as (figure, ax):
        _draw_margins(ax, drawn, rows)
        return Picture(data_uri(figure), CAPTION)


def _draw_margins(ax: Axes, evidence: Sequence[Evidence], rows: Sequence[str]) -> None:
    """Draw one line per instance and one mark per value."""
    ax.axvspan(LEAST, 1, color=CYCLE[2], alpha=0.12, linewidth=0)
    places = {row: y + 0.2 for y, row in enumerate(rows)}
    for outcome, (marker, colour) in MARKS.items():
        marked = [item for item in evidence if item.outcome is outcome]
        x, y = [_used(item) for item in marked], [places[item.instance] for item in marked]
        ax.plot(x, y, marker, color=colour, alpha=0.7, markeredgewidth=0)
    ax.set_xscale("log")
    ax.set_xlim(LEAST / 1.5, 1.5 * MOST)
    _name_rows(ax, rows)
    ax.minorticks_off()
    ax.set_xlabel("share of what is tolerated")


def _draw_forest(ax: Axes, evidence: Sequence[Evidence], *, unit: str) -> None:
    """Draw one line per value, over its interval, and the predicted values."""
    for y, item in enumerate(evidence):
        marker, colour = MARKS.get(item.outcome, OPEN)
        ax.plot(item.interval or (), (y + 0.2, y + 0.2), color=colour, linewidth=1.3)
        face = colour if item.decides else "none"
        ax.plot(item.measured, y + 0.2, marker, color=colour, markerfacecolor=face)
        ax.plot((item.predicted, item.predicted), (y - 0.02, y + 0.42), color=INK, linewidth=1)
    several = len({item.instance for item in evidence}) > 1
    _name_rows(ax, [f"{item.instance}: {item.what}" if several else item.what for item in evidence])
    ax.set_xlabel(unit)


def _name_rows(ax: Axes, rows: Sequence[str]) -> None:
    """Write each row's name above its marks, which is legible on a phone."""
    for y, row in enumerate(rows):
        ax.text(
            0,
            y - 0.2,
            f" {_shortened(row)}",
            transform=ax.get_yaxis_transform(),
            verticalalignment="center",
            fontsize="small",
            parse_math=False,
        )
    ax.set_yticks([])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.grid(visible=False)
    ax.spines["left"].set_visible(False)


def _used(item: Evidence) -> float:
    """Return the share of what is tolerated that a value uses, clipped to the axis."""
    return min(max(item.share, LEAST), MOST)


def _shortened(text: str, length: int = 72) -> str:
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"


@contextmanager
def axes(height: float) -> Iterator[tuple[Figure, Axes]]:
    """Yield a figure as wide as a page's pictures, and its axes."""
    with plotting.figure(5.2, height) as figure:
        yield figure, figure.subplots()
