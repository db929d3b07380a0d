"""Ranks, inertia and subspaces over the rational numbers."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from flint import fmpq, fmpz_mat

from loraml_theory.exact.rational import Rationals, array, matrix, rationals


class Inertia(NamedTuple):
    """Numbers of positive and negative eigenvalues."""

    positive: int
    negative: int


def integer_multiple(M: Rationals) -> fmpz_mat:
    """Return the least positive multiple of a matrix with integer entries; rank and inertia are the same."""
    return matrix(M).numer_denom()[0]


def rank(M: Rationals) -> int:
    """Return the rank of a matrix.

    Examples
    --------
    >>> from loraml_theory.exact import rationals
    >>> rank(rationals([[0.1, 0.2], [0.2, 0.4]]))
    1
    """
    return int(integer_multiple(M).rank())


def non_zero(M: Rationals) -> int:
    """Count the entries of an array that are not 0."""
    return int(np.count_nonzero(M != 0))


def inertia(M: Rationals) -> Inertia:
    """Return the inertia of a symmetric matrix.

    All roots of its characteristic polynomial are real, so Descartes' rule of signs counts the positive ones
    exactly, by the changes of sign among the coefficients; and the negative ones with x replaced by -x.

    Raises
    ------
    ValueError
        If the matrix is not symmetric.

    Examples
    --------
    >>> from loraml_theory.exact import rationals
    >>> inertia(rationals([[1, 2], [2, 1]]))
    Inertia(positive=1, negative=1)
    """
    if non_zero(M - M.T):
        raise ValueError("M: is not symmetric")
    coefficients = [int(c) for c in integer_multiple(M).charpoly().coeffs()]
    mirrored = [-c if power % 2 else c for power, c in enumerate(coefficients)]
    return Inertia(_sign_changes(coefficients), _sign_changes(mirrored))


def _sign_changes(coefficients: list[int]) -> int:
    signs = [c > 0 for c in coefficients if c]
    return sum(one != other for one, other in pairwise(signs))


def kernel(M: Rationals) -> Rationals:
    """Return a basis of the kernel as columns, ``(n, n - rank)``.

    Examples
    --------
    >>> from loraml_theory.exact import rationals
    >>> kernel(rationals([[1, 2]])).tolist()
    [[2], [-1]]
    """
    reduced, found = matrix(M).rref()
    n = int(M.shape[1])
    rows = array(reduced)[:found]
    bound = [_pivot(row) for row in rows]
    free = [j for j in range(n) if j not in bound]
    basis = rationals(np.zeros((n, len(free)), dtype=int))
    for column, j in enumerate(free):
        basis[j, column] = fmpq(-1)
        for row, pivot in zip(rows, bound, strict=True):
            basis[pivot, column] = row[j]
    return basis


def column_space(M: Rationals) -> Rationals:
    """Return those columns of a matrix that are independent of the ones before, ``(m, rank)``."""
    return M[:, pivots(M)]


def pivots(M: Rationals) -> list[int]:
    """Return the indices of the columns that are independent of the ones before."""
    reduced, found = matrix(M).rref()
    return [_pivot(row) for row in array(reduced)[:found]]


def _pivot(row: Rationals) -> int:
    return int(np.flatnonzero(row != 0)[0])


def intersection(one: Rationals, other: Rationals) -> Rationals:
    """Return a basis, as columns, of the intersection of two column spaces, each given by independent columns.

    Examples
    --------
    >>> from loraml_theory.exact import rationals
    >>> intersection(rationals([[1, 0], [0, 1], [0, 0]]), rationals([[0, 0], [1, 0], [0, 1]])).tolist()
    [[0], [-1], [0]]
    """
    coordinates = kernel(np.concatenate([one, -other], axis=1))
    return one @ coordinates[: one.shape[1]]
