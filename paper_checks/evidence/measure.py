"""From raw numbers to evidence: ranks with brackets, values with rounding, means with intervals."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import numpy as np

from loraml_theory.spectra import Bracket, congruence_floor, inertia, rounding_level
from paper_checks.evidence.error_budget import FALSE_ALARM, quantile, skewness
from paper_checks.evidence.evidence import Evidence
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.resolution import ROUNDINGS

VISIBLE = 1e-2  # a share of rounding above this hides a value from float64
RESOLUTION = 0.2  # an interval wider than this on either side, relative to the prediction, cannot agree


def level(instance: Instance) -> float:
    """Return the size below which singular values on this instance are rounding of its largest W_t."""
    return float(rounding_level(instance.truth.scale, instance.truth.d))


def inertia_evidence(
    instance: Instance,
    what: str,
    M: np.ndarray,
    *,
    factor: np.ndarray,
    smallest: float,
    predicted: tuple[int, int],
    key: str = "",
) -> list[Evidence]:
    r"""Compare the inertia of M with a prediction, where theory says ``M = factor D factor^T``.

    Sylvester's law fixes the inertia; the `congruence_floor`, given the `smallest` non-zero ``|eig(D)|``, decides
    whether float64 can see it: if it is not clearly above rounding, the count is decidable only where it agrees. The
    first row, the rank, is a value of `key`; where M has a kernel, its near miss is the rank of M with one eigenvalue
    of it displaced by `ROUNDINGS` times rounding.
    """
    cut = level(instance)
    counts = inertia(M, np.asarray(cut))
    floor = float(congruence_floor(factor, smallest))
    reason = (
        f"counted exactly; eigenvalues below {cut:.1e} (8 sqrt(d) eps max||W_t||_F) are rounding, above {10 * cut:.1e} "
        f"they are not; theory bounds the smallest from below by {floor:.1e}"
    )
    rows = []
    total = Bracket(counts.positive.low + counts.negative.low, counts.positive.high + counts.negative.high)
    for sign, found, expected in (
        ("non-zero", total, sum(predicted)),
        ("positive", counts.positive, predicted[0]),
        ("negative", counts.negative, predicted[1]),
    ):
        low, high = int(found.low), int(found.high)
        decidable = low == high and (floor > 10 * cut or high >= expected)
        rows.append(
            Evidence(
                "numerical",
                instance.name,
                f"{sign} eigenvalues of {what}",
                low,
                expected,
                "equal",
                0.0,
                reason,
                decidable=decidable,
                key=key if sign == "non-zero" else "",
            )
        )
    if sum(predicted) < instance.truth.d:
        rows[0] = replace(rows[0], displaced=_rank_of_displaced(instance, M, cut))
    return rows


def rounding(instance: Instance) -> float:
    """Return the rounding of a matrix as large as the instance's largest W_t: ``d eps max||W_t||_F``."""
    return instance.truth.d * float(np.finfo(float).eps) * float(instance.truth.scale)


def _rank_of_displaced(instance: Instance, M: np.ndarray, cut: float) -> int:
    """Count the eigenvalues of M that are not rounding after the smallest was displaced by `ROUNDINGS` roundings."""
    values, vectors = np.linalg.eigh((M + M.T) / 2)
    v = vectors[:, np.argmin(np.abs(values))]
    found = inertia(M + ROUNDINGS * rounding(instance) * np.outer(v, v), np.asarray(cut))
    return int(found.positive.low + found.negative.low)


def zero_evidence(
    instance: Instance,
    what: str,
    value: float | np.floating,
    *,
    condition: float,
    slack: float = 0.0,
    factor: float = 30.0,
) -> Evidence:
    """State that a non-negative value, relative to max||W_t||_F, is zero to rounding times a condition number.

    Tolerance: ``condition * (factor d eps + slack)``; above 1e-3 the evidence is undecided. The bound of the error has
    1 for the factor, and a tenth of the slack.
    """
    d = instance.truth.d
    tolerance = condition * (factor * d * float(np.finfo(float).eps) + slack)
    reason = f"condition number {condition:.2g} times ({factor:g} d eps{f' + {slack:.1e}' if slack else ''})"
    return Evidence(
        "numerical",
        instance.name,
        what,
        float(value),
        0.0,
        "equal",
        tolerance,
        reason,
        decidable=tolerance < 1e-3,
        rounding=condition * (d * float(np.finfo(float).eps) + slack / 10),
    )


def mean_evidence(
    instance: Instance,
    what: str,
    samples: np.ndarray,
    predicted: float,
    *,
    bias: float,
    reason: str,
    rounding: float = 0.0,
    predicted_error: float = 0.0,
    resolution: float = RESOLUTION,
) -> Evidence:
    """Compare the mean of independent samples with a prediction that is right up to a relative bias and rounding.

    The interval is Student's of false-alarm probability `FALSE_ALARM`, widened for the samples' skewness and by the
    prediction's own standard error. An interval wider than `resolution`, or a tolerance wider than the interval, can
    disagree but not agree; rounding above `VISIBLE` hides the value.
    """
    mean = float(np.mean(samples))
    error = sqrt(float(np.var(samples, ddof=1)) / samples.size + predicted_error**2)
    half = quantile(samples.size, skewness=skewness(samples)) * error
    tolerance = (bias + rounding) * abs(predicted)
    sharp = tolerance < half <= resolution * abs(predicted) or abs(mean - predicted) > half + tolerance
    return Evidence(
        "statistical",
        instance.name,
        what,
        mean,
        predicted,
        "equal",
        tolerance,
        f"{reason}; rounding at most {rounding:.1g}; interval of {samples.size} trials, "
        f"false-alarm probability {FALSE_ALARM:.2g}",
        interval=(mean - half, mean + half),
        decidable=sharp and rounding <= VISIBLE,
        samples=samples.size,
    )
