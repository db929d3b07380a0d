"""The claims on any structure: never refuted where they apply, their controls always."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loraml_theory import zoo
from loraml_theory.structure import GroundTruth
from loraml_theory.testing import ground_truths, seeds, structures_violating
from paper_checks import registry
from paper_checks.claim import Claim, Profile, Verdict, gather, judge, parted
from paper_checks.evidence.evidence import Evidence, Outcome
from paper_checks.evidence.instance import Instance
from paper_checks.verify import check

SMALL = Profile("small", trials=400, starts=3)  # as many trials as quick has: the intervals are as sharp
CLAIMS = {claim.id: claim for claim in registry.claims() if isinstance(claim, Claim)}
NEVER_REFUTED = (Verdict.SUPPORTED, Verdict.INCONCLUSIVE, Verdict.ASSUMPTIONS_NOT_MET)

few = settings(max_examples=6, suppress_health_check=[HealthCheck.too_slow])


def test_ids_are_those_of_the_theory() -> None:
    theorems = [f"SR-{i}" for i in range(1, 6)] + [f"ML-{i}" for i in range(1, 10)] + ["FT-1", "FT-2"]
    continual = [f"CL-{i}" for i in range(1, 13)]
    of_theory = [claim for claim in registry.claims() if claim.id.partition("-")[0] in registry.FAMILIES]
    named = ["NL-language", "NL-shallow", "NL-vision", *continual, "NL-continual"]
    assert [claim.id for claim in of_theory] == [*theorems, *named]
    assert [claim.id for claim in of_theory if claim.nature == "theorem"] == [*theorems, *continual]
    assert [claim.id for claim in of_theory if claim.group == "continual"] == [*continual, "NL-continual"]


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_controls_are_refuted_on_their_own_instances(claim: Claim) -> None:
    assert claim.controls
    for control in claim.controls:
        evidence, _ = gather(control.check, control.own_instance(1), SMALL)
        assert judge(control.judged(evidence)) is Verdict.REFUTED, control.what
    for what, false in claim.for_all.controls if claim.for_all else ():
        assert judge(parted(false())[0]) is Verdict.REFUTED, what


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_the_check_measures_the_key_quantities_and_no_others(claim: Claim) -> None:
    evidence = [item for subject in claim.instances(0) for item in _gathered(claim, subject) if item.key]
    evidence += parted(claim.for_all.check())[0] if claim.for_all else []
    assert {item.key for item in evidence} == set(claim.keys)
    assert all(item.decides for item in evidence)


def _gathered(claim: Claim, subject: Instance) -> list[Evidence]:
    small = subject.truth.d <= 12 and all(assumption.test(subject).holds for assumption in claim.assumptions)
    return gather(claim.check, subject, SMALL)[0] if small else []


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
@few
@given(truth=ground_truths(k=st.integers(1, 2), T=st.integers(2, 4), independent=True), seed=seeds())
@pytest.mark.long
def test_no_claim_is_refuted_where_all_tasks_are_independent(claim: Claim, truth: GroundTruth, seed: int) -> None:
    assert disagreements(claim, truth, seed) == []


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
@few
@given(truth=st.one_of(structures_violating("independence"), structures_violating("triple")), seed=seeds())
@pytest.mark.long
def test_no_claim_is_refuted_where_tasks_are_dependent(claim: Claim, truth: GroundTruth, seed: int) -> None:
    assert disagreements(claim, truth, seed) == []


def disagreements(claim: Claim, truth: GroundTruth, seed: int) -> list[Evidence]:
    """Check the claim without its controls, as the runner does: only where its assumptions hold."""
    instance = Instance("drawn", truth, seed)
    if not all(assumption.test(instance).holds for assumption in claim.assumptions):
        return []
    evidence, _ = gather(claim.check, instance, SMALL)
    return [e for e in evidence if e.outcome is Outcome.DISAGREES]


@pytest.mark.parametrize("id_", ["SR-2", "SR-3", "SR-4", "SR-5", "ML-1", "ML-3", "ML-6", "ML-7", "ML-8", "ML-9"])
@pytest.mark.parametrize("scale", [1e-20, 1e20])
@pytest.mark.long
def test_verdicts_do_not_depend_on_the_scale_of_numbers(id_: str, scale: float) -> None:
    truth = zoo.asymmetric(np.random.default_rng(3), 6, 1, 3)
    scaled = GroundTruth(scale * truth.A_star, np.sqrt(scale) * truth.U_star)
    verdicts = [check(CLAIMS[id_], [Instance("x", t, 0)], SMALL, seed=0).verdict for t in (truth, scaled)]
    assert verdicts == [Verdict.SUPPORTED, Verdict.SUPPORTED]


@pytest.mark.parametrize("gap", [1e-6, 1e-8, 1e-10, 1e-12, 1e-14])
@pytest.mark.long
def test_near_dependence_is_inconclusive_rather_than_refuted(gap: float) -> None:
    truth = zoo.generic(np.random.default_rng(4), 6, 1, 3)
    U = truth.U_star.copy()
    U[1] = U[0] + gap * U[1]
    instance = Instance("near", GroundTruth(truth.A_star, U), 0)
    for claim in CLAIMS.values():
        assert check(claim, [instance], SMALL, seed=0).verdict in NEVER_REFUTED, claim.id
