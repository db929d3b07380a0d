"""One base and shifts of low rank: fitted, and compared with chance."""

from __future__ import annotations

import numpy as np
import pytest

from loraml_theory.closed_forms import best_rank_error
from loraml_theory.solvers import Status
from loraml_theory.statistics.shared_base import chance_of_share, fit_shared_base, share_left, shift_sizes
from tests.loraml_theory.planted import planted, relative


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(("T", "shape", "k"), [(3, (12, 12), 2), (4, (10, 17), 3), (6, (20, 9), 1)])
def test_the_base_is_recovered(T: int, shape: tuple[int, int], k: int, symmetric: bool) -> None:
    shape = (shape[0], shape[0]) if symmetric else shape
    tasks = planted(0, T=T, shape=shape, k=k, symmetric=symmetric)
    found = fit_shared_base(tasks.W, k)
    assert found.status is Status.CONVERGED
    assert relative(found.A, tasks.A) <= 1e-7
    assert found.left <= 1e-12 * np.sum(tasks.shifts**2)


def test_noise_moves_the_base_as_the_mean_of_noise_does() -> None:
    tasks = planted(1, T=5, shape=(30, 40), k=2, sigma=0.05)
    found = fit_shared_base(tasks.W, 2, ridge=1e-4)
    assert found.status is Status.CONVERGED
    assert np.linalg.norm(found.A - tasks.A) <= 1.5 * 0.05 * (30 * 40 / 5) ** 0.5


def test_two_tasks_reach_the_best_rank_2k_approximation_of_their_difference() -> None:
    W = np.random.default_rng(2).standard_normal((2, 9, 7))
    found = fit_shared_base(W, 2)
    best = float(best_rank_error(W[0] - W[1], 4)) / 2
    assert found.left == pytest.approx(best, rel=1e-6)
    apart = np.sum((W - W.mean(axis=0)) ** 2)
    assert share_left(W, 2) == pytest.approx(best / apart)


def test_where_no_minimum_exists_a_ridge_makes_one() -> None:
    """Tasks b_t v^T + u c_t^T are fitted by rank 1 the better, the further away the base is (see `LoRAML`)."""
    rng = np.random.default_rng(3)
    u, v, b, c = (rng.standard_normal(shape) for shape in ((8, 1), (1, 8), (4, 8, 1), (4, 1, 8)))
    W = b @ v + u @ c
    without, ridged = fit_shared_base(W, 1), fit_shared_base(W, 1, ridge=0.05)
    assert np.linalg.norm(without.A) > 5 * np.linalg.norm(ridged.A)
    assert ridged.status is Status.CONVERGED


def test_equal_tasks_leave_nothing() -> None:
    W = np.broadcast_to(np.arange(12.0).reshape(3, 4), (3, 3, 4))
    assert fit_shared_base(W, 1).left == 0
    assert share_left(W, 1) == 0


@pytest.mark.parametrize("T", [2, 3, 5])
def test_chance_is_uniform_where_shifts_are_random(T: int) -> None:
    """Of 40 sets, p <= 0.2 is expected for 8; fewer than 1 or more than 19 come once in 5000 times."""
    rng = np.random.default_rng(T)
    few = [chance_of_share(rng, rng.standard_normal((T, 8, 10)), 1, draws=19)[0] for _ in range(40)]
    assert 1 <= sum(p <= 0.2 for p in few) <= 19


def test_chance_is_small_for_planted_shifts_and_says_its_resolution() -> None:
    tasks = planted(4, sigma=0.1)
    p, given, random = chance_of_share(np.random.default_rng(0), tasks.W, 2, draws=19)
    assert p == 1 / 20
    assert given < 0.1 < random


def test_chance_of_adapters_is_that_of_random_adapters() -> None:
    W = planted(5, k=3).W
    rng = np.random.default_rng(0)
    assert chance_of_share(rng, W, 1, draws=19)[0] == 1 / 20
    assert chance_of_share(rng, W, 1, draws=19, rank=3)[0] > 1 / 20


@pytest.mark.parametrize("T", [2, 4])
def test_sizes_of_shifts_from_their_deviations(T: int) -> None:
    rng = np.random.default_rng(6)
    true = np.linspace(1.0, 3.0, T)
    shifts = rng.standard_normal((T, 200, 200)) * true[:, None, None] / 200
    found = shift_sizes(np.linalg.norm(shifts - shifts.mean(axis=0), axis=(1, 2)))
    expected = true if T > 2 else np.full(2, np.sqrt(np.mean(true**2)))
    assert np.allclose(found, expected, rtol=0.03)
