"""Settings are read strictly: what is wrong is named by its key."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Annotated, Any, Literal

import pytest

from loraml_theory.harness.settings import (
    As,
    Axis,
    Bounds,
    SettingsError,
    Several,
    Words,
    differences,
    from_table,
    overlaid,
)


@dataclass(frozen=True)
class Inner:
    size: int
    share: float = 0.5

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size: got {self.size}, expected at least 1")


@dataclass(frozen=True)
class Outer:
    inner: Inner
    word: Literal["one", "two"]
    numbers: tuple[int | Literal["all"], ...] = ()
    flag: bool = False
    maybe: float | None = None


GOOD: dict[str, Any] = {
    "inner": {"size": 3, "share": 1},
    "word": "two",
    "numbers": [5, "all"],
    "flag": True,
    "maybe": 2,
}


def test_tables_become_dataclasses() -> None:
    found = from_table(Outer, GOOD)
    assert found == Outer(Inner(3, 1.0), "two", (5, "all"), True, 2.0)
    assert type(found.inner.share) is float
    assert type(found.maybe) is float


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"inner": {"size": 0}}, "inner.size: got 0, expected at least 1"),
        ({"inner": {"size": True}}, "inner.size: got True, expected a whole number"),
        ({"inner": {"size": 1.0}}, "inner.size: got 1.0, expected a whole number"),
        ({"inner": {}}, "inner.size: is missing, expected a whole number"),
        ({"inner": {"size": 1, "shape": 2}}, "inner.shape: is not a key, expected one of size, share"),
        ({"inner": {"size": 1, "share": float("nan")}}, "inner.share: got nan, expected a finite number"),
        ({"inner": {"size": 1, "share": 10**400}}, "inner.share: got 1000"),
        ({"inner": 3}, "inner: got 3, expected a table"),
        ({"word": "three"}, 'word: got \'three\', expected "one" or "two"'),
        ({"numbers": 5}, 'numbers: got 5, expected a list of: a whole number or "all"'),
        ({"numbers": [5, "some"]}, "numbers: got 'some', expected a whole number or \"all\""),
        ({"flag": 1}, "flag: got 1, expected true or false"),
        ({"fl\nag": 1}, "is not a key, expected one of inner, word, numbers, flag, maybe"),
    ],
)
def test_what_is_wrong_is_named_by_its_key(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        from_table(Outer, {**GOOD, **changes})
    assert text in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 200


def test_only_the_keys_given_are_replaced() -> None:
    assert overlaid(GOOD, {"inner": {"size": 9}, "word": "one"}) == {
        **GOOD,
        "inner": {"size": 9, "share": 1},
        "word": "one",
    }
    assert GOOD["inner"] == {"size": 3, "share": 1}


def test_differences_name_keys_and_both_values() -> None:
    assert differences({"a": {"x": 1, "y": 2}}, {"a": {"x": 1}, "b": [3]}) == [
        "a.y: was 2, is now None",
        "b: was None, is now [3]",
    ]


Count = Annotated[int, Bounds(1, 10**15)] | Literal["inf"]


@dataclass(frozen=True)
class Noted:
    share: Annotated[float, Bounds(0, above=True)] = 0.5
    word: Annotated[str, Words(("one", "two"))] = "one"
    sizes: Axis[Annotated[float, As(Count, float)]] = (1.0,)
    seeds: Annotated[tuple[Annotated[int, Bounds(0)], ...], Several(9, "seeds")] = (0,)


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ({"share": 1}, Noted(share=1.0)),
        ({"sizes": 3, "seeds": 3}, Noted(sizes=(3.0,), seeds=(0, 1, 2))),
        ({"sizes": ["inf", 10**15], "seeds": [7, 3]}, Noted(sizes=(inf, 1e15), seeds=(7, 3))),
        ({"sizes": inf, "word": "two"}, Noted(sizes=(inf,), word="two")),
    ],
)
def test_what_stands_beside_a_type_is_read(table: dict[str, Any], found: Noted) -> None:
    assert from_table(Noted, table) == found


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ({"share": 0}, "share: got 0, expected a finite number > 0"),
        ({"share": 1e101}, "share: got 1e+101, expected a finite number > 0"),
        ({"word": "three"}, 'word: got \'three\', expected "one" or "two"'),
        ({"sizes": 0}, 'sizes: got 0, expected a whole number in 1..10^15 or "inf", or a list of them'),
        ({"sizes": [1, 1]}, "sizes: got 1.0 twice, expected every value once"),
        ({"sizes": []}, "sizes: got an empty list, expected a whole number"),
        ({"seeds": 10}, "seeds: got 10, expected a number of seeds in 1..9, or a list of: a whole number >= 0"),
        ({"seeds": [-1]}, "seeds: got -1, expected a number of seeds in 1..9, or a list of: a whole number >= 0"),
        ({"seeds": [2**31]}, "seeds: got 2147483648, expected a number of seeds"),
    ],
)
def test_what_does_not_fit_it_is_named(table: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        from_table(Noted, table)
    assert str(refused.value).startswith(text)
