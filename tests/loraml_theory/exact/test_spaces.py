"""Ranks, inertia and subspaces over Q: against matrices built to have them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraml_theory.exact import column_space, inertia, intersection, kernel, non_zero, rank, rationals
from loraml_theory.exact.rational import diagonal
from tests.loraml_theory.exact import strategies


@given(st.data(), st.lists(st.sampled_from([0, 1, -1, 3]), min_size=1, max_size=6))
def test_inertia_and_rank_follow_sylvester(data: st.DataObject, middle: list[int]) -> None:
    F = data.draw(strategies.regular(len(middle)))
    signs = Counter(np.sign(middle).tolist())
    M = F @ diagonal(middle) @ F.T
    assert inertia(M) == (signs[1], signs[-1])
    assert rank(M) == signs[1] + signs[-1]


def test_inertia_sees_what_float64_does_not() -> None:
    tiny = 2.0**-80
    M = rationals([[1.0, 1.0], [1.0, 1.0]]) + diagonal([0, 1]) * rationals(np.array(tiny)).item()
    assert inertia(M) == (2, 0)
    assert inertia(M - diagonal([0, 2]) * rationals(np.array(tiny)).item()) == (1, 1)
    assert np.linalg.matrix_rank(np.array([[1.0, 1.0], [1.0, 1.0 + tiny]])) == 1


def test_inertia_agrees_with_eigenvalues_at_d_30() -> None:
    M = np.random.default_rng(0).integers(-9, 10, (30, 30))
    M = M + M.T
    values = np.linalg.eigvalsh(M)
    assert inertia(rationals(M)) == (int((values > 0).sum()), int((values < 0).sum()))


def test_inertia_of_an_asymmetric_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match="not symmetric"):
        inertia(rationals([[0, 1], [2, 0]]))


@given(st.data(), st.integers(1, 5), st.integers(1, 5))
def test_kernel_is_annihilated_and_of_the_right_size(data: st.DataObject, m: int, n: int) -> None:
    entries = data.draw(st.lists(strategies.fractions(), min_size=m * n, max_size=m * n))
    M = rationals(np.array(entries, dtype=object).reshape(m, n))
    basis = kernel(M)
    assert basis.shape == (n, n - rank(M))
    assert non_zero(M @ basis) == 0
    assert rank(basis) == basis.shape[1]


@given(st.data(), st.integers(2, 6))
def test_intersection_of_coordinate_spaces(data: st.DataObject, n: int) -> None:
    """In a regular basis, the span of some columns meets that of others in the span of those they share."""
    F = data.draw(strategies.regular(n))
    groups = st.lists(st.integers(0, n - 1), min_size=1, max_size=n, unique=True)
    one, other = data.draw(groups), data.draw(groups)
    shared = sorted(set(one) & set(other))
    met = intersection(F[:, one], F[:, other])
    assert met.shape == (n, len(shared))
    assert rank(np.concatenate([met, F[:, shared]], axis=1)) == len(shared)


@given(st.data(), st.integers(1, 5))
def test_column_space_keeps_independent_columns(data: st.DataObject, n: int) -> None:
    F = data.draw(strategies.regular(n))
    repeated = np.concatenate([F[:, :1], 2 * F[:, :1], F], axis=1)
    assert non_zero(column_space(repeated) - F) == 0
