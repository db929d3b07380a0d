"""Options that several commands share, and the parsers of their values.

`paper_checks.cli` reports a refused value as ``OPTION: got …, expected …``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeVar, get_args

import typer

Value = TypeVar("Value")
Parser = Callable[[Any], Value]

DIGITS = 18
LARGEST = 10**DIGITS - 1


def expecting(expected: str, read: Callable[[str], Value]) -> Parser[Value]:
    """Return a parser that reports what it got and expected where `read` raises ValueError."""

    def parse(text: Any) -> Any:
        if not isinstance(text, str):  # the default
            return text
        try:
            return read(text)
        except ValueError:
            raise typer.BadParameter(f"got {text!r}, expected {expected}") from None

    return parse


def whole(low: int = 0, high: int = LARGEST) -> Parser[int]:
    """Return a parser of whole numbers from `low` to `high`, of at most 18 digits."""

    def read(text: str) -> int:
        number = _digits(text)
        return _within(low <= number <= high, number)

    bounds = f">= {low} of at most {DIGITS} digits" if high == LARGEST else f"from {low} to {high}"
    return expecting(f"a whole number {bounds}", read)


def real(*, above: float, at_most: float | None = None, below: float = float("inf")) -> Parser[float]:
    """Return a parser of numbers in (above, at_most], or in (above, below) without `at_most`."""

    def read(text: str) -> float:
        number = float(text)
        return _within(above < number and (number < below if at_most is None else number <= at_most), number)

    bound = f"below {below:g}" if at_most is None else f"at most {at_most:g}"
    return expecting(f"a number above {above:g}, {bound}", read)


def whole_numbers(expected: str, *, count: int | None = None) -> Parser[Sequence[int]]:
    """Return a parser of whole numbers with commas between them, `count` of them if it is given."""

    def read(text: str) -> Sequence[int]:
        numbers = tuple(_digits(part.strip()) for part in text.split(","))
        return _within(count in (None, len(numbers)), numbers)

    return expecting(expected, read)


def listed(what: str, item: Callable[[str], Value]) -> Parser[Sequence[Value]]:
    """Return a parser of one word or more with commas between them."""
    return expecting(f"{what} with commas between them", lambda text: _split(text, item))


def picture_format(word: str) -> str:
    """Return a format of pictures; a ValueError says that it is none."""
    return _within(word in ("png", "pdf", "svg"), word)


def one_of(words: Any, what: str) -> Any:
    """Return an option whose value is one of the words of a Literal; `what` is its help."""
    allowed = get_args(words)

    def read(text: str) -> str:
        return _within(text in allowed, text)

    expected = f"{', '.join(allowed[:-1])} or {allowed[-1]}"
    return typer.Option(metavar="|".join(allowed), parser=expecting(expected, read), help=what)


def _split(text: str, item: Callable[[str], Value]) -> tuple[Value, ...]:
    words = tuple(item(word.strip()) for word in text.split(",") if word.strip())
    return _within(bool(words), words)


def _digits(text: str) -> int:
    return int(_within(text.isdecimal() and text.isascii() and len(text) <= DIGITS, text))


def _within(allowed: bool, value: Value) -> Value:
    if not allowed:
        raise ValueError
    return value


class Ids(tuple[str, ...]):
    """Ids of claims; a class, since Typer shows the name of an argument's type."""


claim_ids = expecting("ids of claims with commas between them", lambda text: Ids(_split(text, str)))

GroupName = Literal["paper", "continual", "all"]
ProfileName = Literal["quick", "full"]
EngineName = Literal["auto", "cpu", "torch", "cupy"]

Group = Annotated[GroupName, one_of(GroupName, "The group of claims.")]
Profile = Annotated[ProfileName, one_of(ProfileName, "How much work to do.")]
Engine = Annotated[EngineName, one_of(EngineName, "The engine; auto is cupy on a CUDA device, else cpu.")]
Device = Annotated[str | None, typer.Option(metavar="DEVICE", help="The device to compute on, such as cpu or cuda.")]
Formats = Annotated[
    Sequence[str],
    typer.Option(
        "--format",
        metavar="png,pdf,svg",
        parser=listed("png, pdf or svg", picture_format),
        help="The formats of the pictures.",
    ),
]
Width = Annotated[
    float | None,
    typer.Option(
        metavar="INCHES", parser=real(above=0, at_most=100), help="The pictures' width; text is scaled with them."
    ),
]
Seed = Annotated[int, typer.Option(metavar="S", parser=whole(), help="The seed of every random number.")]
