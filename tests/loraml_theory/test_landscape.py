from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraml_theory.adapters import Parameters
from loraml_theory.closed_forms import psd_factor, two_task_orbit
from loraml_theory.landscape import (
    _kernel_vector,
    curvature,
    directional_curvature,
    escape_direction,
    gauge_dimension,
    hessian,
    most_negative_direction,
)
from loraml_theory.moments import population
from loraml_theory.objectives import LoRAML, ProjectedLoRAML
from loraml_theory.solvers.base import ravel
from loraml_theory.structure import GroundTruth
from loraml_theory.testing import boosts, ground_truths, orthogonal_matrix, seeds, truth_with_spectrum
from tests.loraml_theory.problems import Problem, inner, move, problems, size, stationary_point

pytestmark = pytest.mark.libraries

EPS = float(np.finfo(float).eps)
TWO_TASKS = ground_truths(T=2, k=st.integers(1, 3))


def second_order(W: np.ndarray, U: np.ndarray, direction: np.ndarray) -> float:
    """Return half of ``<v, H v>`` of the objective itself."""
    v = Parameters(U=direction)
    return inner(ProjectedLoRAML(population(W)).hessian_vector(Parameters(U=U), v), v) / 2


def assert_is_escaped(W: np.ndarray, U: np.ndarray) -> None:
    """A stationary point above the minimum has a direction whose term is right, negative, and leads down."""
    g = ProjectedLoRAML(population(W))
    at, scale = Parameters(U=U), float(np.max(np.linalg.norm(W, axis=(1, 2))))
    assert np.max(np.abs(g.gradient(at).U)) <= 1e-10 * scale**1.5
    assert float(g.value(at)) > 1e-12 * scale**2
    direction, term = escape_direction(W, U)
    assert np.sum(direction**2) == pytest.approx(1)
    assert term == pytest.approx(second_order(W, U, direction), abs=1e-12 * scale)
    assert term < -1e-9 * scale
    step = 1e-3 * np.sqrt(scale)
    # f(h) = f(0) + h^2 term + O(h^3): the cubic part is below half of the term for small enough h
    values = [float(g.value(Parameters(U=U + h * direction))) for h in (0.0, step, step / 100)]
    assert min(values[1:]) < values[0]


@given(ground_truths(T=2, k=st.integers(1, 3), independent=True), st.data())
def test_every_subset_of_eigenpairs_is_a_saddle_with_a_way_down(truth: GroundTruth, data: st.DataObject) -> None:
    """The origin is the empty subset; fewer than all pairs are points of rank below k."""
    keep = data.draw(st.lists(st.booleans(), min_size=2 * truth.k, max_size=2 * truth.k))
    keep[data.draw(st.integers(0, 2 * truth.k - 1))] = False
    Q = orthogonal_matrix(truth.k, seed=data.draw(seeds()))
    assert_is_escaped(truth.W_retraining, stationary_point(truth, keep) @ Q)


@given(st.integers(1, 3), st.floats(0.1, 3), seeds())
def test_the_equal_case_has_a_way_down(k: int, length: float, seed: int) -> None:
    """U_1 and U_2 share a column in ker M, d > 2k: no kernel vector is longer on one side, so s > 0 is needed."""
    truth = truth_with_spectrum(d=2 * k + 1, k=k, T=2, spectrum=(1.0,) * (2 * k), seed=seed, free_test_task=True)
    U = stationary_point(truth, [True] * (2 * k))
    kernel = np.linalg.svd(truth.R[0] - truth.R[1])[0][:, -1]
    U[0, :, -1] = U[1, :, -1] = length * kernel  # the two replaced eigenpairs are missing
    assert_is_escaped(truth.W_retraining, U)


@given(ground_truths(T=2, k=st.integers(1, 3), independent=True), st.data())
def test_at_a_global_minimum_nothing_leads_down(truth: GroundTruth, data: st.DataObject) -> None:
    _, U = two_task_orbit(truth, data.draw(boosts(truth.k, largest=1.0)))
    direction, term = escape_direction(truth.W_retraining, U)
    scale = float(np.sum(U * U)) + float(truth.scale)
    assert term >= -100 * truth.d * EPS * scale
    assert term == pytest.approx(second_order(truth.W_retraining, U, direction), abs=100 * truth.d * EPS * scale)


@given(TWO_TASKS, seeds())
def test_the_term_is_exact_at_every_point(truth: GroundTruth, seed: int) -> None:
    """Also where the gradient is not 0."""
    U = np.random.default_rng(seed).standard_normal((2, truth.d, truth.k))
    direction, term = escape_direction(truth.W_retraining, U)
    scale = float(np.sum(U * U)) + float(truth.scale)
    assert term == pytest.approx(second_order(truth.W_retraining, U, direction), abs=100 * truth.d * EPS * scale)


@given(ground_truths(T=2, k=1, d=st.integers(3, 5)), seeds())
def test_swapping_the_tasks_swaps_the_direction(truth: GroundTruth, seed: int) -> None:
    U = np.random.default_rng(seed).standard_normal((2, truth.d, 1))
    one, other = escape_direction(truth.W_retraining, U), escape_direction(truth.W_retraining[::-1], U[::-1])
    assert other.second_order == pytest.approx(one.second_order, abs=1e-9 * float(truth.scale))


# Hessians.


@given(problems())
def test_the_dense_hessian_is_the_one_of_products(problem: Problem) -> None:
    objective, at, v, w = problem
    H = hessian(objective, at)
    assert np.array_equal(H, H.T)
    rounding = 100 * EPS * (size(objective, at, v) + size(objective, at, w))
    assert ravel(objective, v) @ H @ ravel(objective, w) == pytest.approx(
        inner(v, objective.hessian_vector(at, w)), abs=rounding
    )


