"""The compared weights of the tasks, and the omitted ones, each with its reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from loraml_theory.harness.errors import InputError
from realdata.advisor.task_weights import TaskWeights
from realdata.advisor.tensor_files import Described

_PART = re.compile(r"\[\d+\]$")
NAMED = 3
"""Largest number of tasks named in a reason."""


class LeftOut(NamedTuple):
    """A weight that is not compared, and why."""

    name: str
    shape: tuple[int, ...]
    reason: str


class Compared(NamedTuple):
    """Weights that all tasks have in one shape, and the rest."""

    described: dict[str, Described]
    left_out: tuple[LeftOut, ...]


def compared(
    tasks: Sequence[TaskWeights],
    *,
    common: bool,
    ignored: Callable[[str], str | None],
    excluded: Mapping[str, str],
) -> Compared:
    """Classify the weights of all tasks.

    Parameters
    ----------
    tasks
        Tasks with matching names.
    common
        Whether they are adapters of one base: then only weights that adapters change are compared.
    ignored
        See `ignoring`.
    excluded
        Weights whose adapters do not fit, with the reason.
    """
    found = [task.described() for task in tasks]
    names = dict.fromkeys(name for each in found for name in each)
    if common:
        names = dict.fromkeys(name for name in names if any(t.has_factors(name) or t.has_saved(name) for t in tasks))
    described: dict[str, Described] = {}
    left: list[LeftOut] = []
    for name in names:
        known = {task.name: each[name] for task, each in zip(tasks, found, strict=True) if name in each}
        first = next(iter(known.values()))
        reason = ignored(name) or excluded.get(name)
        reason = reason or (_unlike_base(tasks, name) if common else _lacking(tasks, name, known)) or _unlike(known)
        if reason is None:
            described[name] = first
        else:
            left.append(LeftOut(name, first.shape, reason))
    return Compared(described, tuple(left))


def ignoring(patterns: Sequence[str]) -> Callable[[str], str | None]:
    """Return a function that returns why ``--ignore`` omits a weight, or None.

    Parameters
    ----------
    patterns
        As for file names: ``*``, ``?`` and ``[...]``; case matters.
    """

    def reason(name: str) -> str | None:
        tensor = _PART.sub("", name)
        found = next((pattern for pattern in patterns if fnmatchcase(tensor, pattern)), None)
        return None if found is None else f"is left out by --ignore {found!r}"

    return reason


def _lacking(tasks: Sequence[TaskWeights], name: str, known: Mapping[str, Described]) -> str | None:
    """Return a text on which tasks have a weight, or None if all have it."""
    if len(known) < len(tasks):
        return f"is not in all tasks: {_some(list(known))} of {len(tasks)} have it" if len(known) > 1 else _only(known)
    alone = [task.name for task in tasks if not task.has_plain(name)]
    return f"is adapted by {_some(alone)}, but the base does not have it" if alone else None


def _only(known: Mapping[str, Described]) -> str:
    return f"is not in all tasks: only {_some(list(known))} has it"


def _unlike_base(tasks: Sequence[TaskWeights], name: str) -> str | None:
    """Return why adapters of one base cannot be compared in a weight; factors alone can be compared."""
    lacking = [task.name for task in tasks if not task.has_plain(name)]
    if not lacking or not any(task.has_saved(name) for task in tasks):
        return None
    if tasks[0].weights is not None:
        return f"is saved in full by some tasks, but is not in the base, from which {_some(lacking)} would take it"
    return f"is saved in full by some tasks, and the adapters of {_some(lacking)} need the base: give it as --base"


def _unlike(known: Mapping[str, Described]) -> str | None:
    """Return how tasks differ in a weight's shape or dtype."""
    shapes = {name: " × ".join(map(str, found.shape)) or "a number" for name, found in known.items()}
    if len(set(shapes.values())) > 1:
        return f"has other shapes: {_by_value(shapes)}"
    if len({found.floating for found in known.values()}) > 1:
        return f"holds other numbers: {_by_value({name: str(found.dtype) for name, found in known.items()})}"
    return None


def _by_value(values: Mapping[str, str]) -> str:
    groups: dict[str, list[str]] = {}
    for name, value in values.items():
        groups.setdefault(value, []).append(name)
    shown = [f"{value} in {_some(names)}" for value, names in list(groups.items())[:NAMED]]
    return ", ".join([*shown, "…"] if len(groups) > NAMED else shown)


def _some(names: Sequence[str]) -> str:
    """Name some of the tasks.

    Examples
    --------
    >>> _some(["a", "b"]), _some(["a", "b", "c", "d", "e"])
    ('a and b', 'a, b, c and 2 more')
    """
    shown = list(names[:NAMED])
    more = [f"{len(names) - NAMED} more"] if len(names) > NAMED else []
    *first, last = [*shown, *more]
    return f"{', '.join(first)} and {last}" if first else last


def check_not_empty(found: Compared) -> None:
    """Raise InputError if the tasks have no common weight."""
    if not found.described and found.left_out:
        left = found.left_out[0]
        more = f" ({len(found.left_out)} weights are left out)" if len(found.left_out) > 1 else ""
        raise InputError(f"the tasks have no weight that can be compared: {left.name!r} {left.reason}{more}")
