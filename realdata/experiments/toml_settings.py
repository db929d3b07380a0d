"""Settings from TOML tables: frozen dataclasses read by their annotations, every key and type checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from math import isfinite
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from loraml_theory.harness.errors import InputError, one_line

T = TypeVar("T")
Table = dict[str, Any]


class SettingsError(InputError):
    """Settings that make no sense; the text is one line with the key, what was got and what was expected."""


def overlaid(table: Table, changes: Table) -> Table:
    """Return a table with some keys replaced, in tables inside it as well.

    Examples
    --------
    >>> overlaid({"a": {"x": 1, "y": 2}, "b": 3}, {"a": {"y": 5}})
    {'a': {'x': 1, 'y': 5}, 'b': 3}
    """
    result = dict(table)
    for key, value in changes.items():
        before = result.get(key)
        result[key] = overlaid(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return result


def from_table(kind: type[T], table: Table, *, where: str = "") -> T:
    """Read a frozen dataclass from a table; its fields may be dataclasses, which are tables inside it.

    Parameters
    ----------
    kind
        The dataclass. Its fields may be annotated with int, float, bool, str, Literal, ``X | None``,
        ``tuple[X, ...]`` or a dataclass. What it refuses by ValueError is reported with the table's name.
    table
        What to read; a list becomes a tuple, a whole number a float where one is expected.
    where
        Name of the table with its dot, empty for the document.

    Raises
    ------
    SettingsError
        If a key is unknown or missing, or a value is not of its type or is refused by `kind`.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Model:
    ...     width: int
    ...     dropout: float = 0.1
    >>> from_table(Model, {"width": 8, "dropout": 0})
    Model(width=8, dropout=0.0)
    >>> from_table(Model, {"width": 8, "depht": 1}, where="model.")
    Traceback (most recent call last):
    realdata.experiments.toml_settings.SettingsError: model.depht: is no key, expected one of width, dropout
    """
    types = get_type_hints(kind)
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]  # a dataclass by contract
    for key in table:
        if key not in known:
            raise SettingsError(f"{where}{one_line(key)}: is no key, expected one of {', '.join(known)}")
    for name, field in known.items():
        if name not in table and field.default is MISSING and field.default_factory is MISSING:
            raise SettingsError(f"{where}{name}: is missing, expected {expected(types[name])}")
    values = {key: read(types[key], value, key=f"{where}{key}") for key, value in table.items()}
    try:
        return kind(**values)
    except (ValueError, TypeError) as problem:
        raise SettingsError(f"{where}{one_line(str(problem))}") from None


def read(kind: Any, value: Any, *, key: str) -> Any:
    """Return a value as the annotation `kind` wants it.

    Raises
    ------
    SettingsError
        If it is not of this kind.
    """
    if is_dataclass(kind) and isinstance(value, dict):
        return from_table(kind, value, where=f"{key}.")  # type: ignore[arg-type]  # a class, not an instance
    if get_origin(kind) is tuple and isinstance(value, (list, tuple)):
        return tuple(read(get_args(kind)[0], item, key=key) for item in value)
    fits, result = _plain(kind, value)
    if not fits:
        raise SettingsError(f"{key}: got {short(value)}, expected {expected(kind)}")
    return result


def _plain(kind: Any, value: Any) -> tuple[bool, Any]:
    """Return whether a value is of a simple kind, and what it becomes."""
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        tried = (_plain(member, value) for member in get_args(kind))
        return next((found for found in tried if found[0]), (False, None))
    if origin is Literal:
        return value in get_args(kind) and type(value) in {type(word) for word in get_args(kind)}, value
    if kind is float and type(value) in (int, float):
        number = _as_float(value)
        return isfinite(number), number
    if kind is NoneType:
        return value is None, None
    return type(value) is kind, value


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def expected(kind: Any) -> str:
    """Say in words what an annotation allows.

    Examples
    --------
    >>> expected(int), expected(tuple[int | Literal["all"], ...]), expected(Literal["adam", "sgd"])
    ('a whole number', 'a list of: a whole number or "all"', '"adam" or "sgd"')
    """
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return " or ".join(expected(member) for member in get_args(kind) if member is not NoneType)
    if origin is Literal:
        words = [f'"{word}"' if isinstance(word, str) else str(word) for word in get_args(kind)]
        return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
    if origin is tuple:
        return f"a list of: {expected(get_args(kind)[0])}"
    if is_dataclass(kind):
        return "a table"
    names = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text"}
    return names.get(kind, str(kind))


def short(value: Any) -> str:
    """Return a value in at most 80 characters of one line."""
    text = one_line(repr(value))
    return text if len(text) <= 80 else f"{text[:77]}..."


def differences(old: Mapping[str, Any], new: Mapping[str, Any], *, where: str = "") -> list[str]:
    """Return ``key: was .., is now ..`` for every key in which two documents differ.

    Examples
    --------
    >>> differences({"a": {"x": 1}, "b": 3}, {"a": {"x": 2}, "b": 3})
    ['a.x: was 1, is now 2']
    """
    found = []
    for key in sorted({*old, *new}):
        before, now = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            found += differences(before, now, where=f"{where}{key}.")
        elif before != now:
            found.append(f"{where}{key}: was {short(before)}, is now {short(now)}")
    return found
