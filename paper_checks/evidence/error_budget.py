r"""The budget of chance errors of a run: the intervals' level, stated before anything is drawn.

In one run the probability that any interval misses a true statement is at most `BUDGET`. It is allocated over the
claims in proportion to `MOST_INTERVALS`, the most intervals that each may use, so that all have the same level
``FALSE_ALARM = BUDGET / sum of MOST_INTERVALS`` (Bonferroni: no independence is needed).

An interval of a mean is Student's, and is widened by the Cornish-Fisher term of the samples' skewness g,

    half width = [ t + |g| (2 t^2 + 1) / (6 sqrt(n)) ] standard errors,

since errors are like chi-squares, and at such levels the normal approximation alone is too optimistic.

Sample sizes are chosen for precision from the degrees of freedom of the error: the relative standard
error is ``sqrt(2 / (20 trials))`` for fine-tuning (`trials.trials_for`) and ``sqrt(2 / (128 trials))`` for
the base (ML-9), with the profile's trials; but at least `trials.FEWEST` are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np

from paper_checks.claim import Profile
from paper_checks.evidence.evidence import Evidence

BUDGET = 1e-4
MOST_INTERVALS = {
    "SR-2": 4,
    "SR-3": 3,
    "SR-4": 50,
    "SR-5": 9,
    "ML-1": 3,
    "ML-2": 5,
    "ML-3": 5,
    "ML-7": 52,
    "ML-8": 12,
    "ML-9": 24,
    "FT-2": 120,
    "CL-6": 8,
}
"""Those of the profile full; quick has no ensembles and so none in SR-2, SR-3, ML-1 to ML-3."""
FALSE_ALARM = BUDGET / sum(MOST_INTERVALS.values())  # power of each interval
POWER = 0.999
DEGREES = {"fine-tuning": 20, "base": 128}  # degrees of freedom, per trial of the profile


def quantile(n: int, *, skewness: float) -> float:
    """Return the half width of an interval for the mean of n samples, in standard errors."""
    from scipy.special import stdtrit

    t = float(stdtrit(n - 1, 1 - FALSE_ALARM / 2))
    return t + abs(skewness) * (2 * t**2 + 1) / (6 * sqrt(n))


def skewness(samples: np.ndarray) -> float:
    """Return the third standardised moment, 0 where all samples are equal."""
    apart = samples - samples.mean()
    spread = float(np.sqrt(np.mean(apart**2)))
    return float(np.mean(apart**3)) / spread**3 if spread > 0 else 0.0


def detectable(profile: Profile, degrees: int) -> float:
    """Return the relative error of a prediction that is refuted with probability `POWER`, to first order."""
    error = sqrt(2 / (degrees * profile.trials))
    normal = NormalDist()
    return (normal.inv_cdf(1 - FALSE_ALARM / 2) + normal.inv_cdf(POWER)) * error


@dataclass(frozen=True)
class Share:
    """A claim's share of the budget, and its use in a run.

    Parameters
    ----------
    claim
        Its id.
    allowed, allocated
        Number of intervals, and their probability.
        intervals, spent
        The same for what the run used.
    samples
        Smallest and largest sample.
    """

    claim: str
    allowed: int
    allocated: float
    intervals: int
    spent: float
    samples: tuple[int, int]


def share(claim: str, evidence: Sequence[Evidence]) -> Share | None:
    """Return a claim's share; None without statistical evidence that has a sample size."""
    sizes = [item.samples for item in evidence if item.kind == "statistical" and item.samples is not None]
    if not sizes:
        return None
    allowed, used = MOST_INTERVALS.get(claim, 0), len(sizes)
    return Share(claim, allowed, allowed * FALSE_ALARM, used, used * FALSE_ALARM, (min(sizes), max(sizes)))
