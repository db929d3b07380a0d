"""The look of an experiment's pictures, and how they become PNG files and SVG inside a page."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from loraml_theory.harness.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas


class Look(NamedTuple):
    """How a method is drawn: Okabe and Ito's colours, told apart with any colour vision, and markers for print."""

    colour: str
    marker: str


LOOKS = {
    "no-retraining": Look("#56b4e9", "P"),
    "standard": Look("#0072b2", "o"),
    "lora-ml": Look("#d55e00", "s"),
    "last-layer-ml": Look("#009e73", "^"),
    "reptile": Look("#cc79a7", "D"),
    "fomaml": Look("#8a6d00", "v"),
}
INK, FAINT = "#3a3d44", "#d8d4cb"
STYLE: dict[str, Any] = {
    "svg.hashsalt": "loraml",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "savefig.dpi": 160,
}
SIZE = (4.2, 3.0)  # inches of a panel


class Panel(NamedTuple):
    """One pair of axes: its title, and what draws into it."""

    title: str
    draw: Callable[[Axes], None]


class Figure(NamedTuple):
    """Panels that belong together, under the name of their file."""

    name: str
    heading: str
    caption: str
    panels: tuple[Panel, ...]


def write_png(figure: Figure, path: Path) -> None:
    """Write all panels of a figure with a legend as PNG, whole or not at all."""
    columns = min(len(figure.panels), 2)
    rows = ceil(len(figure.panels) / columns)
    with _canvas(SIZE[0] * columns, SIZE[1] * rows + 0.4) as canvas:
        grid = canvas.subplots(rows, columns, squeeze=False)
        for ax, panel in zip(grid.flat, figure.panels, strict=False):
            _fill(ax, panel)
        for ax in grid.flat[len(figure.panels) :]:
            ax.remove()
        shown = {label: handle for ax in canvas.axes for handle, label in zip(*_legend(ax), strict=True)}
        canvas.legend(list(shown.values()), list(shown), loc="outside lower center", ncols=min(5, max(1, len(shown))))
        with replacing(path) as file:
            file.write(_encoded(canvas, "png"))


def svg(panel: Panel) -> str:
    """Return a panel without its title as the data URI of an SVG, the same every time."""
    with _canvas(*SIZE) as canvas:
        _fill(canvas.subplots(), panel._replace(title=""))
        return f"data:image/svg+xml;base64,{b64encode(_encoded(canvas, 'svg')).decode()}"


def _fill(ax: Axes, panel: Panel) -> None:
    panel.draw(ax)
    if panel.title:
        ax.set_title(panel.title)


def _legend(ax: Axes) -> tuple[list[Any], list[str]]:
    handles, labels = ax.get_legend_handles_labels()
    return handles, labels


@contextmanager
def _canvas(width: float, height: float) -> Iterator[Canvas]:
    """Yield an empty figure that no user setting and no other figure has an influence on."""
    from matplotlib import style
    from matplotlib.figure import Figure as Canvas

    with style.context(STYLE, after_reset=True):
        yield Canvas(figsize=(width, height), layout="constrained")


def _encoded(canvas: Canvas, kind: str) -> bytes:
    page = BytesIO()
    transparent = kind == "svg"  # on the report's own page, which may be dark
    metadata = {"Date": None, "Creator": None} if transparent else {"Software": None}
    canvas.savefig(page, format=kind, metadata=metadata, transparent=transparent)
    return page.getvalue()
