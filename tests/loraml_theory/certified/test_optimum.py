"""The least loss of fine-tuning is enclosed, and no fit of that rank is below it."""

from __future__ import annotations

import numpy as np
import pytest
from flint import fmpq
from hypothesis import given
from hypothesis import strategies as st

from loraml_theory.certified.optimum import least_loss, loss
from loraml_theory.closed_forms import reduced_rank_regression
from loraml_theory.moments import Moments, draw, population


def moments(seed: int, d: int) -> Moments:
    rng = np.random.default_rng(seed)
    return draw(rng, rng.standard_normal((d, d)), 3 * d, sigma=0.5)


@given(st.integers(0, 10**6), st.integers(2, 6))
def test_the_closed_form_attains_it_and_others_do_not(seed: int, d: int) -> None:
    data = moments(seed, d)
    for rank in range(d):
        low, high = least_loss(data.S, data.W, rank)
        assert 0 < low <= high < low * fmpq(10**20 + 1, 10**20)
        fit = loss(data.S, data.W, reduced_rank_regression(data, rank))
        assert abs(fit / low - 1) < fmpq(1, 10**9)
        other = np.random.default_rng(seed).standard_normal((d, rank)) @ np.ones((rank, d))
        assert loss(data.S, data.W, other) > low
    low, high = least_loss(data.S, data.W, d)
    assert low <= 0 <= high


def test_whole_numbers_have_their_exact_value() -> None:
    low, high = least_loss(np.eye(3), np.diag([3.0, 2.0, 1.0]), 1)
    assert low <= fmpq(5, 2) <= high
    assert loss(np.eye(3), np.diag([3.0, 2.0, 1.0]), np.diag([3.0, 0.0, 0.0])) == fmpq(5, 2)


def test_equal_eigenvalues_are_refused() -> None:
    data = population(np.eye(3))
    with pytest.raises(ValueError, match="isolate"):
        least_loss(data.S, data.W, 1)
