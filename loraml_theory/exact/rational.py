"""Rational numbers in NumPy arrays, and ground truths made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np
from flint import fmpq, fmpq_mat
from numpy.typing import NDArray

from loraml_theory.structure import Array, GroundTruth

Rationals: TypeAlias = NDArray[np.object_]
"""An array of `fmpq`. NumPy's arithmetic, sums and ``@`` act on its elements."""


def rational(number: object) -> fmpq:
    """Return a number as a rational, exactly; a float is the dyadic rational that it holds.

    Raises
    ------
    TypeError
        If it is not a real number.
    ValueError
        If it is not finite.

    Examples
    --------
    >>> rational(0.375), rational(Fraction(1, 3))
    (3/8, 1/3)
    """
    if isinstance(number, fmpq):
        return number
    number = number.item() if isinstance(number, np.generic) else number
    if not isinstance(number, int | float | Fraction):
        raise TypeError(f"number: got {type(number).__name__}, expected a real number")
    try:
        p, q = number.as_integer_ratio()
    except (OverflowError, ValueError):
        raise ValueError(f"number: got {number}, expected a finite number") from None
    return fmpq(p, q)


def rationals(values: Array) -> Rationals:
    """Return an array, or nested sequences, of real numbers as rationals, exactly.

    Examples
    --------
    >>> rationals([[1, 0.5]])
    array([[1, 1/2]], dtype=object)
    """
    given = np.asarray(values)
    made = np.empty(given.shape, dtype=object)
    made.reshape(-1)[:] = [rational(x) for x in given.reshape(-1).tolist()]
    return made


def matrix(M: Rationals) -> fmpq_mat:
    """Return a two-dimensional array as FLINT's matrix."""
    return fmpq_mat(int(M.shape[0]), int(M.shape[1]), M.reshape(-1).tolist())


def array(M: fmpq_mat) -> Rationals:
    """Undo `matrix`."""
    made = np.empty((M.nrows(), M.ncols()), dtype=object)
    made.reshape(-1)[:] = M.entries()
    return made


def diagonal(values: Sequence[fmpq | int]) -> Rationals:
    """Return the diagonal matrix of these values."""
    made = rationals(np.zeros((len(values), len(values)), dtype=int))
    np.fill_diagonal(made, [fmpq(value) for value in values])
    return made


@dataclass(frozen=True, eq=False)
class RationalTruth:
    """A ground truth over Q, without batch axes, with the attributes of `GroundTruth`.

    Parameters
    ----------
    A_star
        Shared parameter, ``(d, d)``.
    U_star
        Task factors, ``(T+1, d, k)``; the last task is the test task.
    """

    A_star: Rationals
    U_star: Rationals

    @classmethod
    def of(cls, truth: GroundTruth) -> RationalTruth:
        """Return the truth that the floats hold, exactly.

        Raises
        ------
        ValueError
            If the truth has batch axes.
        """
        if len(truth.A_star.shape) != 2:
            raise ValueError(f"truth: got A_star of shape {tuple(truth.A_star.shape)}, expected (d, d)")
        return cls(rationals(truth.A_star), rationals(truth.U_star))

    @property
    def d(self) -> int:
        """Ambient dimension."""
        return int(self.U_star.shape[1])

    @property
    def k(self) -> int:
        """Rank of each task's shift, or more."""
        return int(self.U_star.shape[2])

    @property
    def T(self) -> int:
        """Number of retraining tasks."""
        return int(self.U_star.shape[0]) - 1

    @property
    def R(self) -> Rationals:
        """Shifts ``R_t* = U_t* U_t*^T`` of all tasks, ``(T+1, d, d)``."""
        return shifts(self.U_star)

    @property
    def W(self) -> Rationals:
        """True parameters ``W_t = A* + R_t*`` of all tasks, ``(T+1, d, d)``."""
        return self.A_star + self.R

    @property
    def W_retraining(self) -> Rationals:
        """True parameters of the T retraining tasks, ``(T, d, d)``."""
        return self.W[:-1]

    @property
    def U_retraining(self) -> Rationals:
        """Factors of the T retraining tasks, ``(T, d, k)``."""
        return self.U_star[:-1]

    @property
    def W_test(self) -> Rationals:
        """True parameter of the test task, ``(d, d)``."""
        W: Rationals = self.W[-1]
        return W


def shifts(U: Rationals) -> Rationals:
    """Return ``U_t U_t^T``, ``(T, d, k) -> (T, d, d)``; of numbers of any kind that add and multiply."""
    return np.stack([factor @ factor.T for factor in U])
