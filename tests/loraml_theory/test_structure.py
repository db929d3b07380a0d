from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraml_theory.arguments import require_real_floating
from loraml_theory.structure import GroundTruth, frobenius, transpose
from loraml_theory.testing import ground_truths, orthogonal_matrix, seeds, truth_with_spectrum

EPS = float(np.finfo(float).eps)


def small() -> GroundTruth:
    return truth_with_spectrum(d=3, k=1, T=2, spectrum=(1, 2, 3))


def test_sizes_and_parameters_of_a_constructed_truth() -> None:
    truth = GroundTruth(10 * np.ones((3, 3)), small().U_star)
    assert (truth.d, truth.k, truth.T) == (3, 1, 2)
    assert np.array_equal(truth.R[2], np.diag([0.0, 0, 9]))
    assert np.array_equal(truth.W[1], 10 + np.diag([0.0, 4, 0]))
    assert np.array_equal(truth.W_test, truth.W[2])
    assert np.array_equal(truth.W_retraining, truth.W[:2])
    assert np.array_equal(truth.U_retraining, truth.U_star[:2])
    assert truth.scale == pytest.approx(np.sqrt(8 * 100 + 19**2))
    assert truth.retraining_scale == pytest.approx(np.sqrt(8 * 100 + 14**2))


@given(ground_truths(), seeds())
def test_shifts_do_not_depend_on_the_basis_of_the_factors(truth: GroundTruth, seed: int) -> None:
    turned = GroundTruth(truth.A_star, truth.U_star @ orthogonal_matrix(truth.k, seed=seed))
    # a product of factors of norm ||U_t||: rounding of 2k terms each
    assert np.all(frobenius(turned.R - truth.R) <= 8 * truth.k * EPS * frobenius(truth.U_star) ** 2)


@given(ground_truths(T=4), st.permutations(range(4)))
def test_with_tasks_keeps_the_named_tasks_in_order_and_the_test_task(truth: GroundTruth, order: list[int]) -> None:
    kept = truth.with_tasks(order[:3])
    assert kept.T == 3
    assert np.array_equal(kept.W_retraining, truth.W_retraining[order[:3]])
    assert np.array_equal(kept.W_test, truth.W_test)


@given(ground_truths())
def test_a_batch_axis_stacks_truths(truth: GroundTruth) -> None:
    batch = GroundTruth(np.stack([truth.A_star, 2 * truth.A_star]), np.stack([truth.U_star, -3 * truth.U_star]))
    assert (batch.d, batch.k, batch.T) == (truth.d, truth.k, truth.T)
    assert np.array_equal(batch.W[0], truth.W)
    assert batch.scale.shape == (2,)
    assert batch.with_tasks([1, 0]).W_test.shape == (2, truth.d, truth.d)


def test_transpose_and_norm_act_on_the_last_two_axes() -> None:
    M = np.arange(12.0).reshape(2, 2, 3)
    assert np.array_equal(transpose(M)[1], M[1].T)
    assert frobenius(M) == pytest.approx(np.linalg.norm(M, axis=(1, 2)))


A, U = np.zeros((3, 3)), np.ones((3, 3, 1))


@pytest.mark.parametrize(
    ("A_star", "U_star", "error", "text"),
    [
        ([[0.0]], U, TypeError, "A_star: got list, expected an array of float64"),
        (A, U.astype(np.float32), TypeError, "U_star: got dtype float32, expected float64"),
        (A.astype(complex), U, TypeError, "A_star: got dtype complex128, expected float64"),
        (A.astype(int), U, TypeError, "A_star: got dtype int64, expected float64"),
        (np.full((3, 3), np.nan), U, ValueError, "A_star: holds NaN or infinity, expected finite numbers"),
        (A, np.full((3, 3, 1), np.inf), ValueError, "U_star: holds NaN or infinity"),
        (np.zeros((3, 2)), U, ValueError, r"A_star: got shape \(3, 2\), expected \(..., d, d\)"),
        (np.zeros(3), U, ValueError, r"A_star: got shape \(3,\)"),
        (np.zeros((0, 0)), U, ValueError, r"A_star: got shape \(0, 0\)"),
        (A, np.ones((3, 3)), ValueError, r"U_star: got shape \(3, 3\), expected \(..., T\+1, d, k\) with d = 3"),
        (A, np.ones((3, 4, 1)), ValueError, r"U_star: got shape \(3, 4, 1\).*d = 3"),
        (A, np.ones((2, 3, 3, 1)), ValueError, r"leading axes of A_star, \(\)"),
        (A, np.ones((2, 3, 1)), ValueError, r"U_star: got 2 tasks, expected T\+1 >= 3"),
        (A, np.ones((3, 3, 4)), ValueError, "U_star: got k = 4, expected 1 <= k <= d = 3"),
        (A, np.ones((3, 3, 0)), ValueError, "U_star: got k = 0"),
    ],
)
def test_what_is_no_truth_is_refused(A_star: Any, U_star: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        GroundTruth(A_star, U_star)


@pytest.mark.parametrize("tasks", [[0, 2], [-1, 0], [5]])
def test_with_tasks_refuses_what_is_no_retraining_task(tasks: list[int]) -> None:
    with pytest.raises(ValueError, match=r"retraining: got \[.*\], expected two or more indices in 0..1"):
        small().with_tasks(tasks)


def test_with_tasks_refuses_fewer_than_two() -> None:
    with pytest.raises(ValueError, match="expected two or more indices"):
        small().with_tasks([1])


def test_a_truth_is_frozen() -> None:
    with pytest.raises(AttributeError):
        small().A_star = A  # type: ignore[misc]


def test_require_real_floating_accepts_finite_float64() -> None:
    assert require_real_floating("M", A) is None  # type: ignore[func-returns-value]
