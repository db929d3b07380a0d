"""What commands ask of the grid in place of its settings, and the axes that vary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from loraml_theory.harness.errors import InputError
from realdata.experiments.grid import FINETUNES, WAYS, GridSettings, quirk_axis


@dataclass(frozen=True)
class AxesSettings:
    """The table ``[axes]``: the values that ``--axes`` runs instead of the grid's; an axis without any cannot vary."""

    n: tuple[int | Literal["all"], ...] = ()
    rank: tuple[int, ...] = (1, 2, 4, 8)


class Wanted(NamedTuple):
    """The grid to run; `quirks` are the values of that axis, None for those of the grid alone."""

    grid: GridSettings
    quirks: tuple[tuple[str, ...], ...] | None


class Asked(NamedTuple):
    """The options of a command that replace values of the grid; None where an option was not given."""

    methods: Sequence[str] | None = None
    finetune: Sequence[str] | None = None
    seeds: Sequence[int] | None = None
    axes: Sequence[str] | None = None
    mode: Literal["paper", "reference"] | None = None


def wanted(grid: GridSettings, axes: AxesSettings, *, asked: Asked, switches: Sequence[str]) -> Wanted:
    """Return the grid of the settings with what was asked for in place of it.

    Parameters
    ----------
    grid, axes
        Of the settings.
    asked
        The options of the command.
    switches
        Names of the reference code's switches.

    Raises
    ------
    InputError
        If an option makes no sense; the text names it.
    """
    values = {axis: getattr(axes, axis) for axis in ("n", "rank")}
    allowed = [*(axis for axis, own in values.items() if own), *(["quirk"] if switches else [])]
    varied = _among("--axes", asked.axes or (), allowed)
    changes: dict[str, object] = {axis: own for axis, own in values.items() if axis in varied}
    if asked.methods is not None:
        changes["methods"] = _among("--methods", asked.methods, WAYS)
    if asked.finetune is not None:
        changes["finetune"] = _among("--finetune", asked.finetune, FINETUNES)
    if asked.seeds is not None:
        changes["seeds"] = tuple(asked.seeds)
    if asked.mode is not None:
        changes["quirks"] = tuple(sorted(switches)) if asked.mode == "reference" else ()
    try:
        grid = replace(grid, **changes)  # type: ignore[arg-type]  # names and types as above
    except ValueError as problem:
        raise InputError(f"--{problem}" if str(problem).split(":")[0] in changes else str(problem)) from None
    if "quirk" not in varied:
        return Wanted(grid, None)
    if grid.quirks:
        raise InputError("--axes: got quirk, whose runs have none, each or all of them; expected --mode paper with it")
    return Wanted(grid, tuple(quirk_axis(switches)))


def _among(option: str, words: Sequence[str], allowed: Sequence[str]) -> tuple[str, ...]:
    """Return the words, all of which must be allowed."""
    for word in words:
        if word not in allowed:
            raise InputError(f"{option}: got {word!r}, expected some of {', '.join(allowed)}")
    return tuple(words)
