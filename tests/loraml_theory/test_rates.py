from __future__ import annotations

from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraml_theory import rates, zoo
from loraml_theory.adapters import Parameters
from loraml_theory.closed_forms import best_rank_error, fine_tune, reduced_rank_regression
from loraml_theory.moments import Moments, draw
from loraml_theory.objectives import ProjectedLoRAML
from loraml_theory.solvers import newton
from loraml_theory.structure import GroundTruth, frobenius
from loraml_theory.testing import ground_truths, orthogonal_matrix, structures_violating, truth_with_spectrum

EPS = float(np.finfo(float).eps)


def brute_force_spectrum(truth: GroundTruth) -> np.ndarray:
    """Build ``sum_t P_t^perp`` as a d^2 x d^2 matrix from spanning sets of the tangent spaces."""
    d, total = truth.d, np.zeros((truth.d**2, truth.d**2))
    for U in truth.U_retraining:
        E = np.eye(d * truth.k).reshape(-1, d, truth.k)
        tangents = (E @ U.T + U @ np.swapaxes(E, -1, -2)).reshape(len(E), -1).T
        left, values, _ = np.linalg.svd(tangents, full_matrices=False)
        basis = left[:, values > 1e-9 * values[0]]
        total += np.eye(d * d) - basis @ basis.T
    return np.linalg.eigvalsh(total)


@settings(max_examples=30)
@given(st.one_of(ground_truths(k=st.integers(1, 2), T=st.integers(2, 4)), structures_violating("triple", k=1)))
def test_the_spectrum_is_the_one_of_the_whole_operator(truth: GroundTruth) -> None:
    assert rates.off_tangent_spectrum(truth) == pytest.approx(brute_force_spectrum(truth), abs=1e-8)


@pytest.mark.parametrize("column", [np.zeros((3, 5)), np.ones((3, 5))], ids=["zero", "repeated"])
def test_factors_of_lower_rank_have_their_own_tangent_spaces(column: np.ndarray) -> None:
    """Rank below k: the spanning set is that of the columns there are."""
    U = np.random.default_rng(0).standard_normal((4, 5, 2))
    U[:3, :, 1] = column * U[:3, :, 0]
    truth = GroundTruth(np.zeros((5, 5)), U)
    assert rates.off_tangent_spectrum(truth) == pytest.approx(brute_force_spectrum(truth), abs=1e-8)


def test_the_spectrum_of_orthogonal_unit_factors() -> None:
    """k = 1, U_t = e_t, d = T = 3: counts by hand. ``E_ij + E_ji`` is off all tangent spaces but i's and j's."""
    truth = truth_with_spectrum(d=3, k=1, T=3, spectrum=(1, 1, 1), free_test_task=True)
    expected = [1] * 3 + [2] * 3 + [3] * 3  # off-diagonal symmetric, diagonal, antisymmetric
    assert rates.off_tangent_spectrum(truth) == pytest.approx(np.array(expected, dtype=float))
    assert rates.base_error(truth, 100, sigma=2.0, sigma_x=0.5) == pytest.approx(16 / 100 * (3 + 1.5 + 1))


@pytest.mark.parametrize("kind", ["generic", "scaled", "repeated-task"])
@pytest.mark.parametrize("size", [(10, 1, 3), (8, 2, 3), (6, 2, 5), (5, 1, 7), (12, 2, 4)])
def test_a_batch_has_the_spectra_of_its_elements(kind: str, size: tuple[int, int, int]) -> None:
    batch = zoo.KINDS[kind](np.random.default_rng(0), *size, batch=(2, 2))
    found = rates.off_tangent_spectrum(batch)
    assert found.shape == (2, 2, size[0] ** 2)
    for place in np.ndindex(2, 2):
        one = GroundTruth(batch.A_star[place], batch.U_star[place])
        assert found[place] == pytest.approx(rates.off_tangent_spectrum(one), rel=1e-9, abs=1e-12)
    identified = found[..., 0] > 1e-12
    assert rates.recovery_condition(batch)[identified] * found[..., 0][identified] == pytest.approx(1.0)


