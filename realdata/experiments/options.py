"""What commands and settings ask of the grid: lists of words and numbers as texts, and the axes that vary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from loraml_theory.harness.settings import SettingsError
from realdata.experiments.grid import FINETUNES, LARGEST_SEED, METHODS, GridSettings, quirk_axis

MODES = ("paper", "reference")
PRECISIONS = ("no", "bf16", "fp16")
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class AxesSettings:
    """The table ``[axes]``: the values that ``--axes`` runs instead of the grid's; an axis without any cannot vary."""

    n: tuple[int | Literal["all"], ...] = ()
    rank: tuple[int, ...] = (1, 2, 4, 8)


class Wanted(NamedTuple):
    """The grid to run; `quirks` are the values of that axis, None for those of the grid alone."""

    grid: GridSettings
    quirks: tuple[tuple[str, ...], ...] | None


class Texts(NamedTuple):
    """Options as they were typed; None where they were not."""

    methods: str | None = None
    finetune: str | None = None
    seeds: str | None = None
    axes: str | None = None
    mode: str | None = None


def wanted(grid: GridSettings, axes: AxesSettings, *, texts: Texts, switches: Sequence[str]) -> Wanted:
    """Return the grid of the settings with what was typed in place of it.

    Parameters
    ----------
    grid, axes
        Of the settings.
    texts
        What was typed.
    switches
        Names of the reference code's switches.

    Raises
    ------
    SettingsError
        If an option makes no sense; the text names it.
    """
    changes: dict[str, object] = {}
    if texts.methods is not None:
        changes["methods"] = words("--methods", texts.methods, METHODS)
    if texts.finetune is not None:
        changes["finetune"] = words("--finetune", texts.finetune, FINETUNES)
    if texts.seeds is not None:
        changes["seeds"] = whole_numbers("--seeds", texts.seeds)
    values = {axis: getattr(axes, axis) for axis in ("n", "rank")}
    allowed = [*(axis for axis, own in values.items() if own), *(["quirk"] if switches else [])]
    varied = () if texts.axes is None else words("--axes", texts.axes, allowed)
    changes.update({axis: own for axis, own in values.items() if axis in varied})
    if texts.mode is not None:
        one_of("--mode", texts.mode, MODES)
        changes["quirks"] = tuple(sorted(switches)) if texts.mode == "reference" else ()
    try:
        grid = replace(grid, **changes)  # type: ignore[arg-type]  # names and types as above
    except ValueError as problem:
        raise SettingsError(f"--{problem}" if str(problem).split(":")[0] in changes else str(problem)) from None
    if "quirk" not in varied:
        return Wanted(grid, None)
    if grid.quirks:
        raise SettingsError(
            "--axes: got quirk, whose runs have none, each or all of them; expected --mode paper with it"
        )
    return Wanted(grid, tuple(quirk_axis(switches)))


def words(option: str, text: str, allowed: Sequence[str]) -> tuple[str, ...]:
    """Split a list with commas whose words must be among the allowed ones.

    Raises
    ------
    SettingsError
        If one is not, or the list is empty.
    """
    found = tuple(word.strip() for word in text.split(",") if word.strip())
    for word in found:
        if word not in allowed:
            raise SettingsError(f"{option}: got {word!r}, expected some of {', '.join(allowed)}")
    if not found:
        raise SettingsError(f"{option}: got {text!r}, expected some of {', '.join(allowed)}")
    return found


def whole_numbers(option: str, text: str) -> tuple[int, ...]:
    """Split a list of whole numbers with commas.

    Raises
    ------
    SettingsError
        If it is empty, or one is not a whole number.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and part.isascii() and len(part) <= len(str(LARGEST_SEED)) for part in parts):
        raise SettingsError(f"{option}: got {text!r}, expected whole numbers >= 0 with commas between them")
    return tuple(int(part) for part in parts)


def one_of(option: str, text: str, allowed: Sequence[str]) -> str:
    """Return a word that must be one of some.

    Raises
    ------
    SettingsError
        If it is not.
    """
    if text not in allowed:
        raise SettingsError(f"{option}: got {text!r}, expected {', '.join(allowed[:-1])} or {allowed[-1]}")
    return text


def workers(option: str, text: str | None) -> int | None:
    """Read a number of processes from 1 to 999; None if there is none.

    Raises
    ------
    SettingsError
        If it is no such number.
    """
    if text is None:
        return None
    if not (text.isdecimal() and text.isascii() and len(text) <= 3 and int(text) >= 1):
        raise SettingsError(f"{option}: got {text!r}, expected a whole number in 1..999")
    return int(text)
