"""Strict spurious minima are proved, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest
from flint import fmpq

from loraml_theory import zoo
from loraml_theory.adapters import Parameters
from loraml_theory.certified.prove import UnprovedError, prove
from loraml_theory.exact import gradient, rationals, value
from loraml_theory.landscape import curvature, gauge_dimension
from tests.loraml_theory.certified import points

NAMES = ["d3-k1-T3", "d4-k1-T3", "d6-k2-T3"]


@pytest.mark.parametrize("name", NAMES)
def test_a_spurious_minimum_is_proved(name: str) -> None:
    U_star, U = points.factors(name), points.spurious(name)
    proof = prove(rationals(U_star), U)
    objective, at = points.objective(U_star), Parameters(U=U)
    low, high = (int(bound.p) / int(bound.q) for bound in proof.value)
    assert low > 1e-3
    assert low == pytest.approx(float(objective.value(at)), rel=1e-12) == high
    exact = value(proof.U, proof.U_star)
    assert proof.value[0] <= exact <= proof.value[1]
    slope = gradient(proof.U, proof.U_star)
    assert np.sum(slope * slope) < fmpq(1, 10**70)
    smallest = float(curvature(objective, at)[gauge_dimension(U.shape[2], len(U))])
    bound = int(proof.curvature.p) / int(proof.curvature.q)
    assert 0 < bound <= smallest * (1 + 1e-6)
    if U.shape[2] == 1:
        assert bound == pytest.approx(smallest, rel=1e-4)


def test_the_instance_of_the_theory_page() -> None:
    U_star = zoo.spurious(np.random.default_rng(0), 3, 1, 3).U_retraining
    np.testing.assert_array_equal(U_star, points.factors("d3-k1-T3"))
    proof = prove(rationals(U_star), points.spurious("d3-k1-T3"))
    assert fmpq(973459, 10**7) < proof.value[0] < proof.value[1] < fmpq(973460, 10**7)
    assert fmpq(24537, 10**6) < proof.curvature < fmpq(24539, 10**6)


@pytest.mark.parametrize("d", [4, 10])
def test_padding_with_zeros_keeps_the_minimum(d: int) -> None:
    """One instance settles every d >= 3."""
    U_star = zoo.spurious(np.random.default_rng(0), d, 1, 3).U_retraining
    U = np.zeros_like(U_star)
    U[:, :3] = points.spurious("d3-k1-T3")
    proof = prove(rationals(U_star), U)
    assert fmpq(24537, 10**6) < proof.curvature < fmpq(24539, 10**6)


@pytest.mark.parametrize("scale", [2.0**-300, 2.0**40, 0.1])
def test_any_scale_is_proved(scale: float) -> None:
    """0.1 is no dyadic number: the structure is what float64 makes of it, so the minimum moves a little."""
    U_star = points.factors("d6-k2-T3") * scale
    U = points.near(points.factors("d6-k2-T3"), points.spurious("d6-k2-T3")) * scale
    assert prove(rationals(U_star), U).value[0] > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_global_minimum_is_not_proved_spurious(name: str) -> None:
    U_star = points.factors(name)
    with pytest.raises(UnprovedError, match="not positive"):
        prove(rationals(U_star), U_star)


def test_a_saddle_is_not_proved_a_minimum() -> None:
    U_star = points.factors("d3-k1-T3")
    U = points.near(U_star[:2], U_star[:2])
    saddle = points.near(U_star, np.concatenate([np.zeros((1, 3, 1)), U]))
    assert curvature(points.objective(U_star), Parameters(U=saddle))[0] < -1e-3
    with pytest.raises(UnprovedError, match=r"not positive|singular|itself"):
        prove(rationals(U_star), saddle)


def test_a_point_that_is_not_stationary_leads_to_no_other_proof() -> None:
    """Newton's method may carry a far point anywhere; whatever is proved is a spurious minimum."""
    U_star = points.factors("d3-k1-T3")
    for seed in range(20):
        U = np.random.default_rng(seed).standard_normal(U_star.shape)
        try:
            proof = prove(rationals(U_star), U)
        except UnprovedError:
            continue
        assert fmpq(973459, 10**7) < proof.value[0]


def test_the_size_is_limited() -> None:
    U = np.ones((5, 31, 2))
    with pytest.raises(UnprovedError, match="310 unknowns, at most 300"):
        prove(rationals(U), U)
