"""Claims on ensembles: every statement holds, every false one does not, and what cannot be told is no failure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from loraml_theory import zoo
from loraml_theory.rates import off_tangent_spectrum
from paper_checks import at_scale
from paper_checks.claim import PROFILES, AtScale, Outcome, Verdict, judge, parted
from sims import claims_at_scale, engines, ensembles, masks, rates_at_scale, staged, tallies
from sims.ensembles import Ensemble
from sims.masks import Masks, Tally, count, recovery_condition

pytestmark = pytest.mark.libraries

FEW = 60
THREE = Ensemble("generic", 10, 1, 3)
CLAIMS = {name: getattr(at_scale, name) for name in ("SR_2", "SR_3", "SR_4", "ML_1", "ML_2", "ML_3", "ML_7")}


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (ensembles, tallies):
        monkeypatch.setattr(module, "BLOCK", FEW)


def tallied(function: Callable[..., Masks], ensemble: Ensemble, structures: int = FEW, **options: Any) -> Tally:
    return tallies.tally(engines.get("cpu"), function, ensemble, structures=structures, seed=0, **options)


@pytest.mark.parametrize("name", CLAIMS)
def test_statements_hold_and_controls_do_not(name: str) -> None:
    """At 60 structures an interval holds for all but a share of 1e-5 of seeds; the controls' shares are far off."""
    claim: AtScale = CLAIMS[name]
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


def test_structures_do_not_depend_on_how_many_there_are() -> None:
    first = THREE.block(1, 0, purpose="one")
    again = THREE.block(1, 0, purpose="other")
    assert np.array_equal(first.truth.U_star, again.truth.U_star)
    assert first.rng.random() != again.rng.random()
    assert not np.array_equal(first.truth.U_star, THREE.block(0, 0, purpose="one").truth.U_star)
    assert tallied(claims_at_scale.sr_2, THREE, 3 * FEW) == Tally(success=3 * FEW)


def test_of_the_masks_the_strongest_counts_and_the_first_failure_is_named() -> None:
    flags = np.eye(5, dtype=bool)
    found = Masks(flags[0] | flags[3], flags[1] | flags[2] | flags[3], flags[2] | flags[3], flags[3])
    assert count(found, first=10) == Tally(1, 1, 1, 1, 1, first_failure=14)
    both = Tally(1, 0, 0, 0, 0) + Tally(1, 2, 3, 4, 5, first_failure=7)
    assert both == Tally(2, 2, 3, 4, 5, first_failure=7)
    assert (both.judged, both.structures) == (4, 16)


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
    evidence = at_scale._evidence(at_scale._INERTIA, THREE, counts)
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
    assert count(claims_at_scale.sr_2(truth.A_star, U)) == Tally(undecided=FEW)


def test_too_few_steps_are_counted_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staged.newton_in_stages, "__kwdefaults__", {"stages": (2, 2)})
    counts = tallied(claims_at_scale.ml_1, THREE, draws=at_scale._start)
    assert counts.unconverged == counts.structures == FEW


def test_spurious_minima_are_no_failures_of_recovery() -> None:
    """From near the spurious minimum of the integer instance Newton ends in it (ML-5)."""
    truth = zoo.spurious(np.random.default_rng(0), 3, 1, 3)
    rng, many = np.random.default_rng(1), 200
    A, U = np.stack([truth.A_star] * many), np.stack([truth.U_star] * many)
    counts = count(claims_at_scale.ml_3(A, U, 2 * rng.standard_normal((many, 3, 3, 1))))
    assert counts.elsewhere > 5
    assert counts.failure == 0
    assert counts.success > 50


def test_stages_end_where_one_run_does() -> None:
    truth = THREE.block(0, 0, purpose="").truth
    start = ensembles.starts(np.random.default_rng(0), truth)
    one = claims_at_scale._solve(truth, start)
    assert np.max(one[2]) < 1e-9
    assert not np.any(one[3] | one[4])


@pytest.mark.parametrize("size", [(10, 1, 3), (8, 2, 3), (6, 2, 5), (5, 1, 7), (12, 2, 4)])
def test_the_batched_condition_is_that_of_the_spectrum(size: tuple[int, int, int]) -> None:
    truths = [zoo.generic(np.random.default_rng(seed), *size) for seed in range(3)]
    found = recovery_condition(np.stack([truth.U_retraining for truth in truths]))
    assert found == pytest.approx([1 / off_tangent_spectrum(truth)[0] for truth in truths], rel=1e-9)


def test_the_condition_of_dependent_tasks_is_huge() -> None:
    truth = Ensemble("repeated-task", 6, 1, 3).block(0, 0, purpose="").truth
    assert np.min(recovery_condition(truth.U_retraining)) > 1e12


def test_an_error_s_interval_has_the_stated_probability() -> None:
    low, high = rates_at_scale.central(2, 10)
    draws = np.random.default_rng(0).chisquare(2 * 18, 100_000)
    assert np.mean((draws >= low) & (draws <= high)) == pytest.approx(0.9, abs=0.005)  # 5 standard errors
    assert 0 < rates_at_scale.coverage_tolerance(2, 10) < 1e-3


def test_torch_gives_the_same_masks() -> None:
    pytest.importorskip("torch")
    block = Ensemble("asymmetric", 7, 2, 2).block(0, 0, purpose="torch")
    for function, draws in (
        (claims_at_scale.ml_2_orbit, at_scale._orbit(block)),
        (claims_at_scale.ml_2_converse, at_scale._start(block)),
        (rates_at_scale.sr_4, at_scale._noise(block)),
    ):
        arguments = (block.truth.A_star, block.truth.U_star, *draws)
        ours, theirs = (engines.get(name).evaluate(function, *arguments) for name in ("cpu", "torch"))
        assert count(Masks(*theirs)) == count(Masks(*ours))


def test_functions_are_array_api_code() -> None:
    strict = pytest.importorskip("array_api_strict")
    block = Ensemble("asymmetric", 7, 1, 3).block(0, 0, purpose="strict")
    for function, draws in ((claims_at_scale.sr_2, ()), (claims_at_scale.ml_3, at_scale._start(block))):
        arguments = (block.truth.A_star, block.truth.U_star, *draws)
        found = count(function(*map(strict.asarray, arguments)))
        assert found == count(function(*arguments)) == Tally(success=FEW)


def test_visible_rounding_hides_an_error() -> None:
    block = THREE.block(0, 0, purpose="")
    noise = at_scale._noise(block)[0]
    large = 1e13 * np.ones((FEW, 10, 10)) + block.truth.A_star
    assert count(rates_at_scale.sr_4(large, block.truth.U_star, noise)) == Tally(undecided=FEW)
    assert masks.VISIBLE == 1e-2
