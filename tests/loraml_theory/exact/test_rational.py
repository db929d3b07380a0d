"""Floats become the rational numbers that they are."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraml_theory import zoo
from loraml_theory.exact import RationalTruth, non_zero, rationals
from loraml_theory.exact.rational import array, matrix, rational
from loraml_theory.structure import GroundTruth


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_taken_exactly(number: float) -> None:
    q = rational(number)
    assert Fraction(int(q.p), int(q.q)) == Fraction(number)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -np.inf])
def test_what_is_not_finite_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="expected a finite number"):
        rationals([1.0, number])


@pytest.mark.parametrize("number", ["1/2", None, 1j])
def test_what_is_no_number_is_refused(number: Any) -> None:
    with pytest.raises(TypeError, match="expected a real number"):
        rational(number)


def test_matrices_go_to_flint_and_back() -> None:
    M = rationals([[1, Fraction(1, 3), -0.5]])
    assert array(matrix(M)).tolist() == M.tolist()


def test_a_truth_over_q_has_the_attributes_of_the_truth() -> None:
    truth = zoo.integer(np.random.default_rng(0), 8, 2, 3)
    exact = RationalTruth.of(truth)
    assert (exact.d, exact.k, exact.T) == (truth.d, truth.k, truth.T)
    for name in ("A_star", "U_star", "R", "W", "W_retraining", "U_retraining", "W_test"):
        assert non_zero(getattr(exact, name) - rationals(getattr(truth, name))) == 0, name


def test_a_batch_of_truths_is_refused() -> None:
    truth = zoo.integer(np.random.default_rng(0), 4, 1, 2)
    with pytest.raises(ValueError, match=r"expected \(d, d\)"):
        RationalTruth.of(GroundTruth(truth.A_star[None, ...], truth.U_star[None, ...]))
