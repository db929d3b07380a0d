"""How fine the sieve is: the smallest error of a value that its check must refute, and near misses of that size.

The resolution of a value follows from its kind alone, by the numbers below, and not from its tolerance, which is
stated where the value is measured. So a tolerance that is loosened past its resolution lets a near miss through.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

from paper_checks.evidence.evidence import Evidence, Outcome

UNIT = 1.0  # of a rank or another count
FLOAT64 = 1e-6  # of a value in float64, relative to its prediction, or absolute where that is 0
ROUNDINGS = 1e3  # of a value with a bound of its error, times that bound
HALF_WIDTHS = 2.0  # of the mean of a sample, times the longer arm of its interval

RULES = {
    "count": "one unit of a rank or another count",
    "rounding": f"{ROUNDINGS:g} times the bound of the value's error",
    "float64": f"{FLOAT64:g} of the prediction, for a value in float64",
    "interval": f"{HALF_WIDTHS:g} times the half width of the interval",
}


class Resolution(NamedTuple):
    """The smallest error that must be refuted, and why it is not smaller."""

    value: float
    reason: str


COARSER = {
    "many tasks": Resolution(
        1e-4, "chance: the mean shift of 10^12 tasks is not its limit, and four times its distance is tolerated"
    ),
    "random tasks": Resolution(
        2e-2, "chance: 200 tasks have more than the limit of their trace, and three times the mean excess is tolerated"
    ),
}
"""The resolutions that are larger than those of the rules, by the name under which evidence asks for them."""


def resolution(item: Evidence) -> Resolution:
    """Return the smallest error of a value, in its own unit, that its check must refute."""
    if item.coarser:
        found = COARSER[item.coarser]
        return Resolution(found.value * _size(item), found.reason)
    if item.interval is not None:
        low, high = item.interval
        return Resolution(HALF_WIDTHS * max(item.measured - low, high - item.measured), RULES["interval"])
    if item.rounding is not None:
        return Resolution(ROUNDINGS * item.rounding, RULES["rounding"])
    if isinstance(item.predicted, int):
        return Resolution(UNIT, RULES["count"])
    return Resolution(FLOAT64 * _size(item), RULES["float64"])


def _size(item: Evidence) -> float:
    return abs(item.predicted) or 1.0


def near_miss(item: Evidence) -> Evidence:
    """Return the evidence with a value that is wrong by its resolution, which must disagree.

    It is the value that the check measured on a displaced input, where it has one (`Evidence.displaced`); otherwise
    the prediction displaced by the resolution, on the side on which the relation forbids it.
    """
    off = resolution(item).value
    wrong = item.predicted + (off if item.relation in ("equal", "slope", "at most") else -off)
    if item.displaced is not None:
        wrong = item.displaced
    moved = wrong - item.measured
    interval = None if item.interval is None else (item.interval[0] + moved, item.interval[1] + moved)
    return replace(item, measured=wrong, interval=interval)


def slightly_more(value: Any, parts: int = 10**9) -> Any:
    """Return a value, or an array over any field, one part in so many too large: a near miss of a statement."""
    return value * (parts + 1) / parts


def nearest_miss(evidence: Iterable[Evidence]) -> tuple[Evidence | None, int]:
    """Return the near miss that comes nearest to passing, and the number of all: one for each value that agrees."""
    misses = [near_miss(item) for item in evidence if item.decides and item.outcome is Outcome.AGREES]
    passing = [miss for miss in misses if miss.outcome is not Outcome.DISAGREES]
    return min(passing or misses, key=lambda miss: miss.share, default=None), len(misses)
