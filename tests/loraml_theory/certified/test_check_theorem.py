"""The checker of theorems accepts the identities that were found, and refuses every other file."""

from __future__ import annotations

import ast
import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from time import process_time
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import loraml_theory
from loraml_theory.certified import check, check_theorem
from loraml_theory.certified.check import InvalidError, UnreadableError

SHIPPED = sorted(Path(loraml_theory.__path__[0], "certificates/theorems").glob("*.json"))
NAMES = [path.stem for path in SHIPPED]
SMALL = [name for name in NAMES if "k3" not in name]


def document(name: str) -> dict[str, Any]:
    """Return a certificate that ships."""
    (path,) = (path for path in SHIPPED if path.stem == name)
    return dict(json.loads(path.read_text("ascii")))


def sealed(changed: dict[str, Any]) -> str:
    """Write a document with a digest that fits."""
    return json.dumps({**changed, "sha256": check.content_digest(changed)})


def checked(changed: dict[str, Any]) -> check_theorem.Theorem:
    return check_theorem.check(check.opened(sealed(changed)))


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where every whole number of the proof is."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, (*path, key))
    elif isinstance(value, int):
        yield path


def replaced(original: dict[str, Any], path: tuple[Any, ...], by: Any) -> dict[str, Any]:
    changed = copy.deepcopy(original)
    holder: Any = changed
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = by
    return changed


