"""Real balls, midpoint and radius, that contain every number they represent (FLINT's `arb`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from flint import arb, arb_mat, fmpq
from numpy.typing import NDArray

from loraml_theory.exact.rational import Rationals

Balls: TypeAlias = NDArray[np.object_]
"""An array of `arb`; NumPy's arithmetic and ``@`` act on its elements."""

Map: TypeAlias = Callable[[Balls], Balls]


def balls(centre: Rationals, radius: fmpq | int = 0) -> Balls:
    """Return balls around rational numbers, at the working precision."""
    made = np.empty(centre.shape, dtype=object)
    made.reshape(-1)[:] = [arb(x) + arb(0, arb(radius).upper()) if radius else arb(x) for x in centre.reshape(-1)]
    return made


def below(ball: arb) -> fmpq:
    """Return a rational number that is at most every number in the ball."""
    return ball.lower().mid().fmpq() - ball.lower().rad().fmpq()


def above(ball: arb) -> fmpq:
    """Return a rational number that is at least every number in the ball."""
    return ball.upper().mid().fmpq() + ball.upper().rad().fmpq()


def positive_definite(H: Balls) -> bool:
    """Return whether every symmetric matrix in a ball matrix is proved positive definite, by L D L^T in balls.

    False says that the proof failed, not that some matrix is indefinite.

    Examples
    --------
    >>> from loraml_theory.exact import rationals
    >>> positive_definite(balls(rationals([[2, 1], [1, 2]]), fmpq(1, 10)))
    True
    >>> positive_definite(balls(rationals([[2, 1], [1, 2]]), fmpq(1)))
    False
    """
    rest = H.copy()
    while len(rest):
        pivot = rest[0, 0]
        if not pivot > 0:
            return False
        column = rest[1:, 0]
        rest = rest[1:, 1:] - np.multiply.outer(column, column / pivot)
    return True


def krawczyk(function: Map, derivative: Map, centre: Rationals, radius: fmpq) -> Balls | None:
    r"""Return Krawczyk's set, or None unless it proves that the function has exactly one zero in the box.

        K = x - Y F(x) + (I - Y F'(X)) (X - x),   X = x +- radius,   Y near F'(x)^{-1}

    If K lies in the interior of X, there is exactly one zero in X, it lies in K, and F' is regular on X.

    Parameters
    ----------
    function, derivative
        ``(m,) -> (m,)`` and ``(m,) -> (m, m)``, on balls.
    centre, radius
        The box, ``(m,)`` and the half of its width.
    """
    m = len(centre)
    x, box = balls(centre), balls(centre, radius)
    spread = arb_mat(m, 1, list(box - x))
    try:
        Y = _matrix(derivative(x)).mid().inv().mid()
    except ZeroDivisionError:
        return None
    eye = arb_mat(m, m, [int(i == j) for i in range(m) for j in range(m)])
    K = x - _array(Y * arb_mat(m, 1, list(function(x)))) + _array((eye - Y * _matrix(derivative(box))) * spread)
    inside = all(outer.contains_interior(inner) for outer, inner in zip(box, K, strict=True))
    return K if inside else None


def refine(function: Map, derivative: Map, start: Rationals, *, steps: int) -> Rationals:
    """Return the midpoint after some Newton steps in the working precision; nothing is proved.

    Raises
    ------
    ZeroDivisionError
        If the derivative is singular.
    """
    x = start
    for _ in range(steps):
        at = balls(x)
        slope = arb_mat(len(x), 1, [value.mid() for value in function(at)])
        step = _matrix(derivative(at)).mid().solve(slope, algorithm="approx")
        moved = [(ball - change).mid() for ball, change in zip(at, step.entries(), strict=True)]
        if not all(value.is_finite() for value in moved):
            raise ZeroDivisionError("the Newton step is not finite")
        x = np.array([value.fmpq() for value in moved], dtype=object)
    return x


def _matrix(M: Balls) -> arb_mat:
    return arb_mat(int(M.shape[0]), int(M.shape[1]), M.reshape(-1).tolist())


def _array(column: arb_mat) -> Balls:
    return np.array(column.entries(), dtype=object)
