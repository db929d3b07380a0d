"""The types of what claims of one's own consist of and what their functions return: what is wrong, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from numbers import Real
from typing import Any, get_args

from paper_checks.claim import Assumption, AtScale, Beyond, Claim, Control, Finding, Group, Nature
from paper_checks.evidence.evidence import Evidence, Kind, Note, Relation
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.resolution import COARSER
from paper_checks.notation import mathml, unicode

ID = r"[A-Z]+-([0-9]+|[a-z]+)"
ID_EXPECTED = "capital letters, a hyphen, and a number or a word of small letters, such as OWN-1"

Test = tuple[Callable[[Any], bool], str]
"""Whether a value is right, and what is expected."""


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _all(value: Any, test: Callable[[Any], bool]) -> bool:
    return isinstance(value, tuple) and all(map(test, value))


def _or_none(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or test(value)


def _is_assumption(value: Any) -> bool:
    return isinstance(value, Assumption) and _is_text(value.what) and callable(value.test)


def _is_control(value: Any) -> bool:
    return (
        isinstance(value, Control) and _is_text(value.what) and callable(value.check) and callable(value.own_instance)
    )


def _is_beyond(value: Any) -> bool:
    return isinstance(value, AtScale | Beyond) and callable(value.check) and _all(value.controls, _is_named)


def _is_named(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and _is_text(value[0]) and callable(value[1])


def _is_number(value: Any) -> bool:
    return isinstance(value, Real)


def _is_size(value: Any) -> bool:
    return _is_number(value) and not value < 0


def _is_interval(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(map(_is_number, value))


TEXT: Test = (_is_text, "a text")
ANY_TEXT: Test = (lambda value: isinstance(value, str), "a text, which may be empty")
FUNCTION: Test = (callable, "a function")
NUMBER: Test = (_is_number, "a number")
FLAG: Test = (lambda value: isinstance(value, bool), "True or False")
FIELDS: dict[str, Test] = {
    "title": TEXT,
    "statement": TEXT,
    "source": TEXT,
    "nature": (get_args(Nature).__contains__, "'theorem' or 'empirical'"),
    "assumptions": (lambda value: _all(value, _is_assumption), "a tuple of Assumption(what, test)"),
    "check": FUNCTION,
    "controls": (lambda value: _all(value, _is_control), "a tuple of Control(what, check, own_instance)"),
    "figure": (_or_none(callable), "a function or None"),
    "at_scale": (_or_none(lambda value: isinstance(value, AtScale) and _is_beyond(value)), "an AtScale or None"),
    "for_all": (_or_none(lambda value: isinstance(value, Beyond) and _is_beyond(value)), "a Beyond or None"),
    "unit": ANY_TEXT,
    "keys": (lambda value: _all(value, _is_text), "a tuple of texts"),
    "group": (get_args(Group).__contains__, f"one of {', '.join(get_args(Group))}"),
    "existential": FLAG,
    "instances": FUNCTION,
}
EVIDENCE: dict[str, Test] = {
    "kind": (get_args(Kind).__contains__, f"one of {', '.join(get_args(Kind))}"),
    "instance": TEXT,
    "what": TEXT,
    "measured": NUMBER,
    "predicted": NUMBER,
    "relation": (get_args(Relation).__contains__, f"one of {', '.join(get_args(Relation))}"),
    "tolerance": (_is_size, "a number >= 0"),
    "reason": TEXT,
    "interval": (_or_none(_is_interval), "a pair of numbers or None"),
    "decidable": FLAG,
    "decides": FLAG,
    "samples": (_or_none(lambda value: isinstance(value, int)), "a whole number or None"),
    "key": ANY_TEXT,
    "rounding": (_or_none(_is_size), "a number >= 0 or None"),
    "displaced": (_or_none(_is_number), "a number or None"),
    "coarser": (lambda value: value == "" or value in COARSER, f"nothing, {' or '.join(map(repr, COARSER))}"),
}
NOTE: dict[str, Test] = {
    "instance": TEXT,
    "text": TEXT,
    "certificate": (_or_none(lambda value: isinstance(value, str)), "a text or None"),
}
FINDING: dict[str, Test] = {
    "holds": (lambda value: value is None or isinstance(value, bool), "True, False or None"),
    "measured": NUMBER,
}


def wrong_field(claim: Claim) -> Iterator[tuple[str, str]]:
    """Yield the fields of a claim that have a wrong value, with what is wrong."""
    yield from _wrong(claim, FIELDS)
    if not claim.controls:
        yield "controls", "got none, expected at least one false statement, which the check must refute"
    for name in ("title", "statement", "source"):
        yield from ((name, wrong) for wrong in _unread(getattr(claim, name)))
    yield from (("assumptions", wrong) for each in claim.assumptions for wrong in _unread(each.what))
    yield from (("keys", wrong) for key in claim.keys for wrong in _unread(key))


def wrong_item(value: Any) -> str | None:
    """Return what is wrong with a value that a check yields."""
    if not isinstance(value, Evidence | Note):
        return f"got {shown(value)}, expected Evidence or a Note"
    fields, texts = (EVIDENCE, ("what", "reason", "key")) if isinstance(value, Evidence) else (NOTE, ("text",))
    found = [f"{type(value).__name__}: {name}: {wrong}" for name, wrong in _wrong(value, fields)]
    return next(iter(found or [wrong for name in texts for wrong in _unread(getattr(value, name))]), None)


def wrong_finding(value: Any) -> str | None:
    """Return what is wrong with a value that an assumption's test returns."""
    if not isinstance(value, Finding):
        return f"got {shown(value)}, expected a Finding"
    return next((f"Finding: {name}: {wrong}" for name, wrong in _wrong(value, FINDING)), None)


def wrong_instance(value: Any) -> str | None:
    """Return what is wrong with a value that is drawn as an instance."""
    return None if isinstance(value, Instance) else f"got {shown(value)}, expected an Instance"


def _wrong(value: Any, fields: dict[str, Test]) -> Iterator[tuple[str, str]]:
    for name, (is_right, expected) in fields.items():
        found = getattr(value, name)
        try:
            right = is_right(found)
        except Exception:  # of a comparison or a hash of the user's
            right = False
        if not right:
            yield name, f"got {shown(found)}, expected {expected}"


def _unread(text: str) -> Iterator[str]:
    """Yield what a text says whose formulas, LaTeX between dollar signs, cannot be written."""
    try:
        unicode(text)
        mathml(text)
    except Exception:
        yield f"got {text!r}, expected formulas whose signs paper_checks/notation.py knows"


def shown(value: Any) -> str:
    """Return a value where it is short, else its type."""
    short = (
        value is None or isinstance(value, str | bool | int | float) or (isinstance(value, tuple | list) and not value)
    )
    return f"{value!r}" if short and len(repr(value)) <= 60 else f"a value of type {type(value).__name__}"