def test_the_condition_of_dependent_tasks_is_huge() -> None:
    truth = zoo.repeated_task(np.random.default_rng(0), 6, 1, 3, batch=(60,))
    assert np.min(rates.recovery_condition(truth)) > 1e12


@given(ground_truths(T=st.integers(3, 5), independent=True), st.floats(0.01, 10))
def test_the_base_error_is_at_least_the_theory_s_bound(truth: GroundTruth, sigma: float) -> None:
    error = rates.base_error(truth, 1000, sigma=sigma, sigma_x=2.0)
    assert error >= sigma**2 * truth.d**2 / (4 * 1000 * truth.T) * (1 - 1e-12)
    assert error < inf


@given(ground_truths(T=2, independent=True))
def test_two_tasks_do_not_identify_the_base(truth: GroundTruth) -> None:
    assert rates.base_error(truth, 1000, sigma=1.0) == inf


def test_the_base_error_is_that_of_the_minimiser() -> None:
    """400 minimisers at N = 10^6: the mean squared error is known to 4 standard errors (6e-5)."""
    truth = zoo.orthogonal(np.random.default_rng(0), 5, 1, 3)
    m = draw(np.random.default_rng(1), truth.W_retraining, 10**6, sigma=0.1, batch=(400,))
    g = ProjectedLoRAML(m)
    start = np.broadcast_to(truth.U_retraining, (400, *truth.U_retraining.shape))
    # symmetric adapters and symmetrised parameters fit the model's own tangent space
    found = newton(g, Parameters(U=start)).require_converged()
    errors = frobenius(g.base(found.parameters) - truth.A_star) ** 2
    predicted = rates.base_error(truth, 10**6, sigma=0.1)
    assert abs(float(errors.mean()) - predicted) <= 4 * float(errors.std()) / 20
    assert predicted / (0.01 * 25 / (3 * 10**6)) < 2


@pytest.mark.parametrize(
    ("rank", "d", "d_in", "degrees"), [(1, 5, None, 9), (5, 5, None, 25), (9, 5, None, 25), (2, 3, 7, 16), (0, 4, 4, 0)]
)
def test_degrees_of_freedom(rank: int, d: int, d_in: int | None, degrees: int) -> None:
    assert rates.degrees_of_freedom(rank, d, d_in) == degrees


