from __future__ import annotations

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraml_theory.spectra import (
    best_triple_separation,
    congruence_floor,
    inertia,
    numerical_rank,
    rounding_level,
    separation,
)
from loraml_theory.structure import GroundTruth, joint_factor
from loraml_theory.testing import (
    ground_truths,
    orthogonal_matrix,
    seeds,
    structures_violating,
    truth_with_spectrum,
)

pytestmark = pytest.mark.libraries

EPS = float(np.finfo(float).eps)


@given(st.integers(1, 6), st.data())
def test_rank_and_inertia_of_a_constructed_spectrum(d: int, data: st.DataObject) -> None:
    positive = data.draw(st.integers(0, d))
    negative = data.draw(st.integers(0, d - positive))
    Q = orthogonal_matrix(d, seed=data.draw(seeds()))
    values = np.concatenate([np.ones(positive), -np.ones(negative), np.zeros(d - positive - negative)])
    M = (Q * values) @ Q.T
    level = rounding_level(np.asarray(1.0), d)
    rank, signs = numerical_rank(M, level), inertia(M, level)
    assert rank.low == rank.high == positive + negative
    assert signs.positive.low == signs.positive.high == positive
    assert signs.negative.low == signs.negative.high == negative


@pytest.mark.parametrize(("factor", "low", "high"), [(0.5, 1, 1), (1.5, 1, 2), (8.0, 1, 2), (12.0, 2, 2)])
def test_a_singular_value_near_rounding_is_undecided(factor: float, low: int, high: int) -> None:
    """From the level to ten times the level; every value here is at least half a level, 7 eps, from both."""
    level = rounding_level(np.asarray(1.0), 3)
    rank = numerical_rank(np.diag([1.0, factor * float(level), 0.1 * float(level)]), level)
    assert (int(rank.low), int(rank.high)) == (low, high)


def test_inertia_is_of_the_symmetric_part() -> None:
    signs = inertia(np.array([[1.0, 5], [-5, -2]]), np.asarray(1e-12))
    assert (signs.positive.low, signs.negative.low) == (1, 1)


@given(ground_truths(), seeds())
def test_rounding_of_products_stays_below_the_level(truth: GroundTruth, seed: int) -> None:
    """A difference that is 0 in exact arithmetic has numerical rank 0."""
    turned = GroundTruth(truth.A_star, truth.U_star @ orthogonal_matrix(truth.k, seed=seed))
    rank = numerical_rank(turned.W - truth.W, rounding_level(truth.scale, truth.d)[..., None])
    assert np.all(rank.high == 0)


@given(ground_truths(independent=True), st.integers(-5, 5))
def test_separation_of_independent_factors(truth: GroundTruth, exponent: int) -> None:
    """Normalised columns have the smallest singular value at least 1 / condition, and their lengths do not count."""
    value = separation(truth.U_star)
    joint = np.concatenate(list(truth.U_star), axis=1)
    singular = np.linalg.svd(joint, compute_uv=False)
    assert value >= singular[-1] / singular[0] - 8 * truth.d * EPS
    assert value <= 1 + 8 * truth.d * EPS
    scales = 10.0 ** (exponent * np.arange(truth.T + 1))[:, None, None]
    assert separation(truth.U_star * scales) == pytest.approx(value, abs=8 * truth.d * EPS)


@given(structures_violating("independence"))
def test_separation_of_dependent_factors_is_zero(truth: GroundTruth) -> None:
    assert separation(truth.U_star) <= 8 * truth.d * EPS  # exactly 0 where k(T+1) > d


def test_separation_with_a_zero_column_is_zero() -> None:
    assert separation(np.stack([np.eye(3, 1), np.zeros((3, 1))])) <= 8 * 3 * EPS


@given(ground_truths(independent=True), st.floats(0.1, 1))
def test_no_eigenvalue_of_a_congruence_is_below_its_floor(truth: GroundTruth, smallest: float) -> None:
    F = joint_factor(truth.U_star)
    D = np.where(np.arange(F.shape[1]) % 2, 1.0, -smallest)
    values = np.sort(np.abs(np.linalg.eigvalsh((F * D) @ F.T)))[-F.shape[1] :]
    floor = congruence_floor(F, smallest)
    assert 0 < floor <= values[0] + 8 * truth.d * EPS * values[-1]


@given(structures_violating("independence"))
def test_a_dependent_factor_has_no_floor(truth: GroundTruth) -> None:
    assert congruence_floor(np.stack([joint_factor(truth.U_star)] * 2), np.array([1.0, 0.5])).tolist() == [inf, inf]


@given(structures_violating("triple"))
def test_no_triple_of_a_violating_structure_is_separated(truth: GroundTruth) -> None:
    assert best_triple_separation(truth.U_retraining) <= 16 * truth.d * EPS


def test_best_triple_finds_the_one_that_is_independent() -> None:
    U = np.eye(4)[[0, 0, 1, 2]][:, :, None]  # e1, e1, e2, e3
    assert best_triple_separation(U) == pytest.approx(1)
    assert best_triple_separation(np.stack([U, U[[0, 0, 1, 1]]])) == pytest.approx([1, 0])


def test_the_best_triple_is_neither_the_first_nor_the_last() -> None:
    e, lean = np.eye(4)[:3], np.array([1.0, 0.1, 0, 0])  # all triples with two of e1, e1 and lean are nearly dependent
    tasks = np.stack([e[0], lean, e[1], e[2], e[2] + 0.1 * e[1]])[:, :, None]
    assert best_triple_separation(tasks) == pytest.approx(1)


def test_two_tasks_have_no_triple() -> None:
    with pytest.raises(ValueError, match="U: got 2 tasks, expected at least 3"):
        best_triple_separation(truth_with_spectrum(d=3, k=1, T=2, spectrum=(1, 1, 1)).U_retraining)
