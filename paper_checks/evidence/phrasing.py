"""Numbers and verdicts in plain words, the same in the terminal, the report and the JSON file."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from paper_checks.evidence.evidence import Evidence, Kind, Outcome
from paper_checks.notation import unicode

STRENGTH: tuple[Kind, ...] = ("proved", "exact", "certified", "numerical", "statistical")
PROOFS = {"proved": "proved", "exact": "exact over Q", "certified": "certified"}


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


def headline(evidence: Sequence[Evidence], keys: Sequence[str] = ()) -> Evidence | None:
    """Return the value that a table shows.

    It is the first deciding one that disagrees, or is undecided. Where all agree it is, of the first of the key
    quantities that has values, the value that uses most of what is tolerated, of several such the strongest kind.
    """
    deciding = [item for item in evidence if item.decides]
    for outcome in (Outcome.DISAGREES, Outcome.UNDECIDED):
        for item in deciding:
            if item.outcome is outcome:
                return item
    of_keys = ([item for item in deciding if item.key == key] for key in keys)
    return furthest_off(next(filter(None, of_keys), deciding))


def furthest_off(agreeing: Sequence[Evidence]) -> Evidence | None:
    """Return the value that uses most of what is tolerated, of several such the strongest kind."""
    return max(agreeing, key=lambda item: (item.share, -STRENGTH.index(item.kind)), default=None)


def quote(keys: Sequence[str], evidence: Sequence[Evidence], *, noun: str = "instance") -> str:
    """Say what the key quantities are, each by the value that is furthest off; evidence that all agrees.

    Examples
    --------
    >>> one = Evidence("exact", "integer d=4", "rank", 4, 4, "equal", 0.0, "counted", key="rank of $R_t$")
    >>> quote(["rank of $R_t$"], [one])
    'Rank of Rₜ: 4, expected 4 on integer d=4 (exact over Q)'
    """
    said = "; ".join(_quoted(key, found, noun) for key in keys if (found := [e for e in evidence if e.key == key]))
    return said[:1].upper() + said[1:] if said[:2].isalpha() else said


def _quoted(key: str, found: Sequence[Evidence], noun: str) -> str:
    item = furthest_off(found)
    assert item is not None
    proved = {kind: {e.instance for e in found if e.kind == kind} for kind in PROOFS}
    several = len(found) > 1
    said = [f"{PROOFS[kind]}{f' on {len(on)}' if several else ''}" for kind, on in proved.items() if on]
    if several:
        places = plural(len({e.instance for e in found}), noun)
        said.insert(0, f"{'the furthest off' if item.share else 'like all'} of {len(found)} values on {places}")
    where = f" ({', '.join(said)})" if said else ""
    return f"{unicode(key)}: {measured(item)}, expected {expected(item)} on {item.instance}{where}"
