"""Evidence without tolerances, over the rational numbers, from instances that are known exactly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from importlib.util import find_spec
from math import inf, isqrt, nextafter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from loraml_theory.harness.errors import install
from loraml_theory.structure import GroundTruth
from paper_checks.evidence.evidence import Evidence, Kind, Note, Relation
from paper_checks.evidence.instance import Instance

if TYPE_CHECKING:
    from loraml_theory.exact import Rationals, RationalTruth

MISSING = f"needs python-flint: {install('exact')}"
OMITTED = f"Exact and certified evidence is left out: it {MISSING}"
OVER_Q = "decided over the rational numbers: there is no rounding"
LARGEST = 64  # largest dimension of exact evidence


def available() -> bool:
    """Return whether python-flint is installed."""
    return find_spec("flint") is not None


def whole_numbers(truth: GroundTruth) -> bool:
    """Return whether all entries are whole numbers that float64 holds exactly, up to 2^53."""
    return all(bool(np.all((np.abs(x) <= 2.0**53) & (x == np.round(x)))) for x in (truth.A_star, truth.U_star))


def over_rationals(instance: Instance) -> RationalTruth | None:
    """Return the instance over Q where it is known exactly, is not too large, and python-flint is installed.

    It is known exactly where its entries are whole numbers, or where the user declares the floats exact
    (`Instance.exact`).
    """
    known = instance.exact or whole_numbers(instance.truth)
    if not (known and instance.truth.d <= LARGEST and available()):
        return None
    from loraml_theory.exact import RationalTruth

    return RationalTruth.of(instance.truth)


def omitted(instance: Instance, what: str) -> Note:
    """Return a note that a structure is too large for this evidence."""
    return Note(instance.name, f"exact evidence omitted, {what}: d = {instance.truth.d} > {LARGEST}")


def evidence(
    instance: Instance,
    what: str,
    measured: float,
    predicted: float,
    *,
    relation: Relation = "equal",
    kind: Kind = "exact",
    reason: str = OVER_Q,
) -> Evidence:
    """Compare two numbers without a tolerance."""
    return Evidence(kind, instance.name, what, measured, predicted, relation, 0.0, reason)


def zero(instance: Instance, what: str, array: Rationals) -> Evidence:
    """State that an array of rationals is zero, by counting its other entries."""
    from loraml_theory.exact import non_zero

    return evidence(instance, f"entries that are not 0 over Q: {what}", non_zero(array), 0)


def signs(instance: Instance, what: str, M: Rationals, predicted: Sequence[int], *, key: str = "") -> list[Evidence]:
    """Compare the inertia of a symmetric matrix, (positive, negative), with a prediction; its rank is of `key`."""
    from loraml_theory.exact import inertia

    found = inertia(M)
    rows = [
        evidence(instance, f"{sign} eigenvalues over Q of {what}", count, expected)
        for sign, count, expected in (
            ("non-zero", sum(found), sum(predicted)),
            ("positive", found.positive, predicted[0]),
            ("negative", found.negative, predicted[1]),
        )
    ]
    return [rows[0].of(key), *rows[1:]]


class ExactPoint(NamedTuple):
    """A point (A, U) over Q under a name."""

    origin: str
    A: Rationals
    U: Rationals


def minimisers(instance: Instance, truth: RationalTruth) -> Iterator[ExactPoint]:
    """Yield the truth; at T = 2 a point of the orbit, else the result of `recover` where a triple allows it."""
    from loraml_theory.exact import recover

    yield ExactPoint("the truth", truth.A_star, truth.U_retraining)
    if truth.T == 2:
        yield orbit_point(instance, truth, active=truth.k)
        return
    try:
        yield ExactPoint("the exact recovery", recover(truth.W_retraining, truth.k), truth.U_retraining)
    except ValueError:
        return


def orbit_point(instance: Instance, truth: RationalTruth, *, active: int) -> ExactPoint:
    """Return a point of the two-task orbit with this many non-zero rapidities."""
    from loraml_theory.exact import two_task_orbit

    A, U = two_task_orbit(truth, draw_boost(instance.rng(f"rational orbit {active}"), truth.k, active))
    return ExactPoint("a point of the two-task orbit", A, U)


def draw_boost(rng: np.random.Generator, k: int, active: int) -> Rationals:
    """Draw a rational element of O(k, k) with this many non-zero rapidities, from 0.2 to 1.4."""
    from flint import fmpq

    from loraml_theory.exact import boost

    slopes = [fmpq(int(n), 10) for n in rng.integers(1, 7, active)] + [fmpq(0)] * (k - active)
    factors = [draw_orthogonal(rng, k) for _ in range(4)]
    return boost(slopes, factors[:2], factors[2:])


def draw_orthogonal(rng: np.random.Generator, n: int) -> Rationals:
    """Draw a rational orthogonal matrix, ``(n, n)``."""
    from loraml_theory.exact import orthogonal, rationals

    upper = np.triu(rng.integers(-3, 4, (n, n)), 1)
    return orthogonal(rationals(upper - upper.T) / 2)


def distance_above(floats: np.ndarray, exact: Rationals) -> float:
    """Return a float64 that is at least the Frobenius distance of floats, taken as exact, from rationals."""
    from loraml_theory.exact import rationals

    difference = rationals(floats) - exact
    return root_above(Fraction(*_ratio(np.sum(difference * difference))))


def root_above(square: Fraction) -> float:
    """Return a float64 that is at least the root of a rational number >= 0, and within 1e-15 of it relatively.

    Examples
    --------
    >>> root_above(Fraction(0)), root_above(Fraction(4)) >= 2
    (0.0, True)
    """
    if square == 0:
        return 0.0
    shift = max(0, 2 * (70 + square.denominator.bit_length() // 2))
    root = isqrt((square.numerator << shift) // square.denominator) + 1
    return nextafter(float(Fraction(root, 1 << (shift // 2))), inf)


def upward(q: object) -> float:
    """Return a float64 that is at least a rational number of FLINT."""
    return nextafter(float(Fraction(*_ratio(q))), inf)


def downward(q: object) -> float:
    """Return a float64 that is at most a rational number of FLINT."""
    return nextafter(float(Fraction(*_ratio(q))), -inf)


def _ratio(q: object) -> tuple[int, int]:
    from flint import fmpq

    if not isinstance(q, fmpq):
        raise TypeError(f"q: got {type(q).__name__}, expected fmpq")
    return int(q.p), int(q.q)
