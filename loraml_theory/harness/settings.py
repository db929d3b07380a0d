"""Settings from TOML tables: frozen dataclasses read by their annotations, every key and type checked.

``Annotated`` adds to a plain type: `Bounds` of a number, the allowed `Words` of a text, `Several` values for a tuple,
and `As` for a value that is read as one type and kept as another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from math import inf, isfinite
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from loraml_theory.harness.errors import InputError, one_line

T = TypeVar("T")
Table = dict[str, Any]

LARGEST = {int: 2**31 - 1, float: 1e100}
"""Upper bound of numbers whose `Bounds` do not name one."""


class SettingsError(InputError):
    """Invalid settings; the text is one line with the key, what was got and what was expected."""


class Bounds(NamedTuple):
    """A number of at least `low`, or `above` it, and at most `high`."""

    low: int
    high: int | None = None
    above: bool = False

    def hold(self, number: float) -> bool:
        """Return whether a number is within the bounds."""
        high = LARGEST[type(number)] if self.high is None else self.high
        return (self.low < number if self.above else self.low <= number) and number <= high

    def __str__(self) -> str:
        if self.high is None:
            return f"{'>' if self.above else '>='} {self.low}"
        digits = str(self.high)
        return f"in {self.low}..{digits if digits.strip('0') != '1' else f'10^{len(digits) - 1}'}"


class Words(NamedTuple):
    """The allowed texts."""

    allowed: tuple[str, ...]


class Several(NamedTuple):
    """One value, or a list of distinct ones; with `most`, a number of `what` up to it stands for 0, 1, .. instead."""

    most: int | None = None
    what: str = ""


class As(NamedTuple):
    """A value that is read as the annotation `kind` and converted by `make`."""

    kind: Any
    make: Callable[[Any], Any]


Axis = Annotated[tuple[T, ...], Several()]


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
        ``tuple[X, ...]`` or a dataclass, and by the classes above. A ValueError that it raises is reported with the
        table's name.
    table
        The table to read; a list becomes a tuple, a whole number a float where one is expected, inf the word "inf".
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
    loraml_theory.harness.settings.SettingsError: model.depht: is not a key, expected one of width, dropout
    """
    types = get_type_hints(kind, include_extras=True)
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]  # a dataclass by contract
    for key in table:
        if key not in known:
            raise SettingsError(f"{where}{one_line(key)}: is not a key, expected one of {', '.join(known)}")
    for name, field in known.items():
        if name not in table and field.default is MISSING and field.default_factory is MISSING:
            raise SettingsError(f"{where}{name}: is missing, expected {expected(types[name])}")
    values = {key: read(types[key], value, key=f"{where}{key}") for key, value in table.items()}
    try:
        return kind(**values)
    except (ValueError, TypeError) as problem:
        raise SettingsError(f"{where}{one_line(str(problem))}") from None


def read(kind: Any, value: Any, *, key: str) -> Any:
    """Return a value converted to the annotation `kind`.

    Raises
    ------
    SettingsError
        If it is not of this kind.
    """
    if is_dataclass(kind):
        if not isinstance(value, dict):
            raise SettingsError(f"{key}: got {short(value)}, expected a table [{key}]")
        return from_table(kind, value, where=f"{key}.")  # type: ignore[arg-type]  # a class, not an instance
    plain, notes = _parts(kind)
    if Several in notes and not (isinstance(value, list) or notes[Several].most):
        value = [value]
    if get_origin(plain) is tuple and isinstance(value, (list, tuple)):
        item = get_args(plain)[0]
        return _distinct(kind, value, key) if Several in notes else tuple(read(item, each, key=key) for each in value)
    fits, result = _plain(kind, value)
    if not fits:
        raise SettingsError(f"{key}: got {short(value)}, expected {expected(kind)}")
    return result


