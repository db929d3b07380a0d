from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraml_theory.certified import gauge


@given(st.integers(0, 10**6), st.integers(1, 4))
def test_the_gauge_turns_factors_and_makes_zeros(seed: int, k: int) -> None:
    U = np.random.default_rng(seed).standard_normal((3, k + 2, k))
    fixed, rows = gauge.fix(U)
    np.testing.assert_allclose(fixed @ np.swapaxes(fixed, 1, 2), U @ np.swapaxes(U, 1, 2), atol=1e-12)
    mask = gauge.free(rows, k + 2, k)
    assert not fixed[~mask].any()
    assert mask.sum() == U.size - 3 * k * (k - 1) // 2


@pytest.mark.parametrize("k", [2, 3])
def test_free_coordinates_and_the_orbit_span_everything(k: int) -> None:
    fixed, rows = gauge.fix(np.random.default_rng(0).standard_normal((1, 5, k)))
    mask = gauge.free(rows, 5, k)
    skew = [np.outer(a, b) - np.outer(b, a) for i, a in enumerate(np.eye(k)) for b in np.eye(k)[i + 1 :]]
    moved = np.array([(fixed[0] @ K)[~mask[0]] for K in skew])
    assert np.linalg.matrix_rank(moved) == len(skew) == (~mask).sum()


def test_a_factor_of_zeros_keeps_its_shape() -> None:
    fixed, rows = gauge.fix(np.zeros((1, 3, 2)))
    assert not fixed.any()
    assert rows == ((0,),)
