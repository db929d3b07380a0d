"""Runs of the shallow network from `loraml figure shallow`, paired as evidence for claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os.path import lexists
from pathlib import Path
from typing import ClassVar

from loraml_theory.harness.errors import InputError, one_line
from sims.shallow.settings import VALUES
from sims.shallow.tables import Paired, paired, read_runs


@dataclass(frozen=True, eq=False)
class ShallowRuns:
    """Both methods' runs on some axes.

    Parameters
    ----------
    name
        The folder, shown in every table; it is escaped where it is rendered.
    axes
        By axis: both methods' test errors in every setting.
    """

    kind: ClassVar[str] = "shallow"

    name: str
    axes: Mapping[str, Sequence[Paired]]

    @property
    def distinct(self) -> int:
        """Number of settings; axes cross in the defaults, which count once."""
        return len({tuple(pair.setting.items()) for pairs in self.axes.values() for pair in pairs})


def tables(place: Path) -> dict[str, Path]:
    """Return the tables of runs in a folder by axis."""
    found = {axis: place / f"shallow-{axis}-runs.csv" for axis in VALUES}
    return {axis: path for axis, path in found.items() if lexists(path)}


def read_shallow_runs(folder: Path) -> ShallowRuns:
    """Read the tables of runs in a folder.

    Raises
    ------
    InputError
        If one cannot be read, or is damaged.
    """
    axes = {}
    for axis, path in tables(folder).items():
        rows = read_runs(path)
        try:
            pairs = paired(rows)
        except ValueError as problem:
            raise InputError(f"{path}: is not a table of runs ({problem})") from None
        if {row["axis"] for row in rows} != {axis}:
            raise InputError(f"{path}: expected runs with {axis} varied")
        axes[axis] = pairs
    return ShallowRuns(one_line(str(folder)), axes)
