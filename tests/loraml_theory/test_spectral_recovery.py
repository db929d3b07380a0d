"""Spectral recovery (ML-6): exact on truths, as accurate as its condition says, an estimator on noisy parameters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraml_theory import zoo
from loraml_theory.closed_forms import spectral_recovery
from loraml_theory.moments import draw
from loraml_theory.structure import GroundTruth, frobenius
from loraml_theory.testing import (
    ground_truths,
    orthogonal_matrix,
    seeds,
    structures_violating,
    truth_with_spectrum,
)

pytestmark = pytest.mark.libraries

EPS = float(np.finfo(float).eps)
# Worst of 2700 draws of generic, scaled and ill-conditioned truths (d to 10, k to 3, T to 4): 9.4.
AMPLIFICATION = 30
WELL_CONDITIONED = ground_truths(T=st.integers(3, 5), independent=True)


def relative_error(truth: GroundTruth) -> tuple[float, float]:
    """Return the larger relative error of base and shifts, and the condition."""
    found = spectral_recovery(truth.W_retraining, truth.k)
    scale = float(np.max(frobenius(truth.W_retraining)))
    shifts = found.U @ np.swapaxes(found.U, -1, -2) - truth.R[:-1]
    error = max(float(frobenius(found.A - truth.A_star)), float(np.max(frobenius(shifts))))
    return error / scale, float(found.condition)


@given(WELL_CONDITIONED)
def test_recovery_is_exact_up_to_its_condition(truth: GroundTruth) -> None:
    error, condition = relative_error(truth)
    assert error <= AMPLIFICATION * EPS * condition


@pytest.mark.parametrize("kind", ["generic", "asymmetric", "orthogonal", "scaled"])
@pytest.mark.parametrize("sizes", [(10, 1, 3), (9, 2, 3), (16, 3, 4), (64, 4, 5)])
def test_recovery_on_the_kinds_of_the_zoo(kind: str, sizes: tuple[int, int, int]) -> None:
    for seed in range(5):
        error, condition = relative_error(zoo.KINDS[kind](np.random.default_rng(seed), *sizes))
        assert error <= AMPLIFICATION * EPS * condition


@pytest.mark.parametrize("closeness", [1e-1, 1e-3, 1e-5])
@pytest.mark.parametrize("third", [0, 1], ids=["close pair", "close to the span"])
@given(seeds(), st.integers(1, 3))
def test_near_dependence_costs_what_the_condition_says(third: int, closeness: float, seed: int, k: int) -> None:
    """U_3* is U_1*, or U_1* + U_2*, up to a small part: 2.3 was the worst ratio of 6000 draws."""
    truth = zoo.asymmetric(np.random.default_rng(seed), 3 * k + 1, k, 3)
    U = truth.U_star.copy()
    U[2] = U[0] + third * U[1] + closeness * U[2]
    error, condition = relative_error(GroundTruth(truth.A_star, U))
    assert error <= AMPLIFICATION * EPS * condition


def test_at_seed_zero_nothing_is_lost() -> None:
    truth = truth_with_spectrum(d=3, k=1, T=3, spectrum=(1, 2, 3), free_test_task=True)
    found = spectral_recovery(truth.W_retraining, 1)
    rounding = AMPLIFICATION * EPS * 9
    assert pytest.approx(np.zeros((3, 3)), abs=rounding) == found.A
    assert np.abs(found.U[..., 0]) == pytest.approx(np.diag([1.0, 2, 3]), abs=rounding)
    # orthogonal spans: nothing is amplified, though the shifts are 1, 4 and 9
    assert found.condition == pytest.approx(1)


@given(WELL_CONDITIONED, seeds())
def test_order_of_tasks_and_rotations_do_not_matter(truth: GroundTruth, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(truth.T)
    Q = orthogonal_matrix(truth.d, seed=seed)
    moved = spectral_recovery(Q @ truth.W_retraining[order] @ Q.T, truth.k)
    found = spectral_recovery(truth.W_retraining, truth.k)
    tolerance = 2 * AMPLIFICATION * EPS * float(found.condition) * float(truth.scale)
    assert pytest.approx(Q @ found.A @ Q.T, abs=tolerance) == moved.A
    # the least condition over triples is continuous, so it agrees to a few digits
    assert moved.condition == pytest.approx(found.condition, rel=1e-6)


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 0, 1, 2], [1, 0, 3, 2], [2, 3, 0, 1]])
def test_the_triple_of_least_condition_is_taken(order: list[int]) -> None:
    """Three orthogonal tasks lose nothing, wherever a fourth that nearly repeats the first stands among them."""
    e = orthogonal_matrix(5, seed=0)
    U = np.stack([e[0], e[1], e[2], e[0] + 1e-6 * e[1], e[4]])[:, :, None]
    truth = GroundTruth(np.zeros((5, 5)), U[[*order, 4]])
    error, condition = relative_error(truth)
    assert condition == pytest.approx(1)
    assert error <= AMPLIFICATION * EPS


@given(WELL_CONDITIONED, st.floats(1, 4), seeds())
def test_a_joint_congruence_does_not_matter(truth: GroundTruth, largest: float, seed: int) -> None:
    """``W -> P W P^T`` keeps the form of the model for every invertible P."""
    P = orthogonal_matrix(truth.d, seed=seed) * np.linspace(1, largest, truth.d)
    moved = GroundTruth(P @ truth.A_star @ P.T, P @ truth.U_star)
    error, condition = relative_error(moved)
    assert error <= AMPLIFICATION * EPS * condition


@given(structures_violating("triple", d=st.integers(9, 11)))
def test_without_an_independent_triple_the_condition_says_so(truth: GroundTruth) -> None:
    """Infinite up to rounding: where exact arithmetic has infinity, eps * condition was at least 0.3 in 4000 draws."""
    assert EPS * float(spectral_recovery(truth.W_retraining, truth.k).condition) >= 0.03


def test_repeated_tasks_are_no_triple() -> None:
    truth = zoo.repeated_task(np.random.default_rng(0), 10, 1, 3)
    assert spectral_recovery(truth.W_retraining, 1).condition == np.inf


def test_one_good_triple_is_enough() -> None:
    """U_4* = U_1*: the triples with both are dependent, the others recover all four."""
    truth = zoo.generic(np.random.default_rng(0), 10, 2, 4)
    U = truth.U_star.copy()
    U[3] = U[0]
    error, condition = relative_error(GroundTruth(truth.A_star, U))
    assert error <= AMPLIFICATION * EPS * condition


def test_noisy_parameters_give_an_estimator() -> None:
    """The error falls as 1/n: the medians of 200 draws at n and 100 n differ by 100, here within a factor 2.

    A median of 200 squared errors strays by about 15 %, so a factor 2 has a chance far below 1e-6.
    """
    truth = zoo.generic(np.random.default_rng(0), 10, 1, 3)
    medians = []
    for n in (10**4, 10**6):
        W = draw(np.random.default_rng(1), truth.W_retraining, n, sigma=0.1, batch=(200,)).W
        errors = frobenius(spectral_recovery(W, 1).A - truth.A_star) ** 2
        medians.append(float(np.median(errors)))
    assert 50 <= medians[0] / medians[1] <= 200
    assert medians[1] >= 0.5 * 0.01 * 100 / (10**6 * 3)  # not below half of sigma^2 d^2 / (n T)


@pytest.mark.parametrize(("shape", "k"), [((2, 9, 9), 1), ((3, 5, 5), 2)])
def test_sizes_that_cannot_hold_a_triple_are_refused(shape: tuple[int, ...], k: int) -> None:
    with pytest.raises(ValueError, match=rf"W, k: got T = {shape[0]}, d = {shape[1]}, k = {k}, expected T >= 3"):
        spectral_recovery(np.zeros(shape), k)


@pytest.mark.parametrize("unit", [1e-12, 1e12])
def test_the_condition_does_not_depend_on_the_unit(unit: float) -> None:
    truth = zoo.generic(np.random.default_rng(0), 10, 2, 3)
    expected, found = (spectral_recovery(factor * truth.W_retraining, 2) for factor in (1.0, unit))
    assert found.condition == pytest.approx(expected.condition)
    assert np.isfinite(found.condition)
    assert found.A / unit == pytest.approx(expected.A)
