"""The common style of all pictures, their output as PNG or SVG, and labels beside curves."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from io import BytesIO
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from loraml_theory.harness.atomic import write_whole
from loraml_theory.harness.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, GREY = "#2b2e34", "#e3e1dc", "#6b7078"
# Okabe and Ito's blue and vermilion, from light to dark: distinct for any colour vision, and in grey
SHADES = {"LoRA-ML": ("#4fa6dc", "#0072b2", "#00365a"), "SR": ("#ec8b47", "#d55e00", "#7d3500")}
METHOD_MARKERS = {"LoRA-ML": "o", "SR": "s"}
CYCLE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#4d4d4d", "#7a2e8e")
MARKERS = "os^DvPX*"
POWERS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
STYLE: dict[str, Any] = {
    "svg.hashsalt": "loraml",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "lines.solid_capstyle": "round",
    "figure.dpi": 100,
    "savefig.dpi": 160,
}


SIZES = ("font.size", "axes.titlesize", "axes.linewidth", "grid.linewidth", "lines.linewidth", "lines.markersize")
LEGIBLE = 5.0
UNDATED = {"png": {"Software": None}, "pdf": {"CreationDate": None}, "svg": {"Date": None, "Creator": None}}


@dataclass(frozen=True)
class Files:
    """The files that a picture is written to: their formats, and their width in inches if not the picture's own."""

    formats: tuple[str, ...] = ("png",)
    width: float | None = None


_files: ContextVar[Files | None] = ContextVar("files", default=None)


@contextmanager
def written_as(files: Files) -> Iterator[None]:
    """Draw and write all pictures of a block in these formats and this width."""
    token = _files.set(files)
    try:
        yield
    finally:
        _files.reset(token)


@contextmanager
def figure(width: float, height: float) -> Iterator[Figure]:
    """Yield an empty figure that user settings and other figures do not influence; sizes in inches.

    Inside of `written_as` with a width the whole figure, text included, is scaled to that.

    Raises
    ------
    InputError
        If the text would be smaller than `LEGIBLE` points.
    """
    from cycler import cycler
    from matplotlib import style
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    scale = _scale(width)
    layout = ConstrainedLayoutEngine(w_pad=0.1 * scale, h_pad=0.06 * scale)
    sizes = {name: scale * STYLE[name] for name in SIZES}
    with style.context({**STYLE, **sizes, "axes.prop_cycle": cycler(color=CYCLE)}, after_reset=True):
        yield Figure(figsize=(scale * width, scale * height), layout=layout)


def _scale(width: float) -> float:
    """Return the width that was asked for over a picture's own."""
    asked = (_files.get() or Files()).width
    if asked is None:
        return 1.0
    least = LEGIBLE / STYLE["font.size"] * width
    if asked < least:
        raise InputError(
            f"--width: got {asked:g}, expected at least {least:.2g} inches for a picture that is {width:.2g} wide by "
            f"itself: its text would be smaller than {LEGIBLE:g} points"
        )
    return asked / width


def save(picture: Figure, path: Path) -> list[Path]:
    """Write a figure in the formats of `written_as`, or as PNG, whole or not at all, the same every time."""
    paths = [path.with_suffix(f".{kind}") for kind in (_files.get() or Files()).formats]
    for place in paths:
        write_whole(place, _encoded(picture, place.suffix[1:]))
    return paths


def data_uri(picture: Figure) -> str:
    """Return a figure as the data URI of an SVG for a page, which may be dark, the same every time."""
    return f"data:image/svg+xml;base64,{b64encode(_encoded(picture, 'svg', transparent=True)).decode()}"


def _encoded(picture: Figure, kind: str, *, transparent: bool = False) -> bytes:
    page = BytesIO()
    _with_plain_powers(picture)
    picture.savefig(page, format=kind, metadata=UNDATED[kind], transparent=transparent)
    return page.getvalue()


def _with_plain_powers(picture: Figure) -> None:
    """Label logarithmic axes, of base ten, in Unicode rather than in formulas, which take longer than all else."""
    from matplotlib.ticker import LogFormatterSciNotation

    class PlainPowers(LogFormatterSciNotation):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return plain_powers(str(super().__call__(x, pos)))

    for axis in (axis for ax in picture.axes for axis in (ax.xaxis, ax.yaxis)):
        major, minor = axis.get_major_formatter(), axis.get_minor_formatter()
        if isinstance(major, LogFormatterSciNotation):
            axis.set_major_formatter(PlainPowers())
        if isinstance(minor, LogFormatterSciNotation):
            axis.set_minor_formatter(PlainPowers(labelOnlyBase=minor.labelOnlyBase))


