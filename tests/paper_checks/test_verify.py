from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from paper_checks import registry
from paper_checks.claim import Claim, Verdict
from paper_checks.evidence.evidence import Evidence, Outcome
from paper_checks.evidence.instance import Instance
from paper_checks.verify import ClaimResult, check, verify
from tests.paper_checks import fakes
from tests.paper_checks.fakes import assumption, claim, control, instance, measures_size, says_nothing, size

SMALL, LARGE = instance("one"), instance("two", size=2.0)


def checked(made: Claim, *given: Instance) -> ClaimResult:
    return check(made, given or (SMALL,), fakes.QUICK, seed=0)


def test_supported_when_every_applicable_instance_agrees() -> None:
    applies = claim(assumptions=(assumption(lambda on: size(on) == 1.0),))
    result = checked(applies, SMALL, LARGE)
    assert result.verdict is Verdict.SUPPORTED
    assert result.reason == "1 value on 1 instance as predicted."
    assert [item.instance for item in result.evidence] == ["one"]
    assert [found.holds for found in result.assumptions] == [True, False]
    assert [on.name for on in result.applied_to] == ["one"]
    assert [note.text for note in result.notes] == ["seen"]


def test_refuted_when_one_instance_disagrees() -> None:
    result = checked(claim(), SMALL, LARGE)
    assert result.verdict is Verdict.REFUTED
    assert result.reason == "largest entry on two: measured 2, expected 1 ± 0.1, 1 off."


def test_refuted_outweighs_undecided() -> None:
    undecided_on_small = claim(assumptions=(assumption(lambda on: None if on is SMALL else True),))
    assert checked(undecided_on_small, SMALL, LARGE).verdict is Verdict.REFUTED


def test_assumptions_not_met_names_the_assumption() -> None:
    result = checked(claim(assumptions=(assumption(True), assumption(False))), LARGE)
    assert result.verdict is Verdict.ASSUMPTIONS_NOT_MET
    assert result.reason == "Needs entries of size one; two has 2."
    assert result.controls == ()
    assert result.evidence == ()


def test_an_assumption_that_fails_outweighs_one_that_is_undecided() -> None:
    result = checked(claim(assumptions=(assumption(None), assumption(False))))
    assert result.verdict is Verdict.ASSUMPTIONS_NOT_MET


def test_without_instances_a_claim_does_not_apply() -> None:
    result = check(claim(), (), fakes.QUICK, seed=0)
    assert result.verdict is Verdict.ASSUMPTIONS_NOT_MET
    assert result.reason == "There is no instance to check it on."


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"assumptions": (assumption(None),)},
            "Cannot be decided whether it applies: entries of size one; one has 1.",
        ),
        (
            {"check": measures_size(1.0, decidable=False)},
            "Cannot be decided: largest entry on one: measured 1, expected 1 ± 0.1, 0 off.",
        ),
        (
            {"check": measures_size(1.0, measured=float("nan"))},
            "Cannot be decided: largest entry on one: measured not finite, expected 1 ± 0.1.",
        ),
        ({"check": says_nothing}, "The check found nothing to judge on one."),
    ],
)
def test_inconclusive_otherwise(changes: dict[str, Any], reason: str) -> None:
    result = checked(claim(**changes))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.reason == reason


def test_one_silent_instance_makes_a_claim_inconclusive() -> None:
    def check(on: Instance, profile: Any) -> Any:
        return measures_size(1.0)(on, profile) if on is SMALL else []

    result = checked(claim(check=check), SMALL, LARGE)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.reason == "The check found nothing to judge on two."


def test_a_control_is_tried_on_the_given_instances_first() -> None:
    never = control(own=instance("never"))
    result, _ = checked(claim(controls=(never,))).controls
    assert (result.instance, result.verdict) == ("one", Verdict.REFUTED)


def test_a_control_falls_back_on_its_own_instance() -> None:
    says_two = control(2.0, own=instance("own"))
    result, *_ = checked(claim(controls=(says_two,)), LARGE).controls
    assert (result.instance, result.verdict) == ("own", Verdict.REFUTED)


def test_a_broken_assumption_is_tried_on_its_own_instance_only() -> None:
    broken = control(on_given=False, own=instance("broken", size=3.0))
    result, _ = checked(claim(controls=(broken,))).controls
    assert (result.instance, result.verdict) == ("broken", Verdict.REFUTED)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 0),
        ({"check": measures_size(3.0)}, 1),
        ({"check": measures_size(3.0), "nature": "empirical"}, 0),
        ({"check": says_nothing}, 1),
        ({"check": says_nothing, "nature": "empirical"}, 0),
        ({"check": measures_size(1.0, rounding=1e-5)}, 1),
        ({"check": measures_size(1.0, rounding=1e-5), "nature": "empirical"}, 0),
        ({"assumptions": (assumption(False),)}, 0),
        ({"controls": (control(), control(1.0))}, 1),
        ({"controls": (control(1.0),), "nature": "empirical"}, 0),
        ({"assumptions": (assumption(False),), "controls": (control(1.0),)}, 0),
    ],
)
def test_exit_status(changes: dict[str, Any], status: int) -> None:
    assert verify([claim(**changes)], fakes.QUICK, seed=0).exit_status == status


