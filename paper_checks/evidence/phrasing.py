"""Numbers and verdicts in plain words, the same in the terminal, the report and the JSON file."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from paper_checks.claim import Evidence, Outcome


def number(value: float | None, digits: int = 4) -> str:
    """Write a number with this many significant digits, one less with an exponent, and small integers in full.

    Examples
    --------
    >>> number(3.0), number(0.123456), number(1.5e-13), number(-2.5e7), number(float("nan")), number(None)
    ('3', '0.1235', '1.5e-13', '-2.5e+07', 'not finite', 'not finite')
    """
    if value is None or not isfinite(value):
        return "not finite"
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    text = f"{value:.{digits}g}" if 1e-3 <= abs(value) < 1e5 else f"{value:.{max(digits - 1, 2)}g}"
    return text.replace("e-0", "e-")


def plural(count: int, noun: str) -> str:
    """Write a count with its noun.

    Examples
    --------
    >>> plural(1, "value"), plural(2, "value")
    ('1 value', '2 values')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"


def expected(evidence: Evidence) -> str:
    """Write the expected value with its tolerance."""
    predicted, tolerance = evidence.predicted, evidence.tolerance
    if evidence.relation == "at most":
        return f"≤ {number(predicted + tolerance)}"
    if evidence.relation == "at least":
        return f"≥ {number(predicted - tolerance)}"
    if evidence.relation == "above":
        return f"> {number(predicted + tolerance)}"
    return f"{number(predicted)} ± {number(tolerance, 2)}" if tolerance else number(predicted)


def measured(evidence: Evidence) -> str:
    """Write the measured value, with half the width of its confidence interval."""
    if evidence.interval is None:
        return number(evidence.measured)
    low, high = evidence.interval
    return f"{number(evidence.measured, 3)} ± {number((high - low) / 2, 2)}"


def comparison(evidence: Evidence) -> str:
    """State the measured and the expected value, and their difference, which four digits may not show."""
    interval = evidence.interval
    spread = f" [{number(interval[0])}, {number(interval[1])}]" if interval else ""
    off = abs(evidence.measured - evidence.predicted)
    apart = f", {number(off, 2)} off" if isfinite(off) and evidence.relation != "above" else ""
    return (
        f"{evidence.what} on {evidence.instance}: measured {number(evidence.measured)}{spread}, "
        f"expected {expected(evidence)}{apart}"
    )


def headline(evidence: Sequence[Evidence]) -> Evidence | None:
    """Return the value that a table shows: the first deciding one that disagrees, is undecided, or agrees."""
    for outcome in (Outcome.DISAGREES, Outcome.UNDECIDED, Outcome.AGREES):
        for item in evidence:
            if item.decides and item.outcome is outcome:
                return item
    return None