def plain_powers(label: str) -> str:
    r"""Return the label of a logarithmic axis in Unicode.

    Examples
    --------
    >>> plain_powers(r"$\mathdefault{2\times10^{-3}}$"), plain_powers(r"$\mathdefault{10^{0}}$")
    ('2×10⁻³', '10⁰')
    """
    formula = label.removeprefix(r"$\mathdefault{").removesuffix("}$").replace(r"\times", "×")
    return re.sub(r"\^\{(-?\d+)\}", lambda found: found[1].translate(POWERS), formula)


def decimals(value: float | None, places: int = 3) -> str:
    """Return a number with this many decimals, never a negative zero, or a dash for None.

    Examples
    --------
    >>> decimals(-1e-6), decimals(None), decimals(float("-inf"))
    ('0.000', '–', '-∞')
    """
    if value is None or isnan(value):
        return "–"
    return f"{round(value, places) + 0.0:.{places}f}".replace("inf", "∞")


def setting(name: str, value: float) -> str:
    """Write a setting in a picture.

    Examples
    --------
    >>> setting("N", float("inf")), setting("sigma", 0.1)
    ('N = ∞', 'σ = 0.1')
    """
    return f"{name} = {value:g}".replace("inf", "∞").replace("sigma", "σ")


def heading(picture: Figure, text: str) -> None:
    """Write what all panels of a figure show, above them."""
    picture.suptitle(text, fontsize="medium", x=0.01, horizontalalignment="left")


def band(ax: Axes, x: Any, low: Any, high: Any, colour: str) -> None:
    """Fill between two curves, and outline the band so that it is seen where others overlap it."""
    ax.fill_between(x, low, high, facecolor=(colour, 0.14), edgecolor=(colour, 0.55), linewidth=0.6)


def line(ax: Axes, x: Any, y: Any, colour: str, *, place: int = 0, **look: Any) -> None:
    """Draw a curve with a few hollow markers, elsewhere for each place, so that curves that coincide are both seen."""
    ax.plot(x, y, color=colour, markerfacecolor="white", markevery=(0.05 + 0.05 * place, 0.15), **look)


def label_ends(
    ax: Axes, ends: Sequence[tuple[float, str, str]], *, x: float | None = None, gap: float = 0.047, **look: Any
) -> None:
    """Write labels to the right of curves, moved apart where they would overlap.

    Parameters
    ----------
    ends
        Where each curve ends, in data coordinates, its label, and the colour of both.
    x
        Where all curves end, in data coordinates; at the right edge if not given.
    gap
        Smallest distance of two labels, as a share of the axis.
    look
        Of the labels, such as their ``fontsize``.
    """
    right = ax.get_xlim()[1]  # which also makes the limits final, before they are measured
    edge = right if x is None else x
    order = sorted(ends, key=lambda end: end[0])
    shares = ax.transData + ax.transAxes.inverted()
    wanted = [float(shares.transform((edge, y))[1]) for y, _, _ in order]
    for (y, text, colour), place in zip(order, spread(wanted, gap), strict=True):
        ax.annotate(
            text,
            (edge, y),
            (1.03, place),
            xycoords="data",
            textcoords="axes fraction",
            color=colour,
            verticalalignment="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.7,
                "shrinkA": 1,
                "shrinkB": 1,
                "relpos": (0, 0.5),
            },
            **look,
        )


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Return ascending places in 0..1 nearest to the ascending wanted ones that are at least `gap` apart.

    Examples
    --------
    >>> spread([0.0, 0.5, 0.5], 0.2)
    [0.0, 0.4, 0.6]
    >>> spread([0.95, 0.95], 0.2)
    [0.8, 1.0]
    """
    # isotonic regression of (wanted - i gap): neighbours that are out of order share their mean; then the bounds
    blocks: list[list[float]] = []
    for i, place in enumerate(wanted):
        blocks.append([place - i * gap])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    highest = max(0.0, 1 - (len(wanted) - 1) * gap)
    moved = [float(np.clip(np.mean(block), 0, highest)) for block in blocks for _ in block]
    return [round(place + i * gap, 6) for i, place in enumerate(moved)]
