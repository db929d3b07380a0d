"""`moments.draw` against data that were sampled one by one: the same law, at a cost free of n."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from math import log, sqrt
from time import process_time
from typing import Any

import numpy as np
import pytest

from loraml_theory.moments import Moments, bartlett_factor, draw, from_samples, population

REPETITIONS = 4000
FALSE_ALARM = 1e-6  # of each comparison, for any seed; the seeds are fixed
SIGMA_X, SIGMA = 2.0, 0.5
Draw = Callable[[np.random.Generator, np.ndarray, int], Moments]


def sampled(rng: np.random.Generator, W: np.ndarray, n: int) -> Moments:
    X = SIGMA_X * rng.standard_normal((REPETITIONS, W.shape[1], n))
    return from_samples(X, W @ X + SIGMA * rng.standard_normal((REPETITIONS, W.shape[0], n)))


def drawn(rng: np.random.Generator, W: np.ndarray, n: int) -> Moments:
    return draw(rng, W, n, sigma_x=SIGMA_X, sigma=SIGMA, batch=(REPETITIONS,))


def drawn_with_G_L(rng: np.random.Generator, W: np.ndarray, n: int) -> Moments:
    """The mutant ``C = W S + (sigma/sqrt n) G L`` in place of ``G L^T``."""
    d_out, d_in = W.shape
    L = SIGMA_X / sqrt(n) * bartlett_factor(rng, (REPETITIONS,), d_in, n)
    S = L @ np.swapaxes(L, -1, -2)
    C = W @ S + SIGMA / sqrt(n) * rng.standard_normal((REPETITIONS, d_out, d_in)) @ L
    noise = SIGMA**2 / n * rng.chisquare(d_out * max(n - d_in, 1), REPETITIONS)
    return Moments(S, C @ np.linalg.inv(S), noise, float(n))


def statistics(m: Moments, W: np.ndarray) -> dict[str, np.ndarray]:
    """Numbers per repetition that together show the joint law of S, C and the noise."""
    E = m.C - W @ m.S
    return {
        "first variance": m.S[:, 0, 0],
        "last variance": m.S[:, -1, -1],
        "covariance": m.S[:, 0, -1],
        "determinant": np.linalg.det(m.S),
        "cross moment": m.C[:, 0, -1],
        "error, first input": np.sum(E[:, :, 0] ** 2, axis=1),
        "error, last input": np.sum(E[:, :, -1] ** 2, axis=1),
        "error given S": np.sum((m.W - W) * E, axis=(1, 2)),
        "noise": np.asarray(m.noise),
        "noise against S": m.noise * np.trace(m.S, axis1=1, axis2=2),
        "yy": np.asarray(m.yy),
    }


def differing(one: Draw, other: Draw, *, n: int, d_in: int = 4, d_out: int = 3) -> set[str]:
    """Return the statistics whose two samples a Kolmogorov-Smirnov test tells apart."""
    W = np.random.default_rng(1).standard_normal((d_out, d_in))
    first = statistics(one(np.random.default_rng(2), W, n), W)
    second = statistics(other(np.random.default_rng(3), W, n), W)
    critical = sqrt(-log(FALSE_ALARM / 2) / REPETITIONS)  # two samples of equal size (Smirnov's limit)
    return {name for name in first if _distance(first[name], second[name]) > critical}


def _distance(x: np.ndarray, y: np.ndarray) -> float:
    both = np.sort(np.concatenate([x, y]))
    steps = [np.searchsorted(np.sort(z), both, side="right") / z.size for z in (x, y)]
    return float(np.max(np.abs(steps[0] - steps[1])))


@pytest.mark.parametrize("n", [2, 5, 30])
def test_drawn_moments_have_the_law_of_sampled_ones(n: int) -> None:
    assert differing(drawn, sampled, n=n) == set()


def test_with_as_many_samples_as_inputs_the_fit_is_exact() -> None:
    """n = d: the inverse of S has no mean, and the noise is 0, so both only up to the rounding of S^-1."""
    equal = differing(drawn, sampled, n=4) - {"noise", "noise against S"}
    assert equal == set()
    m = drawn(np.random.default_rng(0), np.eye(4), 4)
    assert np.all(m.noise == 0)


def test_the_mutant_with_G_L_is_told_apart() -> None:
    assert {"error, first input", "error, last input", "error given S"} <= differing(drawn_with_G_L, sampled, n=5)


@pytest.mark.parametrize("n", [6, 50])
def test_means_and_covariances(n: int) -> None:
    """Closed forms of the first two moments, each within 6 standard errors (2e-9 a comparison)."""
    d, d_out = 3, 2
    W = np.arange(6.0).reshape(d_out, d)
    m = drawn(np.random.default_rng(4), W, n)
    expect = [
        (m.S, SIGMA_X**2 * np.eye(d)),
        ((m.S[:, 0, 0] - SIGMA_X**2) ** 2, 2 * SIGMA_X**4 / n),
        ((m.S[:, 0, 1]) ** 2, SIGMA_X**4 / n),
        (m.C, SIGMA_X**2 * W),
        ((m.C - W @ m.S) ** 2, np.full((d_out, d), SIGMA**2 * SIGMA_X**2 / n)),
        (m.noise, SIGMA**2 * d_out * (n - d) / n),
        (m.yy, SIGMA_X**2 * np.sum(W**2) + SIGMA**2 * d_out),
    ]
    for values, mean in expect:
        error = np.std(values, axis=0, ddof=1) / sqrt(REPETITIONS)
        assert np.all(np.abs(np.mean(values, axis=0) - mean) <= 6 * error)


def test_every_task_has_its_own_data() -> None:
    m = draw(np.random.default_rng(0), np.zeros((2, 3, 3)), 10, sigma=1.0)
    assert m.W.shape == (2, 3, 3)
    assert not np.any(np.isclose(m.S[0], m.S[1]))


@pytest.mark.parametrize("n", [2, 3, 10])
def test_batch_axes_come_first(n: int) -> None:
    m = draw(np.random.default_rng(0), np.zeros((2, 4, 3)), n, sigma=1.0, batch=(5, 6))
    assert m.S.shape == (5, 6, 2, 3, 3)
    assert m.W.shape == (5, 6, 2, 4, 3)
    assert m.noise.shape == (5, 6, 2)


def test_more_samples_come_closer_to_the_population() -> None:
    """``n ||W_ls - W||_F^2`` and ``n ||S - I||_F^2`` have means 9 and 12; passing 12 times that has chance < 1e-9."""
    W = np.eye(3)
    for n in (10**3, 10**6, 10**9, 10**12):
        m = draw(np.random.default_rng(0), W, n, sigma=1.0)
        assert n * np.sum((m.W - W) ** 2) <= 110
        assert n * np.sum((m.S - np.eye(3)) ** 2) <= 150
        assert abs(float(m.noise) - 3) <= 20 / sqrt(n) + 30 / n


def test_a_thousand_million_samples_cost_what_a_thousand_do() -> None:
    def cost(n: int) -> tuple[float, int]:
        tracemalloc.start()
        begin = process_time()
        draw(np.random.default_rng(0), np.eye(10), n, sigma=0.1, batch=(50,))
        seconds = process_time() - begin
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return seconds, peak

    cost(10**3)  # first calls load what later ones have at hand
    seconds, peak = cost(10**9)
    assert peak <= 1.1 * cost(10**3)[1]
    assert seconds < 1  # a loop over samples would take minutes


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"n": 0}, ValueError, "n: got 0, expected a whole number >= 1"),
        ({"n": 2.5}, ValueError, "n: got 2.5, expected a whole number >= 1"),
        ({"sigma_x": float("inf")}, ValueError, "sigma_x: got inf, expected a finite number > 0"),
        ({"sigma": float("nan")}, ValueError, "sigma: got nan, expected a finite number >= 0"),
        ({"W": [[1.0]]}, TypeError, "W: got list, expected an array of float64"),
    ],
)
def test_draw_refuses_what_makes_no_sense(changes: dict[str, Any], error: type[Exception], text: str) -> None:
    arguments: dict[str, Any] = {"W": np.eye(2), "n": 3, "sigma": 1.0} | changes
    with pytest.raises(error, match=text):
        draw(np.random.default_rng(0), arguments.pop("W"), arguments.pop("n"), **arguments)


def test_without_more_said_inputs_have_variance_one() -> None:
    W = np.ones((2, 2))
    assert np.array_equal(population(W).S, np.eye(2))
    assert float(population(W).noise) == 0.0
    standard = draw(np.random.default_rng(0), W, 5, sigma=0.1)
    stated = draw(np.random.default_rng(0), W, 5, sigma_x=1.0, sigma=0.1)
    assert np.array_equal(standard.S, stated.S)


def test_one_sample_is_enough_to_draw() -> None:
    m = draw(np.random.default_rng(0), np.ones((2, 3)), 1, sigma=0.1)
    assert m.n == 1
    assert np.linalg.matrix_rank(m.S) == 1
