"""Settings are read strictly: what is wrong is named by its key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from loraml_theory.harness.settings import SettingsError, differences, from_table, overlaid


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
        ({"inner": {"size": 1, "shape": 2}}, "inner.shape: is no key, expected one of size, share"),
        ({"inner": {"size": 1, "share": float("nan")}}, "inner.share: got nan, expected a finite number"),
        ({"inner": {"size": 1, "share": 10**400}}, "inner.share: got 1000"),
        ({"inner": 3}, "inner: got 3, expected a table"),
        ({"word": "three"}, 'word: got \'three\', expected "one" or "two"'),
        ({"numbers": 5}, 'numbers: got 5, expected a list of: a whole number or "all"'),
        ({"numbers": [5, "some"]}, "numbers: got 'some', expected a whole number or \"all\""),
        ({"flag": 1}, "flag: got 1, expected true or false"),
        ({"fl\nag": 1}, "is no key, expected one of inner, word, numbers, flag, maybe"),
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
