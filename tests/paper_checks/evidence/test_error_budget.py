"""The false-alarm budget: its allocation, the intervals' level, and what the default run uses of it."""

from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from paper_checks import registry
from paper_checks.claim import PROFILES, Claim, applicable, gather
from paper_checks.evidence import error_budget
from paper_checks.evidence.error_budget import (
    BUDGET,
    FALSE_ALARM,
    MOST_INTERVALS,
    detectable,
    quantile,
    share,
    skewness,
)
from tests.paper_checks import fakes


def test_the_allocation_adds_up_to_the_budget() -> None:
    assert sum(MOST_INTERVALS.values()) * FALSE_ALARM == pytest.approx(BUDGET) == pytest.approx(1e-4)
    assert set(MOST_INTERVALS) <= {claim.id for claim in registry.claims()}


@pytest.mark.parametrize("id_", ["SR-4", "SR-5", "ML-7", "ML-8", "ML-9", "FT-2"])
@pytest.mark.long
def test_a_run_uses_no_more_intervals_than_were_allocated(id_: str) -> None:
    (claim,) = registry.get([id_])
    assert isinstance(claim, Claim)
    small = replace(PROFILES["quick"], trials=40)  # the number of intervals does not depend on it
    evidence = []
    for subject, findings in applicable(claim, claim.instances(3)):
        if all(finding.holds for finding in findings):
            evidence += gather(claim.check, subject, small)[0]
    used = share(id_, evidence)
    at_scale = {"SR-4": 7, "ML-7": 5}.get(id_, 0)
    assert used is not None
    assert 0 < used.intervals + at_scale <= MOST_INTERVALS[id_] == used.allowed
    assert used.spent <= used.allocated


def test_ensembles_use_no_more_intervals_than_were_allocated() -> None:
    profile = replace(PROFILES["full"], structures=0, engine="cpu")
    for claim in registry.claims():
        used = list(claim.at_scale.check(0, profile)) if claim.at_scale else []
        assert len(used) <= MOST_INTERVALS.get(claim.id, 0), f"{claim.id}: list its intervals in MOST_INTERVALS"


def test_student_s_interval_has_its_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a level where it can be seen: 4000 means of 20 chi-squares, skewed, miss at most 5 % with room for chance."""
    monkeypatch.setattr(error_budget, "FALSE_ALARM", 0.05)
    samples = np.random.default_rng(0).chisquare(8, (4000, 20))
    missed = 0
    for each in samples:
        half = quantile(each.size, skewness=skewness(each)) * each.std(ddof=1) / np.sqrt(each.size)
        missed += abs(each.mean() - 8) > half
    assert missed <= 0.05 * 4000 + 4.5 * np.sqrt(4000 * 0.05 * 0.95)  # a false alarm of this test: 3e-6


def test_large_samples_without_skewness_have_the_normal_quantile() -> None:
    assert quantile(10**7, skewness=0.0) == pytest.approx(NormalDist().inv_cdf(1 - FALSE_ALARM / 2), rel=1e-4)
    assert quantile(100, skewness=-1.0) > quantile(100, skewness=0.0)
    assert skewness(np.ones(3)) == 0.0
    assert skewness(np.array([0.0, 0, 0, 1])) > 0


def test_more_trials_detect_less() -> None:
    assert detectable(PROFILES["full"], 20) < detectable(PROFILES["quick"], 20) < 0.2


def test_claims_without_samples_have_no_share() -> None:
    assert share("SR-1", [fakes.evidence()]) is None
    found = share("SR-1", [fakes.evidence(kind="statistical", samples=7)])
    assert found is not None
    assert (found.intervals, found.samples, found.allowed) == (1, (7, 7), 0)
