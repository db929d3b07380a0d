"""The cells of a figure of the paper: one setting varies, the others are held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Cell = TypeVar("Cell", bound=DataclassInstance)


def one_axis(base: Cell, vary: str, values: Mapping[str, Sequence[int]]) -> dict[int, Cell]:
    """Return copies of a cell by the value of the one field that varies.

    Parameters
    ----------
    base
        What all cells share.
    vary
        Name of the field.
    values
        The values of every field that may vary.

    Raises
    ------
    ValueError
        If `vary` is none of these.
    """
    if vary not in values:
        raise ValueError(f"vary: got {vary!r}, expected one of {', '.join(values)}")
    changes: list[dict[str, Any]] = [{vary: value} for value in values[vary]]
    return {change[vary]: replace(base, **change) for change in changes}