@settings(max_examples=10)
@given(st.integers(2, 4), st.integers(1, 3), st.integers(0, 1000))
def test_degrees_of_freedom_are_the_dimension_of_the_tangent_space(d: int, rank: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rank = min(rank, d)
    U, V = rng.standard_normal((d, rank)), rng.standard_normal((d + 1, rank))
    left, right = np.eye(d * rank).reshape(-1, d, rank), np.eye((d + 1) * rank).reshape(-1, d + 1, rank)
    tangents = np.concatenate([left @ V.T, U @ np.swapaxes(right, -1, -2)]).reshape(-1, d * (d + 1))
    assert np.linalg.matrix_rank(tangents, tol=1e-9) == rates.degrees_of_freedom(rank, d, d + 1)


SIGMA, SIGMA_X, D, K, REPETITIONS = 1e-3, 2.0, 6, 2, 4000


def fitted(rank: int, n: int) -> tuple[Moments, np.ndarray]:
    """Fit many draws of a residual of rank K with singular values 1 and 1; FT-2's condition holds 50-fold and more."""
    residual = orthogonal_matrix(D, seed=1)[:, :K] @ orthogonal_matrix(D, seed=2)[:K]
    m = draw(np.random.default_rng(3), residual, n, sigma_x=SIGMA_X, sigma=SIGMA, batch=(REPETITIONS,))
    return m, reduced_rank_regression(m, rank) - residual


def assert_mean(values: np.ndarray, expected: float, *, rel: float) -> None:
    """The mean is the expected one within 4 standard errors (6e-5) and the first-order theory's relative error."""
    error = values.std(ddof=1) / np.sqrt(values.size)
    assert abs(values.mean() - expected) <= 4 * error + rel * expected


@pytest.mark.parametrize("n", [D + 2, 2 * D, 100])
@pytest.mark.parametrize("rank", [K, D])
def test_in_sample_error(rank: int, n: int) -> None:
    m, error = fitted(rank, n)
    measured = np.sum((error @ m.S) * error, axis=(-2, -1))
    expected = rates.in_sample_error(rank, D, n, sigma=SIGMA)
    assert_mean(measured, expected, rel=1e-3)
    if n == 100:  # mutants: half the rate, the rate of rank + 1
        assert abs(measured.mean() - expected / 2) > 0.1 * expected
        assert (
            abs(measured.mean() - rates.in_sample_error(min(rank + 1, D) - (rank == D), D, n, sigma=SIGMA))
            > 0.01 * expected
        )


@pytest.mark.parametrize("n", [15, 100])
@pytest.mark.parametrize("rank", [K, D])
def test_parameter_error(rank: int, n: int) -> None:
    _, error = fitted(rank, n)
    measured = np.sum(error**2, axis=(-2, -1))
    expected = rates.parameter_error(rank, D, n, sigma=SIGMA, sigma_x=SIGMA_X)
    assert_mean(measured, expected, rel=1e-3)
    without_sigma_x = rates.parameter_error(rank, D, n, sigma=SIGMA)
    assert abs(measured.mean() - without_sigma_x) > 0.5 * expected


@pytest.mark.parametrize("rank", [K, K + 1, D - 1, D])
def test_the_error_above_the_true_rank(rank: int) -> None:
    m, error = fitted(rank, 4000)
    degrees, standard_error = rates.excess_rank_degrees(np.random.default_rng(0), K, rank, D)
    measured = 4000 * np.sum((error @ m.S) * error, axis=(-2, -1)) / SIGMA**2
    combined = np.hypot(measured.std(ddof=1) / np.sqrt(REPETITIONS), standard_error)
    # finite n moves the selected noise values by about d/n
    assert abs(measured.mean() - degrees) <= 4 * combined + 2e-3 * degrees
    if rank == K:
        assert degrees == rates.degrees_of_freedom(K, D)
    if rank == D:
        assert degrees == pytest.approx(D**2, abs=5 * standard_error)


def test_the_parameter_error_tends_to_its_limit_and_needs_samples() -> None:
    assert rates.parameter_error(2, 6, 1e9, sigma=1.0) * 1e9 == pytest.approx(rates.degrees_of_freedom(2, 6), rel=1e-6)
    assert rates.parameter_error(9, 6, 20, sigma=2.0) == pytest.approx(4 * 36 / 13)
    with pytest.raises(ValueError, match=r"n: got 7, expected more than d \+ 1 = 7"):
        rates.parameter_error(1, 6, 7, sigma=1.0)


@given(st.integers(1, 3), st.integers(5, 1000), st.floats(1, 100), st.floats(0.5, 2))
def test_sigma_for_gives_the_wanted_ratio(rank: int, n: int, ratio: float, sigma_x: float) -> None:
    residual = np.diag([5.0, 3.0, 1.0, 0.0])
    sigma = rates.sigma_for(residual, rank, n, ratio=ratio, sigma_x=sigma_x)
    assert rates.signal_to_noise(residual, rank, n, sigma=sigma, sigma_x=sigma_x) == pytest.approx(ratio)


def test_signal_to_noise_by_hand() -> None:
    residual = np.diag([5.0, 3.0, 1.0, 0.0])
    assert rates.signal_to_noise(residual, 2, 100, sigma=0.1, sigma_x=2.0) == pytest.approx(3 / (2 * 0.05 * 0.2))
    assert rates.signal_to_noise(residual, 2, 100, sigma=0.0) == inf


@pytest.mark.parametrize(
    ("method", "sizes", "rank"),
    [
        ("sr", (2, 3, 20), 8),
        ("sr", (2, 3, 7), 7),
        ("lora-ml", (2, 3, 20), 2),
        ("lora-ml", (2, 2, 20), 6),
        ("lora-ml", (2, 2, 5), 5),
    ],
)
def test_the_rank_that_a_new_task_needs(method: str, sizes: tuple[int, int, int], rank: int) -> None:
    assert rates.adaptation_rank(method, *sizes) == rank


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ValueError, match="method: got 'reptile', expected 'sr' or 'lora-ml'"):
        rates.adaptation_rank("reptile", 1, 2, 3)


