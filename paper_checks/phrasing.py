"""Numbers and verdicts in plain words, the same in the terminal, the report and the JSON file."""

from __future__ import annotations

from collections.abc import Sequence

from paper_checks.claim import Evidence, Outcome


def number(value: float | None) -> str:
    """Write a number with four significant digits, small integers in full.

    Examples
    --------
    >>> number(3.0), number(0.123456), number(1.5e-13), number(-2.5e7), number(float("nan")), number(None)
    ('3', '0.1235', '1.5e-13', '-2.5e+07', 'not finite', 'not finite')
    """
    if value is None or value != value or value in (float("inf"), float("-inf")):
        return "not finite"
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    text = f"{value:.4g}" if 1e-3 <= abs(value) < 1e5 else f"{value:.3g}"
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
    """Write what the measured value must be, tolerance included."""
    predicted, tolerance = evidence.predicted, evidence.tolerance
    if evidence.relation == "at most":
        return f"≤ {number(predicted + tolerance)}"
    if evidence.relation == "at least":
        return f"≥ {number(predicted - tolerance)}"
    return f"{number(predicted)} ± {number(tolerance)}" if tolerance else number(predicted)


def comparison(evidence: Evidence) -> str:
    """Say what was measured and what was expected, with numbers."""
    interval = evidence.interval
    spread = f" [{number(interval[0])}, {number(interval[1])}]" if interval else ""
    return (
        f"{evidence.what} on {evidence.instance}: measured {number(evidence.measured)}{spread}, "
        f"expected {expected(evidence)}"
    )


def headline(evidence: Sequence[Evidence]) -> Evidence | None:
    """Return what a table shows of a claim: the first value that disagrees, else is undecided, else agrees."""
    for outcome in (Outcome.DISAGREES, Outcome.UNDECIDED, Outcome.AGREES):
        for item in evidence:
            if item.outcome is outcome:
                return item
    return None
