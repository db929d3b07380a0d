r"""Log-log slopes of mean errors, with intervals that resample ground truths, and tests of equivalence.

The points of an axis fall into lines, on each of which everything else is fixed. The slope is that of least squares
with one intercept per line,

    slope = sum_j a_j log m_j,   a_j = (x_j - mean of x on j's line) / sum_j (x_j - mean of x on j's line)^2,

x the logarithm of the axis, m_j the mean error at point j. It is linear in log m, and so the slope of the predicted
curve comes from the same weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite, sqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RESAMPLES = 4000
BLOCK = 4_000_000  # numbers in one array of the resampling, at most
FAR = 300.0  # an end of an interval that lies further off than this, e^300 as a level, is infinite
LEAST_SPREAD = 1e-300  # replaces 0 in a denominator
POWER = 0.8  # of a number of clusters that would decide
MOST = 10**7  # clusters


@dataclass(frozen=True, eq=False)
class Table:
    """Errors by cluster (ground truth) and point.

    Parameters
    ----------
    axis
        Value of the axis at each point, ``(P,)``, > 0.
    line
        The line each point is on, ``(P,)``, whole numbers.
    errors, predicted
        ``(C, P)``, > 0; NaN where a cluster has no value at a point.
    """

    axis: Floats
    line: NDArray[np.int64]
    errors: Floats
    predicted: Floats

    @property
    def weights(self) -> Floats:
        """The weights a_j of the slope, ``(P,)``; zero on a line with a single point."""
        x = np.log(self.axis)
        for line in np.unique(self.line):
            x[self.line == line] -= x[self.line == line].mean()
        return x / np.sum(x**2)


@dataclass(frozen=True, eq=False)
class Fit:
    """A linear combination of log means, its prediction, and the resamples of both.

    Parameters
    ----------
    value, predicted
        Measured and predicted.
    error, difference_error
        Standard errors of `value` and of ``value - predicted``, by the delta method over clusters.
    pivots, difference_pivots
        Studentised values of the resamples, sorted, ``(resamples,)``.
    """

    value: float
    predicted: float
    error: float
    difference_error: float
    pivots: Floats
    difference_pivots: Floats

    @property
    def difference(self) -> float:
        """Measured minus predicted."""
        return self.value - self.predicted

    def interval(self, level: float) -> tuple[float, float]:
        """Return the bootstrap-t interval of `value` at this level; with few clusters its ends may be infinite."""
        return _interval(self.value, self.error, self.pivots, level)

    def difference_interval(self, level: float) -> tuple[float, float]:
        """Return the same of `difference`."""
        return _interval(self.difference, self.difference_error, self.difference_pivots, level)


def fit_slope(rng: np.random.Generator, table: Table, *, resamples: int = RESAMPLES) -> Fit:
    """Fit the slope; resample whole clusters."""
    return _fit(rng, table, table.weights, resamples)


def fit_level(rng: np.random.Generator, table: Table, *, resamples: int = RESAMPLES) -> Fit:
    """Fit the mean of the log errors over all points, which the slope says nothing about."""
    count = table.axis.size
    return _fit(rng, table, np.full(count, 1 / count), resamples)


def _fit(rng: np.random.Generator, table: Table, weights: Floats, resamples: int) -> Fit:
    with np.errstate(divide="ignore", invalid="ignore"):
        return _resampled(rng, table, weights, resamples)


def _resampled(rng: np.random.Generator, table: Table, weights: Floats, resamples: int) -> Fit:
    clusters = len(table.errors)
    (value,), (predicted,), (error,), (spread,) = _combine(np.ones((1, clusters)), table, weights)
    parts: list[tuple[Floats, ...]] = []
    block = max(1, BLOCK // max(clusters, table.axis.size))
    for first in range(0, resamples, block):
        size = min(block, resamples - first)
        drawn = rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=size).astype(float)
        parts.append(_combine(drawn, table, weights))
    values, predictions, errors, spreads = (np.concatenate(part) for part in zip(*parts, strict=True))
    whole = np.isfinite(values)  # a resample may miss every cluster of a point that has few
    values, predictions, errors, spreads = values[whole], predictions[whole], errors[whole], spreads[whole]
    return Fit(
        float(value),
        float(predicted),
        float(error),
        float(spread),
        _studentised(values - value, errors),
        _studentised((values - predictions) - (value - predicted), spreads),
    )


def _combine(drawn: Floats, table: Table, weights: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return value, prediction and both standard errors for every row of multiplicities, ``(R, C)``.

    A cluster that is absent at a point leaves the point's mean to the others, whose number is random.
    """
    present = np.isfinite(table.errors)
    counts = drawn @ present
    sums = [drawn @ np.where(present, values, 0.0) for values in (table.errors, table.predicted)]
    values, predictions = (np.log(total / counts) @ weights for total in sums)
    # influence of a cluster on the logarithm of a ratio of sums, up to the part that both ratios share
    influence, of_prediction = (
        np.where(present, values, 0.0) @ (weights / total).T
        for values, total in zip((table.errors, table.predicted), sums, strict=True)
    )
    clusters = len(present)
    scale = clusters / (clusters - 1) if clusters > 1 else inf  # one cluster does not determine a variance
    error, spread = (
        np.sqrt(scale * np.sum(drawn.T * part**2, axis=0))
        for part in (influence - present @ (weights / counts).T, influence - of_prediction)
    )
    return values, predictions, error, spread


