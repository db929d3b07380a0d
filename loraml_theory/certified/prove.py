r"""Proof that a strict spurious local minimum of population LoRA-ML lies near a point (ML-5).

1. The factors are rotated into the gauge of `gauge`, refined by Newton's method, and rounded to decimals: the centre.
2. Krawczyk's operator proves that the gradient in the free coordinates has exactly one zero in a box around it. It is a
   stationary point of g itself: the gradient vanishes along the orbit too, and the two span everything.
3. L D L^T in balls proves that the Hessian in the free coordinates is at least mu on the whole box.
4. Evaluated on the box, g is positive, while its global minimum is 0, at U*.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, log10

import numpy as np
from flint import arb, ctx, fmpq, fmpz
from numpy.typing import NDArray

from loraml_theory.certified import balls, gauge
from loraml_theory.certified.balls import Balls
from loraml_theory.exact import reduced
from loraml_theory.exact.rational import Rationals, rationals

PRECISION = 256  # bits
DIGITS = 40  # decimals of the centre, relative to the largest entry
BOX = 10  # the box is larger than the centre's rounding by 10^BOX
MARGIN = 0.99999  # share of the smallest eigenvalue in floating point that is claimed
MOST_UNKNOWNS = 300  # the entries of the Hessian are computed one by one


class UnprovedError(ArithmeticError):
    """The proof failed; the text says which step."""


@dataclass(frozen=True, eq=False)
class Proof:
    """What was proved.

    Parameters
    ----------
    U_star
        Factors of the retraining tasks, ``(T, d, k)``; A* may be anything.
    U
        Centre of the enclosure, ``(T, d, k)``, 0 where the gauge says so.
    rows
        The gauge, see `gauge.fix`.
    radius
        The minimum is the only stationary point in the gauge within this Euclidean distance of U.
    curvature
        Lower bound of the Hessian at the minimum, on all directions orthogonal to the orbit.
    value
        Bounds of the objective at the minimum; its global minimum is 0.
    """

    U_star: Rationals
    U: Rationals
    rows: gauge.Rows
    radius: fmpq
    curvature: fmpq
    value: tuple[fmpq, fmpq]


def prove(U_star: Rationals, U: gauge.Floats) -> Proof:
    """Prove that a strict spurious minimum lies near U.

    Parameters
    ----------
    U_star
        Factors of the retraining tasks, ``(T, d, k)``, as rationals.
    U
        A stationary point in floating point, ``(T, d, k)``.

    Raises
    ------
    UnprovedError
        If a step fails: U may not be a minimum, or the minimum may be global or degenerate.
    """
    if U.size > MOST_UNKNOWNS:
        raise UnprovedError(f"got T d k = {U.size} unknowns, at most {MOST_UNKNOWNS} are tried")
    fixed, rows = gauge.fix(U)
    mask = gauge.free(rows, *U.shape[1:])
    unit = DIGITS - floor(log10(max(float(np.abs(U).max()), 1e-300)))
    radius = fmpq(1, fmpz(10) ** (unit - BOX)) if unit >= BOX else fmpq(fmpz(10) ** (BOX - unit))
    with ctx.workprec(PRECISION + max(0, 4 * abs(unit - DIGITS))):
        target = balls.balls(U_star)

        def slope(x: Balls) -> Balls:
            return reduced.gradient(_full(x, mask, arb(0)), target)[mask]

        def bend(x: Balls) -> Balls:
            flat = mask.reshape(-1)
            return reduced.hessian(_full(x, mask, arb(0)), target)[flat][:, flat]

        centre = _centre(slope, bend, rationals(fixed[mask]), unit)
        _enclose(slope, bend, centre, radius)
        box = balls.balls(centre, radius)
        curvature = _curvature(bend, box)
        value = reduced.value(_full(box, mask, arb(0)), target)
        low, high = balls.below(value), balls.above(value)
    if not low > 0:
        raise UnprovedError("the value is not positive: a global minimum, or one too close to it")
    return Proof(U_star, _full(centre, mask, fmpq(0)), rows, radius, curvature, (low, high))


def _full(x: Balls, mask: NDArray[np.bool_], zero: arb | fmpq) -> Balls:
    """Return factors with the free coordinates filled in and `zero` where the gauge has zeros."""
    made = np.full(mask.shape, zero, dtype=object)
    made[mask] = x
    return made


def _centre(slope: balls.Map, bend: balls.Map, start: Rationals, unit: int) -> Rationals:
    try:
        refined = balls.refine(slope, bend, start, steps=5)
    except ZeroDivisionError:
        raise UnprovedError("the Hessian in the gauge is singular to working precision") from None
    scale = fmpq(10) ** unit
    return np.array([fmpq((x * scale + fmpq(1, 2)).floor()) / scale for x in refined], dtype=object)


def _enclose(slope: balls.Map, bend: balls.Map, centre: Rationals, radius: fmpq) -> None:
    """Raise unless exactly one zero lies in the box, and within `radius` of the centre in the Euclidean norm."""
    K = balls.krawczyk(slope, bend, centre, radius)
    if K is None:
        raise UnprovedError("Krawczyk's operator does not map the box into itself")
    offset = K - balls.balls(centre)
    if not np.sum(offset * offset) < arb(radius * radius):
        raise UnprovedError("the zero is not proved to lie within the radius")


def _curvature(bend: balls.Map, box: Balls) -> fmpq:
    """Return a proved lower bound of the Hessian's eigenvalues on the box, six digits of nearly all of it."""
    H = bend(box)
    guess = float(np.linalg.eigvalsh(np.array([[float(entry.mid()) for entry in row] for row in H]))[0])
    if not guess > 0:
        raise UnprovedError("the Hessian is not positive: no strict minimum")
    power = floor(log10(guess)) - 5
    bound = fmpq(floor(guess * MARGIN / 10.0**power)) * fmpq(10) ** power
    shift = rationals(np.eye(len(H), dtype=int)) * bound
    if not balls.positive_definite(H - balls.balls(shift)):
        raise UnprovedError("L D L^T in balls does not prove the Hessian positive definite")
    return bound
