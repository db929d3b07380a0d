"""The checker accepts what was proved, and refuses what was tampered with wherever the proof no longer follows."""

from __future__ import annotations

import ast
import copy
import json
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraml_theory.certified import certificate, check, search
from loraml_theory.certified.check import Content, InvalidError, UnreadableError
from loraml_theory.certified.prove import prove
from loraml_theory.exact import rationals
from tests.loraml_theory.certified import points

NAMES = [path.stem for path in points.SHIPPED]
STEP = Fraction(1, 1000)
WEAKER = {("value", "lower", -1), ("value", "upper", 1), ("curvature", "lower", -1)}
"""Changes after which the certificate claims less than before, and so stays valid."""


def sealed(document: dict[str, Any]) -> str:
    """Write a document with a digest that fits."""
    return json.dumps({**document, "sha256": check.content_digest(document)})


def numbers(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where every number of the part that the proof rests on is."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from numbers(item, (*path, key))
    else:
        yield path


def test_what_ships() -> None:
    assert NAMES == ["d3-k1-T3", "d4-k1-T3", "d6-k2-T3"]


@pytest.mark.parametrize("name", NAMES)
def test_shipped_certificates_are_valid(name: str) -> None:
    started = process_time()
    content = check.check(json.dumps(points.document(name)))
    assert process_time() - started < 5
    T, d, k = content.shape
    assert f"d{d}-k{k}-T{T}" == name
    assert 0 < content.lower < content.upper
    assert content.curvature > Fraction(2, 100)


@pytest.mark.parametrize("name", NAMES)
def test_shipped_certificates_are_made_again(name: str) -> None:
    """From the same structure the same proof: all numbers that count are equal."""
    made = points.document(name)
    proof = prove(rationals(points.factors(name)), points.spurious(name))
    again = certificate.document(proof, made["found"])
    assert {key: again[key] for key in ("structure", "value", "curvature", "claim")} == {
        key: made[key] for key in ("structure", "value", "curvature", "claim")
    }
    check.check(certificate.dumps(again))


@pytest.mark.parametrize("name", NAMES)
def test_three_tasks_are_independent_where_it_is_spurious(name: str) -> None:
    """ML-3 says that the global minimum is the truth there; what is proved is another local one."""
    U = points.factors(name)
    assert np.linalg.matrix_rank(np.concatenate(list(U), axis=1)) == 3 * U.shape[2]


@pytest.mark.parametrize("name", NAMES)
def test_every_number_matters(name: str) -> None:
    """Each number is moved by 1/1000 either way, the digest recomputed: only a weaker claim stays valid."""
    original = points.document(name)
    kept = set()
    where = [at for part in ("structure", "point", "value", "curvature") for at in numbers(original[part], (part,))]
    for at in where:
        for sign in (1, -1):
            changed = copy.deepcopy(original)
            holder = changed
            for key in at[:-1]:
                holder = holder[key]
            old = holder[at[-1]]
            holder[at[-1]] = old + sign if isinstance(old, int) else str(Fraction(old) + sign * STEP)
            try:
                check.check(sealed(changed))
            except (InvalidError, UnreadableError):
                continue
            kept.add((*at, sign))
    assert kept == WEAKER
    assert len(where) > 20


def test_a_change_without_a_new_digest_is_seen_first() -> None:
    for path, text in ((("found", "seed"), 1), (("claim",), "none"), (("value", "lower"), "1")):
        changed = points.document("d3-k1-T3")
        holder = changed
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = text
        with pytest.raises(InvalidError, match="digest does not match"):
            check.check(json.dumps(changed))


def forged(**changes: Any) -> dict[str, Any]:
    document = points.document("d6-k2-T3")
    document["point"] = {**document["point"], **changes}
    return document


def test_a_global_minimum_is_no_spurious_one() -> None:
    document = points.document("d3-k1-T3")
    document["point"]["U"] = document["structure"]["U_star"]
    with pytest.raises(InvalidError, match="value: the lower bound is above"):
        check.check(sealed({**document, "curvature": {"lower": "1e-3"}}))


def test_a_saddle_is_no_minimum() -> None:
    document = points.document("d3-k1-T3")
    document["point"]["U"] = [[["0"], ["0"], ["0"]]] * 3
    with pytest.raises(InvalidError, match="curvature: the Hessian is not proved"):
        check.check(sealed({**document, "curvature": {"lower": "1e-9"}}))


def test_a_minimum_that_is_missed_by_more_than_the_radius_is_not_enclosed() -> None:
    document = forged()
    document["point"]["U"][0][0][0] = str(Fraction(document["point"]["U"][0][0][0]) + Fraction(1, 10**25))
    with pytest.raises(InvalidError, match="no stationary point is proved"):
        check.check(sealed(document))
    document["point"]["radius"] = "1e-20"
    check.check(sealed(document))


@pytest.mark.parametrize(
    ("rows", "text"),
    [([[0], [4], [4]], "is not 0 right of"), ([[4], [5], [4]], "is not 0 right of")],
    ids=["another row", "the last row"],
)
def test_a_row_without_its_zero_is_no_gauge(rows: list[list[int]], text: str) -> None:
    with pytest.raises(InvalidError, match=text):
        check.check(sealed(forged(gauge_rows=rows)))


def test_a_pivot_that_may_be_zero_is_no_gauge() -> None:
    """With the row of zeros as gauge row, a zero of the gradient in the slice need not be one of the gradient."""
    document = forged()
    for U in (document["structure"]["U_star"], document["point"]["U"]):
        for factor in U:
            factor.append(["0", "0"])
    document["structure"]["d"] = 7
    with pytest.raises(InvalidError, match="the pivot may be 0"):
        check.check(sealed({**document, "point": {**document["point"], "gauge_rows": [[6], [4], [4]]}}))
    with pytest.raises(InvalidError):
        check.check(sealed({**document, "point": {**document["point"], "gauge_rows": [[4], [4], [6]]}}))


def test_the_gauge_names_no_row_twice() -> None:
    content = Content(
        U_star=[[[Fraction(0)] * 3] * 3] * 2,
        U=[[[Fraction(0)] * 3] * 3] * 2,
        rows=[[1, 1], [0, 1]],
        radius=Fraction(1),
        curvature=Fraction(1),
        lower=Fraction(1),
        upper=Fraction(1),
    )
    with pytest.raises(InvalidError, match="names a row twice"):
        check._check_gauge(content)


BROKEN: dict[str, tuple[Any, str]] = {
    "no JSON": ("{", "is not JSON"),
    "deep": ("[" * 100_000, "is not JSON"),
    "deep and closed": ('{"schema": ' + "[" * 500 + "]" * 500 + "}", "is nested too deeply"),
    "a list": ("[]", "expected an object"),
    "floats": ('{"schema": 1.0}', "in floating point"),
    "not a number": ('{"schema": NaN}', "in floating point"),
    "twice": ('{"schema": 1, "schema": 1}', "occurs twice"),
    "no digest": ("{}", "sha256: missing"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_certificate_is_unreadable(name: str) -> None:
    text, message = BROKEN[name]
    with pytest.raises(UnreadableError, match=message):
        check.check(text)


ODD: dict[str, tuple[tuple[Any, ...], Any, str]] = {
    "schema": (("schema",), 2, "schema: got 2, expected 1"),
    "kind": (("kind",), "minimum", "kind: got 'minimum'"),
    "no structure": (("structure",), None, "structure: missing"),
    "d": (("structure", "d"), 4, "expected 3 lists of 4 lists"),
    "d of words": (("structure", "d"), "3", "d: got '3', expected a whole number"),
    "true": (("structure", "k"), True, "k: got True"),
    "one task": (("structure", "T"), 1, "expected T >= 2"),
    "huge": (("structure", "d"), 10**6, "T d k <= 300"),
    "number": (("point", "radius"), "1e-3000", "radius: got '1e-3000'"),
    "JSON number": (("point", "radius"), 1, "radius: got 1, expected a rational number in a string"),
    "division by 0": (("point", "radius"), "1/0", "radius: got '1/0'"),
    "word": (("value", "lower"), "much", "lower: got 'much'"),
    "infinity": (("value", "upper"), "inf", "upper: got 'inf'"),
    "row": (("point", "gauge_rows"), [[0], [], []], "gauge_rows: expected 3 lists of 0 rows"),
    "entry": (("point", "U", 0, 0, 0), ["1"], "expected a rational number"),
}


@pytest.mark.parametrize("name", ODD)
def test_a_field_of_the_wrong_form_is_named(name: str) -> None:
    path, value, message = ODD[name]
    document = points.document("d3-k1-T3")
    holder: Any = document
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    with pytest.raises(UnreadableError) as caught:
        check.check(sealed(document))
    assert message in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("rows", [[[9], [4], [4]], [[-1], [4], [4]], [[True], [4], [4]], [["4"], [4], [4]]])
def test_rows_are_whole_numbers_in_range(rows: Any) -> None:
    with pytest.raises(UnreadableError, match="expected rows from 0 to 5"):
        check.check(sealed(forged(gauge_rows=rows)))


@given(st.integers(0, 10**6), st.integers(1, 6))
def test_the_remainder_bounds_the_smallest_eigenvalue(seed: int, n: int) -> None:
    """`residual` says that no eigenvalue of M is below minus what it returns."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(-4, 5, (n, n))
    M = drawn + drawn.T + rng.integers(0, 9) * np.eye(n, dtype=int)
    smallest = np.linalg.eigvalsh(M)[0]
    one = 2**40
    bound = check.residual((M.astype(object) * one).tolist(), one)
    if bound is None:
        assert smallest < 1e-6
    else:
        assert smallest >= -float(bound / one) - 1e-9
        assert smallest < 1e-6 or bound / one < 1e-9  # sharp where M is positive definite


def test_it_shares_no_code_with_what_it_checks() -> None:
    tree = ast.parse(Path(check.__file__).read_bytes())
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    standard = {"hashlib", "json", "re", "dataclasses", "fractions", "itertools", "math", "operator", "typing"}
    assert modules <= standard | {"__future__"}


@given(st.fractions(-100, 100), st.integers(-70, 70))
def test_numbers_are_written_exactly(number: Fraction, power: int) -> None:
    scaled = number * Fraction(10) ** power
    q = rationals(np.array([scaled], dtype=object))[0]
    text = certificate.number(q)
    assert Fraction(text) == scaled
    assert check.NUMBER.fullmatch(text)


def test_a_certificate_found_by_searching_is_valid() -> None:
    proof, effort = search.over_integers(np.random.default_rng(13), (3, 4, 1), structures=5, starts=30)
    assert proof is not None
    assert (effort.structures, effort.starts) == (2, 60)
    content = check.check(certificate.dumps(certificate.document(proof, {})))
    assert content.shape == (3, 4, 1)


def test_a_search_that_finds_nothing_says_how_hard_it_looked() -> None:
    """At T = 2 there is no spurious minimum (ML-4)."""
    proof, effort = search.over_integers(np.random.default_rng(0), (2, 4, 1), structures=4, starts=10)
    assert proof is None
    assert vars(effort) == {"structures": 4, "starts": 40, "stationary": 40, "candidates": 0, "proofs": 0}
    assert search.on_structure(np.random.default_rng(0), np.zeros((3, 3, 1)), starts=5)[0] is None


def test_the_words_of_a_certificate_are_those_that_the_numbers_prove() -> None:
    assert certificate.CLAIM == check.CLAIM
    for key, other in (("claim", certificate.CLAIM.replace("local", "global")), ("schema", True), ("kind", "a proof")):
        with pytest.raises(UnreadableError, match=f"^{key}: got "):
            check.check(sealed({**points.document("d3-k1-T3"), key: other}))


@pytest.mark.parametrize(
    "number",
    [lambda i: f"1/{10**600 + 2 * i + 1}", lambda i: f"{i + 1}e999", lambda i: f"0.{10**690 + i}e-999"],
    ids=["many denominators", "large", "many decimals"],
)
def test_numbers_that_would_take_hours_are_refused_at_once(number: Callable[[int], str]) -> None:
    """300 unknowns over a common denominator of tens of thousands of digits, or 300 integers of 3000."""
    document = points.document("d3-k1-T3")
    for part, key in (("structure", "U_star"), ("point", "U")):
        document[part][key] = [[[number(100 * t + i)] for i in range(100)] for t in range(3)]
    document["structure"].update(d=100)
    started = process_time()
    with pytest.raises((UnreadableError, InvalidError)):
        check.check(sealed(document))
    assert process_time() - started < 10