def value_at(original: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        original = original[key]
    return original


def is_refused(changed: dict[str, Any]) -> bool:
    try:
        checked(changed)
    except (InvalidError, UnreadableError):
        return True
    return False


def test_what_ships() -> None:
    assert [f"ml-3-k{k}-{adapters}" for k in (1, 2, 3) for adapters in ("asymmetric", "symmetric")] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_shipped_certificates_are_valid(name: str) -> None:
    started = process_time()
    found = checked(document(name))
    assert process_time() - started < 2
    assert f"ml-3-k{found.k}-{found.adapters}" == name
    assert found.terms == sum(len(one["terms"]) for one in document(name)["identities"])


def check_identity(name: str, at: int, identity: Any) -> int:
    """Check one identity of a certificate, which costs less than all of it."""
    k = int(name[6])
    expansions = check_theorem._Expansions(k, name.endswith("-symmetric"))
    return check_theorem._check_identity(expansions, identity, check_theorem.entries(k)[at], "it")


@pytest.mark.parametrize(
    "name", [name if "k1" in name else pytest.param(name, marks=pytest.mark.long) for name in SMALL]
)
def test_every_number_matters(name: str) -> None:
    """Each number is replaced by others, the digest recomputed: a coefficient, an exponent, an index, any."""
    original = document(name)
    for key in ("schema", "k"):
        for new in {0, 1, 2, 3, 4} - {original[key]}:
            assert is_refused({**original, key: new})
    for at, identity in enumerate(original["identities"]):
        for path in places(identity):
            old = value_at(identity, path)
            for new in {old + 1, old - 1, -old, 0, 1, 2, 3, 5} - {old}:
                with pytest.raises((InvalidError, UnreadableError)):
                    check_identity(name, at, replaced(identity, path, new))


@settings(max_examples=10)
@given(st.sampled_from(NAMES[2:]), st.integers(0, 2), st.data(), st.integers(-20, 20))
def test_any_number_of_a_larger_certificate_matters(name: str, at: int, data: st.DataObject, new: int) -> None:
    """One number in one identity, which alone is checked, since each takes time."""
    identity = document(name)["identities"][at]
    path = data.draw(st.sampled_from([*places(identity)]))
    assume(new != value_at(identity, path))
    with pytest.raises((InvalidError, UnreadableError)):
        check_identity(name, at, replaced(identity, path, new))


def test_a_change_without_a_new_digest_is_seen_first() -> None:
    changed = replaced(document("ml-3-k1-symmetric"), ("identities", 0, "multiple"), 2)
    with pytest.raises(InvalidError, match="digest does not match"):
        check.opened(json.dumps(changed))


@pytest.mark.parametrize("name", SMALL)
def test_no_identity_and_no_term_can_be_left_out_or_doubled(name: str) -> None:
    original = document(name)
    for at, identity in enumerate(original["identities"]):
        rest = [one for one in original["identities"] if one is not identity]
        assert is_refused({**original, "identities": rest})
        assert is_refused({**original, "identities": [*rest, rest[0]]})
        for term in range(len(identity["terms"])):
            kept = [*identity["terms"]]
            gone = kept.pop(term)
            for terms in (kept, [*kept, gone, gone]):
                assert is_refused(replaced(original, ("identities", at, "terms"), terms))


def test_an_identity_of_one_kind_of_adapters_says_nothing_of_the_other_unless_it_holds_there() -> None:
    """The claim's words belong to the adapters; identities of a general matrix hold for a symmetric one."""
    original = document("ml-3-k2-asymmetric")
    with pytest.raises(UnreadableError, match=r"^claim: got "):
        checked({**original, "adapters": "symmetric"})


FIRST = ("identities", 0, "terms", 0)
ODD: dict[str, tuple[tuple[Any, ...], Any, str]] = {
    "schema": (("schema",), True, "schema: got True, expected 1"),
    "kind": (("kind",), "proof", "kind: got 'proof'"),
    "claim": (("claim",), "ML-3", "claim: got 'ML-3'"),
    "k": (("k",), 4, "k: got 4, expected a whole number from 1 to 3"),
    "k of truth": (("k",), True, "k: got True"),
    "adapters": (("adapters",), ["symmetric"], "adapters: got ['symmetric']"),
    "identities": (("identities",), {}, "identities: expected a list of 3"),
    "an identity": (("identities", 1), [], "identities[1]: expected an object"),
    "entry": (("identities", 0, "entry"), [0, 3], "identities[0]: entry: got [0, 3], expected [0, 2]"),
    "multiple": (("identities", 0, "multiple"), 0, "multiple: got 0, expected a positive"),
    "terms": (("identities", 0, "terms"), None, "terms: expected a list of at most 2000"),
    "many terms": (("identities", 0, "terms"), [0] * 2001, "terms: expected a list of at most 2000"),
    "a term": (FIRST, 1, "terms[0]: expected an object of coefficient, columns"),
    "coefficient": ((*FIRST, "coefficient"), 10**30, "coefficient: got 1000000000"),
    "no coefficient": ((*FIRST, "coefficient"), 0, "coefficient: got 0"),
    "task": ((*FIRST, "task"), 3, "task: got 3, expected 0 to 2"),
    "rows": ((*FIRST, "rows"), [0, 1], "rows: expected 3 numbers from 0 to 5"),
    "row": ((*FIRST, "rows"), [0, 1, 6], "rows: expected 3 numbers from 0 to 5"),
    "row twice": ((*FIRST, "rows"), [0, 1, 1], "rows: got [0, 1, 1], expected them in increasing order"),
    "monomial": ((*FIRST, "monomial"), [[0, 1]], "monomial: expected lists [i, j, exponent]"),
    "exponent": ((*FIRST, "monomial"), [[0, 1, 10**9]], "of degree at most 4 in total"),
    "exponents": ((*FIRST, "monomial"), [[0, 1, 4], [0, 2, 4]], "of degree at most 4 in total"),
    "exponent 0": ((*FIRST, "monomial"), [[0, 1, 0]], "monomial: expected lists"),
    "order": ((*FIRST, "monomial"), [[0, 2, 1], [0, 1, 1]], "in increasing order"),
    "symmetry": ((*FIRST, "monomial"), [[1, 0, 1]], "monomial: expected lists"),
}


@pytest.mark.parametrize("name", ODD)
def test_a_field_of_the_wrong_form_is_named(name: str) -> None:
    path, value, message = ODD[name]
    with pytest.raises(UnreadableError) as caught:
        checked(replaced(document("ml-3-k2-symmetric"), path, value))
    assert message in str(caught.value)
    assert len(str(caught.value)) < 220


def test_a_minor_that_several_tasks_share_has_one_name() -> None:
    original = document("ml-3-k1-symmetric")
    terms = [{"coefficient": 1, "monomial": [], "task": 1, "rows": [0, 1], "columns": [0, 2]}]
    with pytest.raises(UnreadableError, match="task: got 2, expected the first with the same minor"):
        checked(replaced(original, ("identities", 0, "terms"), [{**terms[0], "task": 2}]))
    flipped = {**terms[0], "rows": [0, 2], "columns": [0, 1]}
    with pytest.raises(UnreadableError, match="expected the rows of a symmetric matrix to come before"):
        checked(replaced(original, ("identities", 0, "terms"), [flipped]))


def test_a_wrong_identity_of_the_right_form_is_not_valid() -> None:
    original = document("ml-3-k1-symmetric")
    with pytest.raises(InvalidError, match=r"identities\[0\]: its two sides differ"):
        checked(replaced(original, ("identities", 0, "terms"), []))


@pytest.mark.long
def test_the_largest_file_takes_bounded_time() -> None:
    rng = random.Random(0)
    original = document("ml-3-k3-asymmetric")
    for identity in original["identities"]:
        identity["terms"] = [
            {
                "coefficient": rng.randint(1, 2**60),
                "monomial": [[a, rng.randrange(9), 1] for a in range(4)],
                "task": 0,
                "rows": (rows := sorted(rng.sample(range(9), 4))) and sorted({0, *rows[-3:]}),
                "columns": sorted({0, *sorted(rng.sample(range(9), 4))[-3:]}),
            }
            for _ in range(check_theorem.MOST_TERMS)
        ]
    started = process_time()
    with pytest.raises((InvalidError, UnreadableError)):
        checked(original)
    assert process_time() - started < 10


def test_it_shares_no_code_with_what_it_checks() -> None:
    tree = ast.parse(Path(check_theorem.__file__).read_bytes())
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert modules <= {"dataclasses", "functools", "itertools", "typing", "__future__", "loraml_theory.certified.check"}
