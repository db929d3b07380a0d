"""Exact and certified evidence: where it is gathered, that it agrees, and that it refutes what is false."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraml_theory import zoo
from loraml_theory.harness.structure_file import write_structure
from loraml_theory.structure import GroundTruth
from paper_checks import registry
from paper_checks.claim import Check, Claim, Profile, Verdict, gather
from paper_checks.evidence import exact_evidence
from paper_checks.evidence.assumptions import ALL_TASKS_INDEPENDENT, SOME_TRIPLE_INDEPENDENT
from paper_checks.evidence.drawn import draw
from paper_checks.evidence.evidence import Evidence, Outcome
from paper_checks.evidence.instance import Instance
from paper_checks.verify import check
from tests.paper_checks.conftest import Loraml

SMALL = Profile("small", trials=200, starts=3)
CLAIMS = {claim.id: claim for claim in registry.claims() if isinstance(claim, Claim)}
EXACT = [
    "SR-1",
    "SR-2",
    "SR-3",
    "ML-1",
    "ML-2",
    "ML-3",
    "ML-6",
    "ML-7",
    "ML-8",
    "FT-2",
    *(f"CL-{i}" for i in range(1, 13)),
]


def found(check: Check[Instance], instance: Instance, *kinds: str) -> list[Evidence]:
    return [item for item in gather(check, instance, SMALL)[0] if item.kind in kinds]


def integers(d: int, k: int, T: int, seed: int = 0) -> Instance:
    return draw("integer", d, k, T, seed)


@pytest.mark.parametrize("id_", EXACT)
def test_claims_have_exact_evidence_on_whole_numbers(id_: str) -> None:
    claim = CLAIMS[id_]
    instance = integers(8, 1, 2 if id_ == "ML-2" else 3)
    exact = found(claim.check, instance, "exact")
    assert exact
    assert all(item.outcome is Outcome.AGREES and item.tolerance == 0 for item in exact)
    assert any(i.name.startswith("integer") for i in claim.instances(0))


@pytest.mark.parametrize(("id_", "instance"), [("ML-4", (8, 2, 2)), ("ML-5", None), ("ML-6", (8, 1, 3))])
def test_claims_have_certified_evidence(id_: str, instance: tuple[int, int, int] | None) -> None:
    on = integers(*instance) if instance else draw("spurious", 3, 1, 3, 0)
    certified = found(CLAIMS[id_].check, on, "certified")
    assert certified
    assert all(item.outcome is Outcome.AGREES for item in certified)


FALSE = {
    ("SR-1", "mutated: A* + (1/(T+1)) sum_t R_t*"): (8, 1, 3),
    ("SR-1", "mutated: A* + sum_t R_t*"): (8, 1, 3),
    ("SR-2", "mutated: rank kT, inertia (k, k(T-1))"): (8, 1, 3),
    ("SR-2", "mutated: signs exchanged, inertia (kT, k)"): (8, 1, 3),
    ("SR-3", "mutated: a positive floor at rank k(T+1) too"): (8, 1, 3),
    ("ML-1", "mutated: rank(A - A*) <= k"): (8, 1, 2),
    ("ML-1", "mutated: rank(W_{T+1} - A) <= 2k at T = 2"): (8, 1, 2),
    ("ML-2", "mutated: any orthogonal H"): (8, 1, 2),
    ("ML-2", "mutated: rank(W_3 - A) = 2k"): (8, 1, 2),
    ("ML-2", "mutated: rank(A - A*) = 2(non-zero rapidities - 1)"): (8, 2, 2),
    ("ML-6", "mutated: without the oblique projection"): (8, 1, 3),
    ("ML-7", "mutated: error of rank k(T+1), growing with T"): (8, 1, 3),
    ("ML-7", "mutated: rank 2k at T = 2"): (8, 1, 3),
    ("ML-8", "mutated: r - k + 2 tasks suffice"): (8, 1, 3),
    ("ML-8", "mutated: r - k + 4 tasks needed"): (8, 1, 3),
    ("ML-8", "mutated: asymmetric adapters need no more tasks than symmetric ones"): (8, 1, 4),
    ("ML-8", "mutated: the test task needs rank k"): (8, 1, 3),
    ("ML-8", "mutated: a semidefinite base outside the family"): (8, 1, 3),
    ("FT-2", "mutated: 2rd degrees of freedom"): (8, 1, 3),
}


@pytest.mark.parametrize(("id_", "what"), FALSE)
@pytest.mark.parametrize("seed", [0, 1])
def test_mutated_statements_are_refuted_without_a_tolerance(id_: str, what: str, seed: int) -> None:
    (control,) = (control for control in CLAIMS[id_].controls if control.what == what)
    exact = found(control.check, integers(*FALSE[id_, what], seed), "exact")
    assert Outcome.DISAGREES in {item.outcome for item in exact}


@pytest.mark.parametrize("position", [0, 1])
def test_false_closed_forms_are_refuted_by_certified_bounds(position: int) -> None:
    control = CLAIMS["FT-1"].controls[position]
    instance = draw("generic", 8, 1, 3, 0)
    certified = found(control.check, instance, "certified")
    assert {item.outcome for item in certified} == {Outcome.DISAGREES}
    agreeing = found(CLAIMS["FT-1"].check, instance, "certified")
    assert {item.outcome for item in agreeing} == {Outcome.AGREES}


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
@pytest.mark.long
def test_every_claim_has_two_kinds_of_evidence(claim: Claim) -> None:
    seen: set[str] = set()
    for instance in claim.instances(0):
        if instance.truth.d <= 12 and all(assumption.test(instance).holds for assumption in claim.assumptions):
            seen |= {item.kind for item in gather(claim.check, instance, SMALL)[0]}
    assert len(seen) >= 2


def repeated(d: int, k: int, T: int) -> Instance:
    """Return whole numbers in which the third task repeats the first."""
    truth = integers(d, k, T).truth
    U = truth.U_star.copy()
    U[2] = U[0]
    return Instance("repeated", GroundTruth(truth.A_star, U), 0)


BROKEN = {
    ("SR-2", "k(T+1) > d"): integers(7, 2, 3),
    ("SR-2", "a repeated task"): repeated(8, 1, 3),
    ("SR-3", "a repeated task"): repeated(8, 1, 3),
    ("ML-2", "U_2* = U_1*"): Instance(
        "same", GroundTruth(np.zeros((6, 6)), integers(6, 1, 2).truth.U_star[[0, 0, 2]]), 0
    ),
    ("ML-3", "a repeated task"): repeated(8, 1, 3),
    ("ML-3", "T = 2"): integers(8, 1, 2),
    ("ML-3", "k = 2, all of U_3* in span[U_1*, U_2*]"): integers(4, 2, 3),
    ("ML-6", "a repeated task"): repeated(8, 1, 3),
}


@pytest.mark.parametrize(("id_", "what"), BROKEN)
def test_broken_assumptions_are_refuted_without_a_tolerance(id_: str, what: str) -> None:
    if (id_, what) == ("ML-3", "k = 2, all of U_3* in span[U_1*, U_2*]"):
        from paper_checks.claims.ml_3 import _exact

        seen = _exact(BROKEN[id_, what])  # the check in floating point has nothing to say at d < 3k
        exact = [item for item in seen if isinstance(item, Evidence)]
    else:
        exact = found(CLAIMS[id_].check, BROKEN[id_, what], "exact")
    assert Outcome.DISAGREES in {item.outcome for item in exact}
    assert any(assumption.test(BROKEN[id_, what]).holds is False for assumption in CLAIMS[id_].assumptions)


@settings(max_examples=6)
@given(st.integers(0, 10**6), st.sampled_from([(3, 1, 2), (4, 1, 3), (6, 2, 2), (5, 1, 4), (8, 2, 3)]))
@pytest.mark.long
def test_exact_evidence_never_disagrees_where_a_claim_applies(seed: int, sizes: tuple[int, int, int]) -> None:
    instance = integers(*sizes, seed)
    for id_ in EXACT:
        claim = CLAIMS[id_]
        if all(assumption.test(instance).holds for assumption in claim.assumptions):
            seen = found(claim.check, instance, "exact", "certified")
            assert {item.outcome for item in seen} == {Outcome.AGREES}, id_


def test_floats_have_no_exact_evidence_unless_they_are_meant_as_they_stand() -> None:
    drawn = draw("generic", 8, 1, 3, 0)
    assert found(CLAIMS["SR-2"].check, drawn, "exact") == []
    exact = found(CLAIMS["SR-2"].check, Instance("x", drawn.truth, 0, exact=True), "exact")
    assert {item.outcome for item in exact} == {Outcome.AGREES}


@pytest.mark.parametrize("number", [0.5, 2.0**54])
def test_whole_numbers_are_those_that_float64_holds_exactly(number: float) -> None:
    truth = integers(4, 1, 3).truth
    assert exact_evidence.whole_numbers(truth)
    A = truth.A_star.copy()
    A[0, 0] = number
    assert not exact_evidence.whole_numbers(GroundTruth(A, truth.U_star))


@pytest.mark.long
def test_assumptions_are_decided_exactly_where_float64_cannot_tell() -> None:
    """Whole numbers of 10^6: dependent vectors are dependent, others only if float64 sees it."""
    U = np.zeros((4, 5, 1))
    U[0, :2, 0], U[1, :2, 0], U[2, 2, 0], U[3, 3, 0] = (10**6, 10**6 + 1), (10**6 + 1, 10**6 + 2), 1, 1
    near = Instance("near", GroundTruth(np.zeros((5, 5)), U), 0)
    assert ALL_TASKS_INDEPENDENT.test(near).holds is None
    U = U.copy()
    U[1] = 3 * U[0]
    dependent = Instance("dependent", GroundTruth(np.zeros((5, 5)), U), 0)
    assert ALL_TASKS_INDEPENDENT.test(dependent).holds is False
    assert SOME_TRIPLE_INDEPENDENT.test(dependent).holds is False
    for claim in CLAIMS.values():
        assert check(claim, [near], SMALL, seed=0).verdict is not Verdict.REFUTED, claim.id


@given(st.fractions(0, 10**9))
def test_roots_are_rounded_upwards(square: Fraction) -> None:
    root = exact_evidence.root_above(square)
    assert Fraction(root) ** 2 >= square
    assert Fraction(root) ** 2 <= square * (1 + Fraction(1, 10**14)) + Fraction(1, 10**300)


def kinds(printed: str) -> set[str]:
    return {item["kind"] for claim in json.loads(printed)["claims"] for item in claim["evidence"]}


@pytest.mark.long
def test_verify_gathers_exact_evidence_on_a_file_of_whole_numbers_or_when_asked(loraml: Loraml, tmp_path: Path) -> None:
    write_structure(tmp_path / "whole.npz", integers(6, 1, 3).truth)
    write_structure(tmp_path / "floats.npz", zoo.generic(np.random.default_rng(0), 6, 1, 3))
    run = ("verify", "--json", "--structure")
    known = [CLAIMS["SR-2"]]
    assert kinds(loraml(*run, "whole.npz", known=known).out) == {"numerical", "exact"}
    assert kinds(loraml(*run, "floats.npz", known=known).out) == {"numerical"}
    assert kinds(loraml(*run, "floats.npz", "--exact", known=known).out) == {"numerical", "exact"}


def test_exact_needs_a_structure(loraml: Loraml) -> None:
    ended = loraml("verify", "--exact")
    assert (ended.status, ended.err) == (2, "loraml: error: --exact: expected --structure FILE.npz with it\n")


def test_too_large_a_structure_is_noted(loraml: Loraml, tmp_path: Path) -> None:
    write_structure(tmp_path / "large.npz", GroundTruth(np.zeros((65, 65)), np.ones((3, 65, 1))))
    made = json.loads(loraml("verify", "--json", "--structure", "large.npz").out)
    assert made["notes"] == ["large.npz: exact evidence omitted: d = 65 > 64"]


def test_without_flint_exact_evidence_is_left_out_and_that_is_said(
    loraml: Loraml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "flint", None)
    write_structure(tmp_path / "whole.npz", integers(6, 1, 3).truth)
    ended = loraml("verify", "--json", "--structure", "whole.npz", known=[CLAIMS["SR-2"], CLAIMS["ML-5"]])
    assert kinds(ended.out) == {"numerical"}
    how = "pip install '.[exact]' in a clone of loraml-theory"
    text = f"Exact and certified evidence is left out: it needs python-flint: {how}"
    assert json.loads(ended.out)["notes"] == [text]
    assert text in " ".join(loraml("verify").out.split())
    ended = loraml("verify", "--structure", "whole.npz", "--exact")
    assert (ended.status, ended.err) == (
        2,
        "loraml: error: --exact: needs python-flint: pip install '.[exact]' in a clone of loraml-theory\n",
    )
