"""Evidence for all structures: the certificates that ship count, and a changed one does not."""

from __future__ import annotations

import pytest

from paper_checks import registry
from paper_checks.claim import PROFILES, Verdict
from paper_checks.evidence import theorems
from paper_checks.evidence.drawn import draw
from paper_checks.evidence.evidence import Evidence, Outcome
from paper_checks.verify import check


def measured(**options: object) -> Evidence:
    (found,) = theorems.every_independent_structure("largest k", **options)  # type: ignore[arg-type]
    return found


def test_the_certificates_that_ship_prove_every_k_up_to_3() -> None:
    found = measured()
    assert (found.kind, found.instance, found.measured) == ("proved", "all independent structures, k ≤ 3", 3)
    assert found.outcome is Outcome.AGREES


@pytest.mark.parametrize("change", [theorems.change_coefficient, theorems.change_index])
def test_a_changed_certificate_proves_nothing(change: theorems.Change) -> None:
    found = measured(change=change)
    assert (found.measured, found.outcome) == (1, Outcome.DISAGREES)


@pytest.mark.long
def test_a_claim_without_its_proof_is_refuted_wherever_it_applies() -> None:
    """ML-3 on one structure: the proof is a value of its own, and its controls are listed."""
    (claim,) = registry.get(["ML-3"])
    result = check(claim, [draw("generic", 10, 1, 3, 0)], PROFILES["quick"], seed=0)
    assert [item.measured for item in result.evidence if item.kind == "proved"] == [3]
    assert "3, expected 3 on all independent structures, k ≤ 3 (proved)" in result.reason
    assert result.reason.endswith(f"{len(result.evidence) - 1} values on 1 instance as predicted.")
    proofs = [control for control in result.controls if control.what.startswith("a proof with")]
    assert [control.verdict for control in proofs] == [Verdict.REFUTED] * 2
    nowhere = check(claim, [draw("generic", 10, 1, 2, 0)], PROFILES["quick"], seed=0)
    assert (nowhere.verdict, nowhere.evidence) == (Verdict.ASSUMPTIONS_NOT_MET, ())
