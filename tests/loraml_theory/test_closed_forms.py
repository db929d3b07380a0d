from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraml_theory import testing
from loraml_theory.adapters import Parameters
from loraml_theory.closed_forms import (
    best_rank_error,
    boost,
    fine_tune,
    psd_factor,
    reduced_rank_regression,
    standard_retraining,
    truncate,
    two_task_orbit,
)
from loraml_theory.moments import Moments, from_samples, population
from loraml_theory.objectives import LoRAML, StandardRetraining, task_losses
from loraml_theory.structure import GroundTruth, frobenius
from loraml_theory.testing import (
    boosts,
    ground_truths,
    orthogonal_matrix,
    seeds,
    spectra,
    truth_with_spectrum,
)

pytestmark = pytest.mark.libraries

EPS = float(np.finfo(float).eps)


def matrix(seed: int, spectrum: tuple[float, ...], rows: int) -> np.ndarray:
    """Construct a matrix with these singular values, ``rows >= len(spectrum)``."""
    left = orthogonal_matrix(rows, seed=seed)[:, : len(spectrum)]
    M: np.ndarray = (left * np.asarray(spectrum)) @ orthogonal_matrix(len(spectrum), seed=seed and seed + 1)
    return M


# Standard retraining.


@given(ground_truths())
def test_standard_retraining_averages_the_shifts_in_the_population(truth: GroundTruth) -> None:
    expected = truth.A_star + np.mean(truth.R[:-1], axis=0)
    A = standard_retraining(population(truth.W_retraining, sigma_x=3.0, sigma=0.1))
    assert pytest.approx(expected, abs=16 * truth.d * EPS * float(truth.scale)) == A


@given(testing.moments(), seeds(), st.sampled_from([0.0, 0.3]))
def test_standard_retraining_is_stationary_and_best(m: Moments, seed: int, ridge: float) -> None:
    A = standard_retraining(m, ridge=ridge)
    objective = StandardRetraining(m.ridge(ridge))
    assert np.max(np.abs(objective.gradient(Parameters(A)).A)) <= 1e-11
    other = A + np.random.default_rng(seed).standard_normal(A.shape)
    assert objective.value(Parameters(other)) > objective.value(Parameters(A))


@given(seeds(), st.integers(1, 4), st.integers(1, 6), st.integers(1, 6))
def test_standard_retraining_is_lstsq_of_all_samples(seed: int, d_in: int, first: int, second: int) -> None:
    """Unequal n_t are weighted, and singular inputs give the solution of least norm."""
    rng = np.random.default_rng(seed)
    X, Y = rng.standard_normal((d_in, first + second)), rng.standard_normal((2, first + second))
    tasks = [from_samples(X[:, part], Y[:, part]) for part in (slice(0, first), slice(first, None))]
    S, W, noise = (np.stack([getattr(m, name) for m in tasks]) for name in ("S", "W", "noise"))
    expected = np.linalg.lstsq(X.T, Y.T, rcond=None)[0].T
    values = np.linalg.svd(X, compute_uv=False)
    lost = (values[0] / values[-1]) ** 2 + max(float(np.max(np.abs(m.W))) for m in tasks)
    A = standard_retraining(Moments(S, W, noise, (float(first), float(second))))
    assert pytest.approx(expected, abs=1e-12 * lost * (1 + float(np.max(np.abs(expected))))) == A


@given(seeds(), st.integers(1, 4), st.floats(0.01, 10))
def test_ridge_is_regression_on_augmented_samples(seed: int, d_in: int, ridge: float) -> None:
    """``n ridge`` as d_in further samples with inputs sqrt(n ridge) I and targets 0."""
    rng = np.random.default_rng(seed)
    X, Y = rng.standard_normal((d_in, 3)), rng.standard_normal((2, 3))
    m = from_samples(X, Y)
    more = np.concatenate([X, np.sqrt(3 * ridge) * np.eye(d_in)], axis=1)
    expected = np.linalg.lstsq(more.T, np.concatenate([Y, np.zeros((2, d_in))], axis=1).T, rcond=None)[0].T
    batch = Moments(m.S[None], m.W[None], m.noise[None], m.n)
    assert standard_retraining(batch, ridge=ridge) == pytest.approx(expected, abs=1e-9)
    assert reduced_rank_regression(m, min(2, d_in), ridge=ridge) == pytest.approx(expected, abs=1e-9)


# Low rank.


@given(seeds(), spectra(4), st.integers(0, 5))
def test_truncation_leaves_the_smaller_singular_values(seed: int, spectrum: tuple[float, ...], rank: int) -> None:
    M = matrix(seed, spectrum, 5)
    expected = sum(value**2 for value in spectrum[rank:])
    assert best_rank_error(M, rank) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    X = truncate(M, rank)
    assert frobenius(M - X) ** 2 == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert np.linalg.matrix_rank(X) == min(rank, 4)


@pytest.mark.parametrize("rank", [-1, 1.5])
def test_ranks_are_whole_numbers(rank: float) -> None:
    for function in (best_rank_error, truncate):
        with pytest.raises(ValueError, match=rf"rank: got {rank}, expected a whole number >= 0"):
            function(np.ones((4, 2, 3)), rank)  # type: ignore[arg-type]