@given(problems())
def test_the_most_negative_direction_has_the_smallest_curvature(problem: Problem) -> None:
    objective, at, v, _ = problem
    rounding = 100 * EPS * size(objective, at, v)
    smallest = curvature(objective, at)[0]
    lowest = most_negative_direction(objective, at)
    assert directional_curvature(objective, at, lowest) == pytest.approx(smallest, abs=rounding)
    if inner(v, v) > 0:
        assert directional_curvature(objective, at, v) >= smallest - rounding


@given(ground_truths(T=st.integers(2, 4), independent=True))
def test_at_the_truth_the_hessian_is_positive_up_to_the_gauge(truth: GroundTruth) -> None:
    """ML-3: T >= 3 leaves the rotations of the factors alone; T = 2 adds the k^2 dimensions of the boosts."""
    values = curvature(LoRAML(population(truth.W_retraining)), Parameters(truth.A_star, truth.U_retraining))
    free = gauge_dimension(truth.k, truth.T) + (truth.k**2 if truth.T == 2 else 0)
    rounding = 1000 * EPS * (1 + float(np.sum(truth.U_star**2)))
    assert np.all(np.abs(values[:free]) <= rounding)
    assert values[free] > 100 * rounding


@pytest.mark.parametrize(("k", "T", "dimension"), [(1, 3, 0), (2, 3, 3), (3, 5, 15)])
def test_gauge_dimension(k: int, T: int, dimension: int) -> None:
    assert gauge_dimension(k, T) == dimension


def test_psd_factor_of_fewer_columns_leaves_a_positive_value() -> None:
    """Adapters of rank k - 1 cannot fit two tasks (the control of ML-4)."""
    truth = truth_with_spectrum(d=6, k=2, T=2, spectrum=(1,) * 6, seed=3)
    M = truth.R[0] - truth.R[1]
    U = np.stack([psd_factor(M, 1), psd_factor(-M, 1)])
    assert ProjectedLoRAML(population(truth.W_retraining)).value(Parameters(U=U)) > 0.01
    assert pytest.approx(0) == move(Parameters(U=U), Parameters(U=U), -1.0).U


@given(st.integers(1, 3), seeds(), st.integers(0, 2))
def test_the_kernel_vector_is_the_one_of_the_largest_difference_of_norms(k: int, seed: int, shared: int) -> None:
    """Of the joint kernel; where there is none, the right singular vector of the smallest singular value."""
    rng = np.random.default_rng(seed)
    U_1, U_2 = rng.standard_normal((2, 2 * k + 1, k))
    shared = min(shared, k)
    U_2[:, :shared] = U_1[:, :shared]  # the kernel of [U_1, U_2] has this dimension
    z, y = _kernel_vector(U_1, U_2, k)
    singular = np.linalg.svd(np.concatenate([U_1, U_2], axis=1), compute_uv=False)
    assert z @ z + y @ y == pytest.approx(1)
    assert np.linalg.norm(U_1 @ z - U_2 @ y) == pytest.approx(singular[-1], abs=1e-6 * singular[0])
    if shared:
        assert z @ z == pytest.approx(y @ y)  # U_1 z = U_1 y in independent columns


def test_kernel_vectors_of_a_batch_are_those_of_its_members() -> None:
    rng = np.random.default_rng(0)
    U_1 = rng.standard_normal((3, 5, 2))
    U_2 = U_1 @ rng.standard_normal((3, 2, 2))  # each kernel has two dimensions
    together = np.concatenate(_kernel_vector(U_1, U_2, 2), axis=-1)
    for one, first, second in zip(together, U_1, U_2, strict=True):
        alone = np.concatenate(_kernel_vector(first, second, 2))
        np.testing.assert_allclose(np.outer(one, one), np.outer(alone, alone), atol=1e-9)  # its sign is free
        z, y = one[:2], one[2:]
        # ||z||^2 - ||y||^2 over the kernel: y = M z, so a generalised eigenvalue of (I - M^T M, I + M^T M)
        M = np.linalg.lstsq(second, first, rcond=None)[0]
        most = np.linalg.eigvals(np.linalg.solve(np.eye(2) + M.T @ M, np.eye(2) - M.T @ M)).real.max()
        np.testing.assert_allclose(z @ z - y @ y, most, atol=1e-9)


def test_of_a_kernel_on_one_side_the_vector_is_on_that_side() -> None:
    U_1, U_2 = np.zeros((4, 2)), np.zeros((4, 2))
    U_1[0, 0] = U_2[1, 0] = 1.0  # the second columns are 0: (e_2, 0) and (0, e_2) are in the kernel
    z, y = _kernel_vector(U_1, U_2, 2)
    assert np.abs(z) == pytest.approx([0, 1])
    assert np.abs(y) == pytest.approx([0, 0])


@pytest.mark.parametrize("length", [1e-3, 0.3, 2.0])
def test_in_the_equal_case_the_stretch_is_the_stated_one(length: float) -> None:
    """At k = 1 with U_1 = U_2 in ker M the lengths of the two parts are 1 + s and 1."""
    W = np.zeros((2, 3, 3))
    W[0, 0, 0] = W[1, 1, 1] = 1.0  # M = diag(1, -1, 0), lambda = 1
    U = np.zeros((2, 3, 1))
    U[:, 2, 0] = length
    parts = np.linalg.norm(escape_direction(W, U).direction, axis=(1, 2))
    assert parts.max() / parts.min() == pytest.approx(1 + min(1.0, 1 / (2 * length**2)))