def test_what_a_given_structure_leaves_open_does_not_fail() -> None:
    run = verify([claim(check=says_nothing)], fakes.QUICK, seed=0, given=[SMALL])
    assert (run.claims[0].verdict, run.exit_status) == (Verdict.INCONCLUSIVE, 0)


def test_a_bug_in_a_check_is_no_verdict() -> None:
    def broken(_on: Instance, _profile: Any) -> Any:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        checked(claim(check=broken))


def test_what_float64_cannot_hold_is_inconclusive() -> None:
    def overflows(_on: Instance, _profile: Any) -> Any:
        yield float(np.exp(np.float64(1000)))

    result = checked(claim(check=overflows))
    assert (result.verdict, len(result.evidence)) == (Verdict.INCONCLUSIVE, 1)
    assert "overflow" in result.reason


def test_claims_draw_their_instances_from_the_seed_unless_some_are_given() -> None:
    seeds: list[int] = []

    def instances(seed: int) -> list[Instance]:
        seeds.append(seed)
        return [SMALL]

    made = claim(instances=instances)
    assert verify([made], fakes.QUICK, seed=7).claims[0].applied_to == (SMALL,)
    assert verify([made], fakes.QUICK, seed=8, given=[LARGE]).claims[0].applied_to == (LARGE,)
    assert seeds == [7]


def test_results_come_in_turn_and_the_study_of_real_data() -> None:
    said: list[str] = []
    run = verify(
        [claim(), claim(id="ML-1")],
        fakes.QUICK,
        seed=3,
        real=lambda profile, seed: {"summary": [f"{profile} {seed}"]},
        found=lambda result: said.append(result.claim.id),
    )
    assert run.real == {"summary": ["quick 3"]}
    assert said == ["SR-1", "ML-1"]


@pytest.mark.long
def test_the_results_do_not_depend_on_the_number_of_processes() -> None:
    claims = registry.get(["SR-1", "ML-2", "FT-1"])
    one, two = (verify(claims, fakes.QUICK, seed=5, workers=workers) for workers in (1, 2))
    assert [replace(result, seconds=0.0, applied_to=()) for result in one.claims] == [
        replace(result, seconds=0.0, applied_to=()) for result in two.claims
    ]


@st.composite
def values(draw: st.DrawFn) -> Evidence:
    number = st.floats(-10, 10, allow_subnormal=False)
    measured, below, above = draw(number), draw(st.floats(0, 3)), draw(st.floats(0, 3))
    interval = draw(st.sampled_from([None, (measured - below, measured + above)]))
    relation = draw(st.sampled_from(["equal", "at most", "at least", "slope"]))
    changes = {
        "measured": measured,
        "predicted": draw(number),
        "tolerance": draw(st.floats(0, 3)),
        "interval": interval,
    }
    return fakes.evidence(relation=relation, **changes)


@given(values())
def test_more_is_used_than_is_tolerated_where_the_evidence_disagrees(item: Evidence) -> None:
    assume(not 1 - 1e-9 < item.share < 1 + 1e-9)
    assert (item.outcome is Outcome.AGREES) == (item.share <= 1)


@pytest.mark.parametrize(
    ("changes", "share"),
    [
        ({"measured": 1.05}, 0.5),
        ({"measured": 1.2}, 2.0),
        ({"measured": 1.05, "interval": (0.95, 1.15)}, 0.25),
        ({"measured": 0.9, "relation": "at most"}, 0.0),
        ({"measured": 1.0, "tolerance": 0.0}, 0.0),
        ({"measured": 1.1, "tolerance": 0.0}, inf),
        ({"measured": 2.0, "relation": "above", "interval": (1.5, 2.5)}, 0.0),
    ],
)
def test_share_of_what_is_tolerated(changes: dict[str, Any], share: float) -> None:
    assert fakes.evidence(**changes).share == pytest.approx(share)


def test_an_existential_claim_looks_and_says_that_it_did_not_find() -> None:
    beside = fakes.measures_size(1.0, decides=False)
    result = check(claim(check=beside, existential=True, controls=()), [SMALL], fakes.QUICK, seed=0)
    assert result.verdict is Verdict.ASSUMPTIONS_NOT_MET
    assert result.reason.startswith("Looked for and not found: largest entry on ")
    assert check(claim(check=beside, controls=()), [SMALL], fakes.QUICK, seed=0).verdict is Verdict.INCONCLUSIVE


def test_a_control_has_the_evidence_that_refuted_it() -> None:
    control, _ = check(claim(), [SMALL], fakes.QUICK, seed=0).controls
    assert control.evidence is not None
    assert (control.evidence.outcome, control.evidence.predicted) == (Outcome.DISAGREES, 2.0)