def _distinct(kind: Any, values: Sequence[Any], key: str) -> tuple[Any, ...]:
    """Return the values if there is at least one, and none twice."""
    item, found = get_args(_parts(kind)[0])[0], []
    for value in values:
        fits, result = _plain(item, value)
        if not fits:
            raise SettingsError(f"{key}: got {short(value)}, expected {expected(kind)}")
        found.append(result)
    if not found:
        raise SettingsError(f"{key}: got an empty list, expected {expected(kind)}")
    if len(set(found)) < len(found):
        twice = next(value for i, value in enumerate(found) if value in found[:i])
        raise SettingsError(f"{key}: got {short(twice)} twice, expected every value once")
    return tuple(found)


def _parts(kind: Any) -> tuple[Any, dict[type, Any]]:
    """Split an annotation into the type and its notes by their class."""
    if get_origin(kind) is not Annotated:
        return kind, {}
    plain, *notes = get_args(kind)
    return plain, {type(note): note for note in notes}


def _plain(kind: Any, value: Any) -> tuple[bool, Any]:
    """Return whether a value is of a simple kind, and what it becomes."""
    plain, notes = _parts(kind)
    if notes:
        return _bounded(plain, notes, value)
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        tried = (_plain(member, value) for member in get_args(kind))
        return next((found for found in tried if found[0]), (False, None))
    if origin is Literal:
        word = "inf" if type(value) is float and value == inf else value
        return word in get_args(kind) and type(word) in {type(word) for word in get_args(kind)}, word
    if kind is float and type(value) in (int, float):
        number = _as_float(value)
        return isfinite(number), number
    if kind is NoneType:
        return value is None, None
    return type(value) is kind, value


def _bounded(plain: Any, notes: dict[type, Any], value: Any) -> tuple[bool, Any]:
    """Do the same for an annotated kind."""
    if Several in notes:
        fits = type(value) is int and 1 <= value <= notes[Several].most
        return fits, tuple(range(value)) if fits else None
    fits, result = _plain(notes[As].kind if As in notes else plain, value)
    if not fits:
        return False, None
    if As in notes:
        return True, notes[As].make(result)
    return result in notes[Words].allowed if Words in notes else notes[Bounds].hold(result), result


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return inf


def expected(kind: Any) -> str:
    """Return in words what an annotation allows.

    Examples
    --------
    >>> expected(int), expected(tuple[int | Literal["all"], ...]), expected(Literal["adam", "sgd"])
    ('a whole number', 'a list of: a whole number or "all"', '"adam" or "sgd"')
    >>> expected(Axis[Annotated[int, Bounds(1)]]), expected(Annotated[float, Bounds(0, above=True)])
    ('a whole number >= 1, or a list of them', 'a finite number > 0')
    """
    plain, notes = _parts(kind)
    if Several in notes:
        (most, what), item = notes[Several], expected(get_args(plain)[0])
        return f"a number of {what} in 1..{most}, or a list of: {item}" if most else f"{item}, or a list of them"
    *most, last = _choices(kind)
    return f"{', '.join(most)} or {last}" if most else last


def _choices(kind: Any) -> list[str]:
    plain, notes = _parts(kind)
    if As in notes:
        return _choices(notes[As].kind)
    origin = get_origin(plain)
    if origin in (Union, UnionType):
        return [text for member in get_args(plain) if member is not NoneType for text in _choices(member)]
    if origin is Literal or Words in notes:
        words = notes[Words].allowed if Words in notes else get_args(plain)
        return [f'"{word}"' if isinstance(word, str) else str(word) for word in words]
    if origin is tuple:
        return [f"a list of: {expected(get_args(plain)[0])}"]
    names = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text"}
    name = "a table" if is_dataclass(plain) else names.get(plain, str(plain))
    return [f"{name} {notes[Bounds]}" if Bounds in notes else name]


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
    for key in {**new, **old}:  # in the order of what is wanted now
        before, now = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            found += differences(before, now, where=f"{where}{key}.")
        elif before != now:
            found.append(f"{where}{key}: was {short(before)}, is now {short(now)}")
    return found
