"""Hypothesis strategies for small exact objects; everything shrinks towards small whole numbers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from loraml_theory.exact import Rationals, rationals
from loraml_theory.exact.rational import RationalTruth


def fractions() -> SearchStrategy[Fraction]:
    """Draw p/q with small p and q."""
    return st.builds(Fraction, st.integers(-6, 6), st.integers(1, 4))


@st.composite
def regular(draw: DrawFn, n: int) -> Rationals:
    """Draw a regular matrix: lower times upper triangular, with ones on both diagonals."""
    entries = draw(st.lists(st.integers(-2, 2), min_size=n * n, max_size=n * n))
    M = np.array(entries, dtype=object).reshape(n, n)
    lower, upper = np.tril(M, -1), np.triu(M, 1)
    return rationals(lower + np.eye(n, dtype=int)) @ rationals(upper + np.eye(n, dtype=int))


@st.composite
def truths(draw: DrawFn, *, T: int, k: int, independent: bool = True) -> RationalTruth:
    """Draw truths whose joint factor is part of a regular matrix, or repeats the first task where not independent."""
    d = k * (T + 1) + draw(st.integers(0, 1))
    joint = draw(regular(d))[:, : k * (T + 1)]
    U = np.moveaxis(joint.reshape(d, T + 1, k), 1, 0)
    if not independent:
        U = U[[0, *range(1, T - 1), 0, T]] if T > 2 else U[[0, 0, 2]]
    scale = draw(fractions().filter(bool))
    return RationalTruth(draw(regular(d)), U * rationals(np.array(scale)).item())


@st.composite
def skew(draw: DrawFn, n: int) -> Rationals:
    """Draw skew-symmetric matrices of rationals."""
    entries = draw(st.lists(fractions(), min_size=n * n, max_size=n * n))
    upper = np.triu(np.array(entries, dtype=object).reshape(n, n), 1)
    return rationals(upper - upper.T)
