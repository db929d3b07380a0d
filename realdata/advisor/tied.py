"""Tied weights, which a file may hold under each of their names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from realdata.advisor.tensor_files import Described
from realdata.advisor.weight_kinds import is_table

CHUNK = 2**22
"""Number of entries compared at a time."""
HEADS = ("lm_head", "embed_out", "output_projection", "decoder", "output")
"""Heads that map to a vocabulary, and share their weight with the table that maps from it."""

Reader = Callable[[int, str, slice], np.ndarray]


def tied(described: Mapping[str, Described], names: Sequence[str], *, tasks: int, read: Reader) -> dict[str, str]:
    """Return the weights that equal another in every task, with the other's name.

    Parameters
    ----------
    described
        All weights.
    names
        The weights to compare: matrices of numbers.
    tasks
        Number of tasks.
    read
        ``read(t, name, rows)`` returns rows of task t's weight.

    Returns
    -------
    Each with the table among its equals, or else with the first of them.
    """
    groups: dict[tuple[object, ...], list[str]] = {}
    for name in names:
        shape, dtype = described[name]
        groups.setdefault((shape, dtype), []).append(name)
    found: dict[str, str] = {}
    for alike in groups.values():
        for equal in _equal(described, alike, tasks, read) if len(alike) > 1 else ():
            first = next((name for name in equal if is_table(name, described[name], described)), equal[0])
            found |= {name: first for name in equal if name != first}
    return found


def _equal(described: Mapping[str, Described], names: Sequence[str], tasks: int, read: Reader) -> Iterator[list[str]]:
    """Yield groups of weights of one shape that are equal in every task; rows of one repeated number do not count."""
    middle = described[names[0]].matrix[0] // 2
    rows: dict[bytes, list[str]] = {}
    for name in names:
        row = read(0, name, slice(middle, middle + 1))
        if np.ptp(row) > 0:
            rows.setdefault(row.tobytes(), []).append(name)
    for alike in rows.values():
        contents: dict[bytes, list[str]] = {}
        for name in alike if len(alike) > 1 else ():
            contents.setdefault(_digest(described[name], name, tasks, read), []).append(name)
        yield from (equal for equal in contents.values() if len(equal) > 1)


def _digest(found: Described, name: str, tasks: int, read: Reader) -> bytes:
    """Return a digest of a weight's numbers in all tasks."""
    rows, columns = found.matrix
    step, digest = max(1, CHUNK // columns), hashlib.sha256()
    for task in range(tasks):
        for start in range(0, rows, step):
            digest.update(np.ascontiguousarray(read(task, name, slice(start, start + step))).data)
    return digest.digest()


def is_head(weight: str) -> bool:
    """Return whether a weight is a head over a vocabulary by its name."""
    return weight.removesuffix(".weight").rpartition(".")[2] in HEADS


def tables_like(weight: str, shape: tuple[int, ...], base: Mapping[str, Described]) -> list[str]:
    """Return the tables and heads of a base to which a table or head of this shape may be tied."""
    return [
        name
        for name, found in base.items()
        if name != weight and found.shape == shape and (is_head(name) or is_table(name, found, base))
    ]
