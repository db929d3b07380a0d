"""Forged certificates of a spurious minimum: each fails in one step of the proof alone, and only just.

They are made from a valid certificate, for tests of a checker: one that leaves the step out accepts the forgery.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from fractions import Fraction
from typing import Any, NamedTuple

from loraml_theory.certified.check import content_digest

Document = dict[str, Any]


class Forgery(NamedTuple):
    """A forged certificate with a digest that fits, and how the checker's message for the failing step begins."""

    step: str
    document: Document


def forgeries(document: Document) -> Iterator[Forgery]:
    """Yield the forgeries of a certificate; those of the gauge where k > 1.

    Parameters
    ----------
    document
        A valid certificate whose curvature is a bound within 10 % of the least eigenvalue at the centre.
    """
    mu, lower, value = (Fraction(document[part]["lower"]) for part in ("curvature", "value", "value"))
    value = value_at_centre(document)
    half, tenth = mu / 2, lower / 10

    def forged(step: str, radius: str, *, curvature: Fraction = half, least: Fraction = tenth, **more: Any) -> Forgery:
        made = deepcopy(document)
        made["point"] = {**made["point"], "radius": radius, **more.get("point", {})}
        made["curvature"] = {"lower": _text(curvature)}
        made["value"] = {**made["value"], "lower": _text(least), **more.get("value", {})}
        return Forgery(step, {**made, "sha256": content_digest(made)})

    yield forged("radius: is not positive", "-1e-4")
    yield forged("value: the lower bound is not positive", "1e-4", least=Fraction(0))
    for radius in ("1e-3", "1e-4"):
        yield forged("curvature: the Hessian is not proved", radius, curvature=mu)
    moved = deepcopy(document["point"]["U"])
    moved[0][0][0] = _text(Fraction(moved[0][0][0]) + Fraction(1, 10**7))
    yield forged("point: no stationary point is proved", "1e-9", point={"U": moved})
    yield forged("value: the lower bound is above", "1e-4", least=value - half / 10**8 / 2)
    yield forged("value: the upper bound is below", "1e-9", value={"upper": _text(value - Fraction(1, 10**20))})
    rows = document["point"]["gauge_rows"]
    if rows[0]:
        d = document["structure"]["d"]
        other = next(i for i in range(d) if Fraction(document["point"]["U"][0][i][-1]) != 0)
        yield forged(
            f"point: task 0, row {other} is not 0",
            "1e-9",
            curvature=mu / 100,
            point={"gauge_rows": [[other, *rows[0][1:]], *rows[1:]]},
        )


def value_at_centre(document: Document) -> Fraction:
    """Return ``g = 1/2 sum_t ||D_t - mean_s D_s||_F^2``, ``D_t = U_t U_t^T - U_star_t U_star_t^T``."""
    pairs = zip(document["point"]["U"], document["structure"]["U_star"], strict=True)
    D = [[x - y for x, y in zip(_square(U), _square(true), strict=True)] for U, true in pairs]
    means = [sum(entries) / len(D) for entries in zip(*D, strict=True)]
    return sum(((x - mean) ** 2 for M in D for x, mean in zip(M, means, strict=True)), Fraction(0)) / 2


def _square(U: list[list[str]]) -> list[Fraction]:
    """Return the entries of ``U U^T``."""
    rows = [[Fraction(x) for x in row] for row in U]
    return [sum((x * y for x, y in zip(one, other, strict=True)), Fraction(0)) for one in rows for other in rows]


def _text(number: Fraction) -> str:
    """Write a number to 60 digits after the point."""
    return f"{round(number * 10**60)}e-60"
