"""Singular values above the noise: how often noise alone has some, and that what is planted is found."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest

from loraml_theory.statistics.noise_rank import LEFT, Noise, NoiseRank, noise_edge, rank_above_noise, ratio_edge


def rank_of(M: np.ndarray, **options: float) -> NoiseRank:
    values = np.linalg.svd(M, compute_uv=False)
    return rank_above_noise(values, (M.shape[0], M.shape[1]), energy=float(np.sum(M**2)), **options)


@pytest.mark.parametrize("shape", [(4, 4), (6, 40), (10, 10), (24, 16), (40, 40)])
def test_noise_alone_has_none(shape: tuple[int, int]) -> None:
    """0.35 % of 4000 draws had some at most (4 x 4): more than 9 of 400 then come once in 100 000 times."""
    rng = np.random.default_rng(0)
    assert sum(rank_of(rng.standard_normal(shape)).rank > 0 for _ in range(400)) <= 9


@pytest.mark.parametrize("shape", [(4, 4), (10, 10), (13, 30), (30, 20)])
def test_the_edge_is_where_one_in_a_thousand_exceeds_it(shape: tuple[int, int]) -> None:
    """Of 4000 draws 4 are expected, more than 16 once in a million times; the formula is a little wide."""
    rng = np.random.default_rng(1)
    values = np.linalg.svd(rng.standard_normal((4000, *shape)), compute_uv=False)
    rest = np.sum(values[:, 1:] ** 2, axis=1) / ((shape[0] - 1) * (shape[1] - 1))
    assert np.sum(values[:, 0] / np.sqrt(rest) > ratio_edge(*shape)) <= 16
    assert np.sum(values[:, 0] > noise_edge(*shape)) <= 16
    assert np.sum(values[:, 0] > 0.85 * noise_edge(*shape)) > 40


@pytest.mark.parametrize("rank", [1, 3, 6, 8])
@pytest.mark.parametrize("sigma", [0.0, 1e-6, 1e-2])
def test_planted_ranks_are_found_beyond_half_of_the_values(rank: int, sigma: float) -> None:
    """Of 300 draws at 10 x 10 with 1 % of noise 299 or 300 were right."""
    rng = np.random.default_rng(rank)
    for _ in range(5):
        M = rng.standard_normal((10, rank)) @ rng.standard_normal((rank, 10))
        M += sigma * rng.standard_normal(M.shape)
        found = rank_of(M, floor=1e-13 * float(np.linalg.norm(M)))
        full = rank == 10 - LEFT and sigma > 0  # two values that are left as noise could as well be none
        assert (found.rank, found.censored) == (rank, full)
        assert found.sigma == pytest.approx(sigma, rel=0.9, abs=1e-13)


def test_a_signal_below_the_edge_is_not_seen_and_one_above_is() -> None:
    rng = np.random.default_rng(2)
    noise, left, right = rng.standard_normal((60, 40)), np.ones((60, 1)) / 60**0.5, np.ones((1, 40)) / 40**0.5
    assert rank_of(noise + 0.3 * noise_edge(60, 40) * left @ right).rank == 0
    assert rank_of(noise + 2.0 * noise_edge(60, 40) * left @ right).rank == 1


def test_a_sketch_knows_the_noise_from_the_energy() -> None:
    rng = np.random.default_rng(3)
    M = rng.standard_normal((80, 3)) @ rng.standard_normal((3, 60)) + 0.5 * rng.standard_normal((80, 60))
    values, energy = np.linalg.svd(M, compute_uv=False), float(np.sum(M**2))
    found = rank_above_noise(values[:12], (80, 60), energy=energy)
    assert (found.rank, found.clear, found.censored) == (3, 3, False)
    assert found.sigma == pytest.approx(0.5, rel=0.1)
    assert rank_above_noise(values[:2], (80, 60), energy=energy).censored


def test_what_is_rounding_is_no_signal() -> None:
    M = np.diag([1.0, 1e-3, 1e-12, 1e-13, 1e-13])
    assert rank_of(M, floor=1e-11).rank == 2
    assert rank_of(np.zeros((5, 5)), floor=0.0) == NoiseRank(0, 0, 0.0, 0.0, censored=False)


def test_nothing_is_known_of_noise_where_nothing_is_left() -> None:
    assert ratio_edge(1, 7) == inf
    assert rank_of(np.array([[3.0, 1.0, 2.0]])).rank == 0


def test_the_edge_of_known_noise() -> None:
    assert Noise(2.0, 0.0).edge((30, 20), variance=4.0) == pytest.approx(4 * noise_edge(30, 20))
    assert Noise(0.0, 1e-3).edge((30, 20)) == 1e-3
