"""How methods look in an experiment's pictures, and how panels become files and SVG inside a page."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from loraml_theory.harness import plotting

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Look(NamedTuple):
    """How a method is drawn: Okabe and Ito's colours, told apart with any colour vision, and markers for print."""

    colour: str
    marker: str


LOOKS = {
    "no-retraining": Look("#56b4e9", "P"),
    "standard": Look("#0072b2", "o"),
    "standard-longer": Look("#56607a", "X"),
    "lora-ml": Look("#d55e00", "s"),
    "grouped-lora": Look("#e69f00", "p"),
    "last-layer-ml": Look("#009e73", "^"),
    "reptile": Look("#cc79a7", "D"),
    "fomaml": Look("#8a6d00", "v"),
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


def write_picture(figure: Figure, path: Path) -> None:
    """Write all panels of a figure with a legend, as `plotting.save` does."""
    columns = min(len(figure.panels), 2)
    rows = ceil(len(figure.panels) / columns)
    with plotting.figure(SIZE[0] * columns, SIZE[1] * rows + 0.4) as canvas:
        grid = canvas.subplots(rows, columns, squeeze=False)
        for ax, panel in zip(grid.flat, figure.panels, strict=False):
            _fill(ax, panel)
        for ax in grid.flat[len(figure.panels) :]:
            ax.remove()
        shown = {label: handle for ax in canvas.axes for handle, label in zip(*_legend(ax), strict=True)}
        canvas.legend(list(shown.values()), list(shown), loc="outside lower center", ncols=min(5, max(1, len(shown))))
        plotting.save(canvas, path)


def svg(panel: Panel) -> str:
    """Return a panel without its title as the data URI of an SVG, the same every time."""
    with plotting.figure(*SIZE) as canvas:
        _fill(canvas.subplots(), panel._replace(title=""))
        return plotting.data_uri(canvas)


def _fill(ax: Axes, panel: Panel) -> None:
    panel.draw(ax)
    if panel.title:
        ax.set_title(panel.title)


def _legend(ax: Axes) -> tuple[list[Any], list[str]]:
    handles, labels = ax.get_legend_handles_labels()
    return handles, labels