def test_fine_tuning_from_the_true_base_has_the_predicted_error() -> None:
    """ML-7 in one line: rank k from A*, whatever T."""
    truth = zoo.orthogonal(np.random.default_rng(0), 8, 1, 3)
    m = draw(np.random.default_rng(1), truth.W_test, 50, sigma=1e-3, batch=(2000,))
    error = np.sum((fine_tune(m, truth.A_star, 1) - truth.W_test) ** 2, axis=(-2, -1))
    assert_mean(error, rates.parameter_error(1, 8, 50, sigma=1e-3), rel=1e-3)


def test_both_finite_n_terms_of_the_parameter_error_show() -> None:
    """At r = 3, d = 6, n = 14 the second term has n - r - 1 = 10; n - 1 in its place would be 6 % off in all.

    The standard error of 20 000 trials is below 0.5 %, so 2.5 % is missed with a chance below 1e-6.
    """
    d, r, n, sigma = 6, 3, 14, 1e-5
    rng = np.random.default_rng(0)
    U, V = np.linalg.qr(rng.standard_normal((2, d, r)))[0]
    W = U @ V.T
    moments = draw(rng, W, n, sigma=sigma, batch=(20_000,))
    error = fine_tune(moments, np.zeros((d, d)), r) - W
    mean = float(np.mean(np.sum(error**2, axis=(-2, -1))))
    assert mean == pytest.approx(rates.parameter_error(r, d, n, sigma=sigma), rel=0.025)


@pytest.mark.parametrize(("d", "k"), [(10, 1), (6, 3), (5, 3), (4, 3)])
def test_the_floor_of_many_tasks_is_what_rank_k_leaves(d: int, k: int) -> None:
    U = 1.3 * np.random.default_rng(d).standard_normal((50, d, k))
    residual = U @ np.swapaxes(U, -1, -2) - k * 1.3**2 * np.eye(d)
    np.testing.assert_allclose(rates.many_task_floor(U, scale=1.3), best_rank_error(residual, k), rtol=1e-12)


@pytest.mark.parametrize(("d", "k", "expected"), [(10, 1, 8.998), (10, 2, 31.43), (10, 3, 56.38), (6, 3, 15.85)])
def test_the_mean_floor_of_many_tasks_has_its_known_values(d: int, k: int, expected: float) -> None:
    value, error, spread = rates.mean_many_task_floor(np.random.default_rng(0), d, k)
    assert abs(value - expected) <= 5 * error + 0.01
    assert error == pytest.approx(spread / 20_000**0.5)
    scaled, _, _ = rates.mean_many_task_floor(np.random.default_rng(0), d, k, scale=2.0)
    assert scaled == pytest.approx(16 * value)


@given(ground_truths(T=st.integers(3, 6), independent=True))
def test_no_tasks_have_a_smaller_trace_than_the_limit(truth: GroundTruth) -> None:
    trace = float(np.sum(1 / rates.off_tangent_spectrum(truth)))
    assert truth.T * trace >= truth.d**2 * rates.least_trace(truth.d, truth.k) * (1 - 1e-9)


@pytest.mark.parametrize(("d", "k"), [(10, 1), (10, 3), (6, 2)])
def test_many_tasks_come_near_the_least_trace(d: int, k: int) -> None:
    truth = zoo.generic(np.random.default_rng(0), d, k, 300)
    trace = float(np.sum(1 / rates.off_tangent_spectrum(truth)))
    assert 300 * trace / d**2 == pytest.approx(rates.least_trace(d, k), rel=5e-3)
