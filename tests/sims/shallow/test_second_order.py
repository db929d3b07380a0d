"""Levenberg and Marquardt's method on shallow networks: derivatives, where it ends, and when it stops."""

from __future__ import annotations

import numpy as np

from sims.shallow.network import Network, Samples, losses, values
from sims.shallow.second_order import _flat, _linearised, _unflat, levenberg_marquardt, reach
from tests.sims.shallow.problems import batch


def _residuals(flat: np.ndarray, like: Network, samples: Samples) -> np.ndarray:
    point = _unflat(flat, like)
    fitted = values(np.asarray(point.W), point.c[:, None, :], samples.x)
    return (fitted - samples.y).reshape(len(flat), -1)


def test_gradient_and_gauss_newton_matrix_are_those_of_the_residuals() -> None:
    samples, point = batch(0, d=4, k=2, T=3, N=25)
    flat, h = _flat(point), 1e-5
    columns = [
        (_residuals(flat + h * e, point, samples) - _residuals(flat - h * e, point, samples)) / (2 * h)
        for e in np.eye(flat.shape[1])
    ]
    J, r = np.stack(columns, axis=-1), _residuals(flat, point, samples)
    loss, g, H = _linearised(point, samples)
    np.testing.assert_allclose(loss, np.sum(r**2, axis=1) / 25)
    np.testing.assert_allclose(g, (J.swapaxes(-1, -2) @ r[..., None])[..., 0] / 25, atol=1e-8)
    np.testing.assert_allclose(H, J.swapaxes(-1, -2) @ J / 25, atol=1e-8)


def test_the_truth_is_found_again_from_nearby_without_noise() -> None:
    samples, truth = batch(1, d=5, k=1, T=3, N=200)
    clean = Samples(samples.x, values(np.asarray(truth.W), truth.c[:, None, :], samples.x))
    near = _unflat(_flat(truth) + 0.02 * np.random.default_rng(2).standard_normal(_flat(truth).shape), truth)
    end = levenberg_marquardt(clean, near, iterations=200, target=1e-20, ridges=(0.0,))
    assert np.all(end.finished)
    np.testing.assert_allclose(end.loss, losses(end.point, clean))
    assert np.all(losses(near, clean) > 1e-4)
    np.testing.assert_allclose(end.point.W, truth.W, atol=1e-6)


def test_the_end_is_stationary_and_a_target_ends_earlier() -> None:
    samples, truth = batch(3, d=4, k=1, T=4, N=400)
    noise = 0.01 * np.random.default_rng(4).standard_normal(samples.y.shape)
    noisy = Samples(samples.x, values(np.asarray(truth.W), truth.c[:, None, :], samples.x) + noise)
    end = levenberg_marquardt(noisy, truth, iterations=300, ridges=(0.0,))
    _, g, _ = _linearised(end.point, noisy)
    assert np.all(end.finished)
    assert np.all(end.loss < losses(truth, noisy))
    assert np.all(np.abs(g).max(axis=1) < 1e-3 * np.abs(_linearised(truth, noisy)[1]).max(axis=1))
    target = (end.loss + losses(truth, noisy)) / 2
    early = levenberg_marquardt(noisy, truth, iterations=300, target=target)
    assert np.all(early.loss <= target)
    assert np.all(early.iterations < end.iterations)


def test_steps_that_run_out_are_no_answer_and_elements_are_independent() -> None:
    samples, start = batch(4)
    few = levenberg_marquardt(samples, start, iterations=3)
    assert not np.any(few.finished)
    assert few.iterations.tolist() == [3, 3, 3]
    alone = levenberg_marquardt(Samples(samples.x[1:2], samples.y[1:2]), start[1:2], iterations=3)
    np.testing.assert_allclose(alone.loss, few.loss[1:2], rtol=1e-10)


def test_adapters_that_are_zero_stay_so() -> None:
    samples, start = batch(5)
    without = Network(start.A, start.c, 0 * start.U, 0 * start.V)
    end = levenberg_marquardt(samples, without, iterations=10)
    assert np.all(end.loss < losses(without, samples))
    assert not np.any(end.point.U)
    assert not np.any(end.point.V)


def test_further_starts_are_for_what_has_not_reached_its_target() -> None:
    samples, start = batch(6, d=4)
    first = levenberg_marquardt(samples, start, iterations=5)
    target = first.loss * np.array([1.01, 0.99, 0.0])
    starts = [start, batch(7, d=4)[1], batch(8, d=4)[1]]
    found = reach(samples, starts, target, iterations=5)
    assert found.iterations[0] <= 5 < found.iterations[1] <= 15 == found.iterations[2]
    assert found.finished.tolist() == (found.loss <= target).tolist()
    assert found.finished[0]
    assert not found.finished[2]
    alone = [levenberg_marquardt(samples, each, iterations=5).loss[2] for each in starts]
    assert found.loss[2] == min(alone)
    np.testing.assert_allclose(losses(found.point, samples), found.loss)
