"""Claims on ensembles: every statement holds, every false one does not, and what cannot be told is no failure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from loraml_theory import zoo
from paper_checks import registry
from paper_checks.claim import PROFILES, AtScale, Verdict, judge, parted
from paper_checks.claims import ml_1, ml_2, ml_3, sr_2, sr_4
from paper_checks.evidence import at_scale, error_coverage, minimisers
from paper_checks.evidence.evidence import Outcome
from sims import engines
from sims.engines import staged
from sims.ensembles import ensembles, tallies
from sims.ensembles.ensembles import Ensemble
from sims.ensembles.masks import Masks, Tally, count

pytestmark = pytest.mark.libraries

FEW = 60
THREE = Ensemble("generic", 10, 1, 3)
CLAIMS = {claim.id: claim.at_scale for claim in registry.claims() if claim.at_scale}


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (ensembles, tallies):
        monkeypatch.setattr(module, "BLOCK", FEW)


def tallied(function: Callable[..., Masks], ensemble: Ensemble, structures: int = FEW, **options: Any) -> Tally:
    return tallies.tally(engines.get("cpu"), function, ensemble, purpose="", structures=structures, seed=0, **options)


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_statements_hold_and_controls_do_not(claim: AtScale) -> None:
    """At 60 structures an interval holds for all but a share of 1e-5 of seeds; the controls' shares are far off."""
    profile = replace(PROFILES["full"], structures=FEW)
    evidence, notes = parted(claim.check(0, profile))
    assert judge(evidence) is Verdict.SUPPORTED
    assert notes == []
    assert all(e.kind == "statistical" and e.interval and e.instance.startswith(f"{FEW} x ") for e in evidence)
    assert claim.controls
    for what, check in claim.controls:
        assert judge(parted(check(0, profile))[0]) is Verdict.REFUTED, what


def test_the_quick_profile_has_no_structures_and_the_full_one_ten_thousand() -> None:
    assert (PROFILES["quick"].structures, PROFILES["full"].structures) == (0, 10_000)


@pytest.mark.parametrize(
    ("counts", "outcome"),
    [
        (Tally(success=10_000), Outcome.AGREES),
        (Tally(success=9_999, failure=1, first_failure=3), Outcome.DISAGREES),
        (Tally(success=6_000, unconverged=4_000), Outcome.AGREES),
        (Tally(success=4_000, undecided=6_000), Outcome.UNDECIDED),
        (Tally(undecided=10_000), Outcome.UNDECIDED),
    ],
)
def test_one_failure_refutes_a_theorem_and_what_is_not_judged_does_not(counts: Tally, outcome: Outcome) -> None:
    evidence = at_scale._evidence(sr_2.INERTIA, THREE, counts)
    assert evidence.outcome is outcome
    if counts.failure:
        assert "first failure: structure 3" in evidence.reason
    if counts.unconverged:
        assert "4000 not converged" in evidence.reason


def test_dependence_below_rounding_is_undecided() -> None:
    """The last factor's part outside the span of the others is 1e-9: the residual's least eigenvalue is below 1e-17."""
    truth = THREE.block(0, 0, purpose="").truth
    U = truth.U_star.copy()
    U[:, 2] = U[:, 0] + U[:, 1] + 1e-9 * U[:, 2]
    assert count(sr_2.has_inertia(truth.A_star, U)) == Tally(undecided=FEW)


def test_too_few_steps_are_counted_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staged.newton_in_stages, "__kwdefaults__", {"stages": (2, 2)})
    counts = tallied(ml_1.has_ranks, THREE, draws=ensembles.starts)
    assert counts.unconverged == counts.structures == FEW


def test_spurious_minima_are_no_failures_of_recovery() -> None:
    """From near the spurious minimum of the integer instance Newton ends in it (ML-5)."""
    truth = zoo.spurious(np.random.default_rng(0), 3, 1, 3)
    rng, many = np.random.default_rng(1), 200
    A, U = np.stack([truth.A_star] * many), np.stack([truth.U_star] * many)
    counts = count(ml_3.is_the_truth(A, U, 2 * rng.standard_normal((many, 3, 3, 1))))
    assert counts.elsewhere > 5
    assert counts.failure == 0
    assert counts.success > 50


def test_newton_in_stages_reaches_the_minimum() -> None:
    block = THREE.block(0, 0, purpose="")
    truth = block.truth
    end = minimisers.solve_each(truth, *ensembles.starts(block))
    assert np.max(end.misfit) < 1e-9
    assert not np.any(end.unconverged | end.elsewhere)


def test_an_error_s_interval_has_the_stated_probability() -> None:
    low, high = error_coverage.central(2, 10)
    draws = np.random.default_rng(0).chisquare(2 * 18, 100_000)
    assert np.mean((draws >= low) & (draws <= high)) == pytest.approx(0.9, abs=0.005)  # 5 standard errors
    assert 0 < error_coverage.coverage_tolerance(2, 10) < 1e-3


def test_torch_gives_the_same_masks() -> None:
    pytest.importorskip("torch")
    block = Ensemble("asymmetric", 7, 2, 2).block(0, 0, purpose="torch")
    for function, draws in (
        (ml_2.on_the_orbit, ensembles.orbit(block)),
        (ml_2.in_the_group, ensembles.starts(block)),
        (sr_4.error_grows, error_coverage.unit_noise(block)),
    ):
        arguments = (block.truth.A_star, block.truth.U_star, *draws)
        ours, theirs = (engines.get(name).evaluate(function, *arguments) for name in ("cpu", "torch"))
        assert count(Masks(*theirs)) == count(Masks(*ours))


def test_functions_are_array_api_code() -> None:
    strict = pytest.importorskip("array_api_strict")
    block = Ensemble("asymmetric", 7, 1, 3).block(0, 0, purpose="strict")
    for function, draws in ((sr_2.has_inertia, ()), (ml_3.is_the_truth, ensembles.starts(block))):
        arguments = (block.truth.A_star, block.truth.U_star, *draws)
        found = count(function(*map(strict.asarray, arguments)))
        assert found == count(function(*arguments)) == Tally(success=FEW)


def test_visible_rounding_hides_an_error() -> None:
    block = THREE.block(0, 0, purpose="")
    (noise,) = error_coverage.unit_noise(block)
    large = 1e13 * np.ones((FEW, 10, 10)) + block.truth.A_star
    assert count(sr_4.error_grows(large, block.truth.U_star, noise)) == Tally(undecided=FEW)