@given(testing.moments(d_out=3, singular=None, tasks=0), st.integers(0, 3), seeds(), st.sampled_from([0.0, 0.2]))
def test_reduced_rank_regression_beats_every_other_fit(m: Moments, rank: int, seed: int, ridge: float) -> None:
    best = reduced_rank_regression(m, rank, ridge=ridge)
    assert np.linalg.matrix_rank(best, tol=1e-9) <= rank
    loss = task_losses(m.ridge(ridge), best)
    rng = np.random.default_rng(seed)
    far = rng.standard_normal((3, rank)) @ rng.standard_normal((rank, m.W.shape[-1]))
    left, values, right = np.linalg.svd(best, full_matrices=False)
    turn = orthogonal_matrix(3, seed=seed + 1)
    near = (turn @ left[:, :rank] * values[:rank] * rng.uniform(0.9, 1.1, min(rank, values.size))) @ right[:rank]
    for other in (far, near):
        assert task_losses(m.ridge(ridge), other) >= loss - 1e-12 * (1 + abs(float(loss)))


@given(seeds(), st.integers(1, 4), st.integers(1, 4), st.integers(1, 8))
def test_at_full_rank_it_is_least_squares_of_least_norm(seed: int, d_out: int, d_in: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    X, Y = rng.standard_normal((d_in, n)), rng.standard_normal((d_out, n))
    expected = np.linalg.lstsq(X.T, Y.T, rcond=None)[0].T
    values = np.linalg.svd(X, compute_uv=False)
    fit = reduced_rank_regression(from_samples(X, Y), d_in + 7)
    assert fit == pytest.approx(expected, abs=1e-12 * (values[0] / values[-1]) ** 2 * (1 + np.max(np.abs(expected))))


@given(ground_truths(independent=True), seeds())
def test_fine_tuning_at_the_true_rank_finds_the_test_task(truth: GroundTruth, seed: int) -> None:
    m = population(truth.W_test, sigma_x=0.5)
    assert fine_tune(m, truth.A_star, truth.k) == pytest.approx(truth.W_test, abs=1e-11 * float(truth.scale))
    base = truth.A_star + np.random.default_rng(seed).standard_normal((truth.d, truth.d))
    tuned = fine_tune(m, base, 1)
    expected = best_rank_error(truth.W_test - base, 1)
    assert frobenius(tuned - truth.W_test) ** 2 == pytest.approx(float(expected), rel=1e-10, abs=1e-10)


@given(seeds(), st.integers(1, 5), st.data())
def test_psd_factor_keeps_the_largest_positive_eigenvalues(seed: int, d: int, data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, d))
    Q, values = orthogonal_matrix(d, seed=seed), np.arange(d) - 1.5
    skew = np.triu(np.ones((d, d)), 1) - np.tril(np.ones((d, d)), -1)
    U = psd_factor((Q * values) @ Q.T + skew, rank)
    expected = (Q[:, -rank:] * np.maximum(values[-rank:], 0)) @ Q[:, -rank:].T
    assert U.shape == (d, rank)
    assert pytest.approx(expected, abs=1e-13 * d) == U @ U.T


# Two tasks.


@given(st.integers(1, 4).flatmap(boosts))
def test_boosts_keep_the_indefinite_form(H: np.ndarray) -> None:
    k = H.shape[0] // 2
    J = np.diag(np.repeat([1.0, -1.0], k))
    assert pytest.approx(J, abs=16 * k * EPS * float(np.sum(H * H))) == H @ J @ H.T


def test_boost_of_one_rapidity() -> None:
    expected = np.array([[1.25, 0.75], [0.75, 1.25]])
    assert boost(np.array([np.log(2.0)])) == pytest.approx(expected)


@given(ground_truths(T=2), st.data())
def test_the_orbit_of_two_tasks_fits_them_exactly(truth: GroundTruth, data: st.DataObject) -> None:
    """No independence is needed for that direction of ML-2."""
    H = data.draw(boosts(truth.k))
    A, U = two_task_orbit(truth, H)
    scale = float(truth.scale) + float(np.sum(U * U))
    residual = A + U @ np.swapaxes(U, -1, -2) - truth.W_retraining
    assert np.max(np.abs(residual)) <= 32 * truth.d * EPS * scale
    assert LoRAML(population(truth.W_retraining)).value(Parameters(A, U)) <= (100 * truth.d * EPS * scale) ** 2


@given(ground_truths(T=2, independent=True), st.data())
def test_bases_on_the_orbit_differ_by_rank_two_per_rapidity(truth: GroundTruth, data: st.DataObject) -> None:
    H = data.draw(boosts(truth.k, smallest=0.2))
    A, _ = two_task_orbit(truth, H)
    assert np.linalg.matrix_rank(A - truth.A_star, tol=1e-10 * float(truth.scale)) == 2 * truth.k
    assert np.linalg.matrix_rank(truth.W_test - A, tol=1e-10 * float(truth.scale)) == 3 * truth.k
    same, U = two_task_orbit(truth, data.draw(boosts(truth.k, largest=0.0)))
    assert same == pytest.approx(truth.A_star, abs=1e-13 * float(truth.scale))
    assert U @ np.swapaxes(U, -1, -2) == pytest.approx(truth.R[:2], abs=1e-13 * float(truth.scale))


def test_the_orbit_is_of_two_tasks() -> None:
    truth = truth_with_spectrum(d=4, k=1, T=3, spectrum=(1, 1, 1, 1))
    with pytest.raises(ValueError, match="truth: got T = 3, expected T = 2"):
        two_task_orbit(truth, np.eye(2))
