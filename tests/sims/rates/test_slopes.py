"""Slopes, their intervals and tests: exact on exact curves, and right as often as they say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from sims.rates.slopes import (
    Fit,
    Table,
    departure_p,
    departure_power,
    equivalence_p,
    equivalence_power,
    fit_level,
    fit_slope,
    holm,
)

X = np.geomspace(20, 320, 5)
MARGIN = 0.1
SIMULATIONS = 600


def table(
    errors: np.ndarray, *, predicted: float = -1.0, axis: np.ndarray = X, line: np.ndarray | None = None
) -> Table:
    lines = np.zeros(axis.size, dtype=np.int64) if line is None else line
    return Table(axis, lines, errors, np.broadcast_to(axis**predicted, errors.shape))


def noisy(rng: np.random.Generator, *, clusters: int = 25, slope: float = -1.0) -> np.ndarray:
    """Draw errors whose scale is a truth's own, log-normal, beside a chi-square of 19 degrees at each point."""
    scale = np.exp(0.4 * rng.standard_normal((clusters, 1)))
    return scale * X**slope * rng.chisquare(19, (clusters, X.size)) / 19


def rate(fits: list[Fit], happens: Callable[[Fit], bool]) -> float:
    return float(np.mean([happens(fit) for fit in fits]))


def simulated(slope: float) -> list[Fit]:
    rng = np.random.default_rng(5)
    return [fit_slope(rng, table(noisy(rng, slope=slope)), resamples=400) for _ in range(SIMULATIONS)]


def test_power_laws_on_lines_of_any_level_have_their_exponent() -> None:
    axis, line = np.tile(X, 3), np.repeat(np.arange(3), X.size)
    errors = np.tile((10.0**line) * axis**-1.3, (9, 1))
    fit = fit_slope(np.random.default_rng(0), table(errors, predicted=-1.0, axis=axis, line=line), resamples=50)
    np.testing.assert_allclose([fit.value, fit.predicted, *fit.interval(0.95)], [-1.3, -1, -1.3, -1.3], rtol=1e-9)


def test_the_predicted_slope_is_fitted_over_the_same_points() -> None:
    axis = np.array([20.0, 30.0, 300.0])
    curve = 1 / (axis - 11)
    both = Table(axis, np.zeros(3, dtype=np.int64), np.tile(curve, (8, 1)), np.tile(curve, (8, 1)))
    fit = fit_slope(np.random.default_rng(0), both, resamples=20)
    assert fit.difference == 0
    assert fit.predicted == pytest.approx(np.polyfit(np.log(axis), np.log(curve), 1)[0])


def test_the_level_is_what_the_slope_leaves_open() -> None:
    errors = np.tile(2 * X**-1.0, (8, 1))
    fit = fit_level(np.random.default_rng(0), table(errors), resamples=20)
    assert np.exp(fit.difference) == pytest.approx(2)


def test_absent_clusters_change_nothing_but_precision() -> None:
    rng = np.random.default_rng(2)
    errors = noisy(rng, clusters=60)
    errors[:20, 0] = errors[40:, 3] = np.nan
    fit = fit_slope(rng, table(errors), resamples=500)
    means = np.nanmean(errors, axis=0)
    assert fit.value == pytest.approx(np.polyfit(np.log(X), np.log(means), 1)[0])
    assert 0 < fit.error < 0.2
    assert fit.interval(0.999)[0] < -1 < fit.interval(0.999)[1]


def test_standard_errors_are_those_of_repetition() -> None:
    """The spread of 600 slopes has a relative standard error of 3 %."""
    fits = simulated(-1.0)
    assert np.mean([fit.error for fit in fits]) == pytest.approx(np.std([fit.value for fit in fits]), rel=0.15)


def test_intervals_cover_as_often_as_they_say() -> None:
    """If 94.5 to 95 % of all intervals cover, the share of 600 is outside these bounds for one seed in 100."""
    assert 0.92 <= rate(simulated(-1.0), lambda fit: fit.interval(0.95)[0] <= -1 <= fit.interval(0.95)[1]) <= 0.975


@pytest.mark.long
def test_equivalence_is_found_by_mistake_as_rarely_as_it_says() -> None:
    """At the margin 5 % of verdicts are wrong; 8 % of 600 would be once in 1000."""
    at_margin = simulated(-1.0 + MARGIN)
    assert rate(at_margin, lambda fit: equivalence_p(fit, MARGIN) <= 0.05) <= 0.08
    assert rate(at_margin, lambda fit: departure_p(fit, MARGIN) <= 0.05) <= 0.08
    assert rate(simulated(-1.0), lambda fit: departure_p(fit, MARGIN) <= 0.05) <= 0.02


@pytest.mark.long
def test_power_is_the_share_of_right_verdicts() -> None:
    fits = simulated(-1.0)
    stated = float(np.mean([equivalence_power(fit, MARGIN, 0.05) for fit in fits]))
    assert rate(fits, lambda fit: equivalence_p(fit, MARGIN) <= 0.05) == pytest.approx(stated, abs=0.1)
    far = simulated(-1.0 + 2 * MARGIN)
    stated = float(np.mean([departure_power(fit, MARGIN, 0.05) for fit in far]))
    assert rate(far, lambda fit: departure_p(fit, MARGIN) <= 0.05) == pytest.approx(stated, abs=0.12)


def test_without_any_scatter_the_tests_decide() -> None:
    errors = np.tile(X**-1.02, (8, 1))
    fit = fit_slope(np.random.default_rng(0), table(errors), resamples=400)
    assert equivalence_p(fit, 0.03) < 0.01 < 0.9 < departure_p(fit, 0.03)
    assert departure_p(fit, 0.01) < 0.01 < 0.9 < equivalence_p(fit, 0.01)


@pytest.mark.parametrize("seed", range(5))
def test_holm_rejects_what_its_steps_reject(seed: int) -> None:
    p = np.random.default_rng(seed).beta(0.3, 3, 8)
    rejected, order = np.zeros(8, dtype=bool), np.argsort(p)
    for place, index in enumerate(order):
        if p[index] > 0.05 / (8 - place):
            break
        rejected[index] = True
    assert [value <= 0.05 for value in holm(p.tolist())] == rejected.tolist()