def _studentised(deviations: Floats, errors: Floats) -> Floats:
    """Return the sorted ratios; 0 / 0 is 0, as where all clusters are the same."""
    return np.sort(deviations / np.maximum(errors, LEAST_SPREAD)) if np.any(errors > 0) else np.zeros_like(deviations)


def _interval(value: float, error: float, pivots: Floats, level: float) -> tuple[float, float]:
    """Return the interval; with two or three clusters many resamples have no spread, and the ends are infinite."""
    if not isfinite(error):
        return -inf, inf
    low, high = np.quantile(pivots, [(1 - level) / 2, (1 + level) / 2])
    below, above = float(high) * error, float(low) * error
    return value - below if below < FAR else -inf, value - above if above > -FAR else inf


def equivalence_p(fit: Fit, margin: float) -> float:
    """Return the p-value of ``|true - predicted| >= margin``: two one-sided bootstrap-t tests (TOST)."""
    return max(_above(fit, -margin), _below(fit, margin))


def departure_p(fit: Fit, margin: float) -> float:
    """Return the p-value of ``|true - predicted| <= margin``, twice the smaller one-sided one."""
    return min(1.0, 2 * min(_above(fit, margin), _below(fit, -margin)))


def _above(fit: Fit, bound: float) -> float:
    """Return the p-value of "the difference is at most `bound`"."""
    return _tail(fit.difference_pivots, (fit.difference - bound), fit.difference_error)


def _below(fit: Fit, bound: float) -> float:
    return _tail(-fit.difference_pivots, (bound - fit.difference), fit.difference_error)


def _tail(pivots: Floats, distance: float, error: float) -> float:
    if not isfinite(error):
        return 1.0
    if error == 0:
        return 1 / (1 + pivots.size) if distance > 0 else 1.0
    return float(1 + np.sum(pivots >= distance / error)) / (1 + pivots.size)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values: at most alpha exactly where the step-down procedure rejects.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, largest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def equivalence_power(fit: Fit, margin: float, alpha: float) -> float:
    """Return the probability of finding equivalence at level `alpha` if the prediction is right, from the pivots."""
    if not isfinite(fit.difference_error):
        return 0.0
    low, high, reach = _thresholds(fit, margin, alpha)
    return float(np.mean((fit.difference_pivots >= high - reach) & (fit.difference_pivots <= reach - low)))


def clusters_for_power(fit: Fit, clusters: int, margin: float, alpha: float, *, power: float = POWER) -> int | None:
    """Estimate how many clusters would find equivalence with this probability if the prediction is right.

    Standard errors are taken to fall as the root of the number of clusters, and the pivots to stay as they are. None
    where one cluster does not determine a spread, or `MOST` clusters would not do.
    """
    if not isfinite(fit.difference_error):
        return None

    def enough(count: int) -> bool:
        scaled = replace(fit, difference_error=fit.difference_error * sqrt(clusters / count))
        return equivalence_power(scaled, margin, alpha) >= power

    few, many = 1, clusters
    while not enough(many):
        if many >= MOST:
            return None
        few, many = many, 2 * many
    while many - few > max(1, many // 50):
        middle = (few + many) // 2
        few, many = (few, middle) if enough(middle) else (middle, many)
    return many


def departure_power(fit: Fit, margin: float, alpha: float) -> float:
    """Return the probability of finding a departure of twice the margin at level `alpha`, the less likely way."""
    if not isfinite(fit.difference_error):
        return 0.0
    low, high, reach = _thresholds(fit, margin, alpha / 2)
    return float(min(np.mean(fit.difference_pivots >= high - reach), np.mean(fit.difference_pivots <= reach - low)))


def _thresholds(fit: Fit, margin: float, alpha: float) -> tuple[float, float, float]:
    """Return the critical values of a pivot on either side at level `alpha`, and the margin in standard errors."""
    tail, high = np.quantile(fit.difference_pivots, [alpha, 1 - alpha])
    return -float(tail), float(high), margin / max(fit.difference_error, float(np.finfo(float).tiny))
