"""Exact intervals against their definition, and between their two extremes when trials share a structure."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sims.ensembles.proportions import clopper_pearson, korn_graubard


@pytest.mark.parametrize(("successes", "trials"), [(0, 7), (3, 7), (7, 7), (9_999, 10_000)])
@pytest.mark.parametrize("level", [0.9, 0.95, 1 - 1e-5])
def test_bounds_are_where_the_binomial_tails_are(successes: int, trials: int, level: float) -> None:
    exact = stats.binomtest(successes, trials).proportion_ci(level, method="exact")
    assert clopper_pearson(successes, trials, level=level) == pytest.approx((exact.low, exact.high), rel=1e-8)


def test_without_trials_nothing_is_known() -> None:
    assert clopper_pearson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("wrong", [{"successes": 2, "trials": 1}, {"successes": 0, "trials": 1, "level": 1.0}])
def test_impossible_counts_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        clopper_pearson(**wrong)


def test_starts_that_agree_count_once_and_independent_ones_each() -> None:
    rng = np.random.default_rng(0)
    m, trials = 400, 5
    agreeing = (rng.random(m) < 0.3).astype(float)
    independent = rng.binomial(trials, 0.3, m) / trials

    def width(bounds: tuple[float, float]) -> float:
        return bounds[1] - bounds[0]

    once, each = clopper_pearson(0.3 * m, m), clopper_pearson(0.3 * m * trials, m * trials)
    assert width(korn_graubard(agreeing, trials=trials)) == pytest.approx(width(once), rel=0.1)
    assert width(korn_graubard(independent, trials=trials)) == pytest.approx(width(each), rel=0.15)


def test_intervals_of_clusters_cover() -> None:
    """600 surveys of 20 structures whose shares vary: at least 93 % cover, short of 95 by under 2.5 standard errors."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(600):
        shares = rng.binomial(4, rng.beta(0.5, 2.0, 20)) / 4
        low, high = korn_graubard(shares, trials=4)
        covered += low <= 0.2 <= high
    assert covered / 600 >= 0.93


@pytest.mark.parametrize("shares", [[], [1.5]])
def test_no_structures_or_impossible_shares_are_refused(shares: list[float]) -> None:
    with pytest.raises(ValueError, match="expected at least 1"):
        korn_graubard(np.array(shares), trials=3)
