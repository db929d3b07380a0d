"""Splits, test errors and intervals."""

from __future__ import annotations

import numpy as np
import pytest

from loraml_theory.closed_forms import reduced_rank_regression
from loraml_theory.moments import from_samples
from realdata.completion.splits import draw_splits, relative_difference, tuned_errors, untuned_errors
from realdata.completion.tasks import Task


def make_task(seed: int, *, N: int = 30) -> Task:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((4, N))
    return Task("a", X, rng.standard_normal((3, 4)) @ X + 0.1 * rng.standard_normal((3, N)))


def test_the_parts_of_a_split_are_disjoint_and_make_up_the_task() -> None:
    task = make_task(0)
    whole = from_samples(task.X, task.Y)
    for n, part in draw_splits(np.random.default_rng(1), task, (5, 12), count=4).items():
        assert (part.n, part.test_samples) == (n, 30 - n)
        for name in ("S", "C", "yy"):
            both = n * getattr(part.tuning, name) + (30 - n) * getattr(part.testing, name)
            assert both / 30 == pytest.approx(np.broadcast_to(getattr(whole, name), both.shape), abs=1e-12)


def test_a_smaller_fine_tuning_part_is_the_start_of_a_larger_one() -> None:
    task = make_task(2)
    alone = draw_splits(np.random.default_rng(3), task, (5,), count=4)[5]
    beside = draw_splits(np.random.default_rng(3), task, (5, 12), count=4)[5]
    assert np.array_equal(alone.tuning.S, beside.tuning.S)


def test_no_samples_left_to_test_on_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"sizes: got 30, expected fewer than the 30 samples of a"):
        draw_splits(np.random.default_rng(0), make_task(0), (5, 30), count=2)


def test_errors_are_means_over_test_samples_of_sums_over_outputs() -> None:
    task, base, n = make_task(4), np.ones((3, 4)), 10
    splits = draw_splits(np.random.default_rng(5), task, (n,), count=3)[n]
    found = tuned_errors(splits, base[None], 2, ridge=0.7)[0]
    rng = np.random.default_rng(5)
    for error in found:
        order = rng.permutation(30)
        X, Y = task.X[:, order[:n]], task.Y[:, order[:n]]
        tuned = base + reduced_rank_regression(from_samples(X, Y - base @ X), 2, ridge=0.7 / n)
        residual = task.Y[:, order[n:]] - tuned @ task.X[:, order[n:]]
        assert error == pytest.approx(np.mean(np.sum(residual**2, axis=0)), rel=1e-10)


def test_the_same_base_twice_has_the_same_errors() -> None:
    splits = draw_splits(np.random.default_rng(6), make_task(6), (8,), count=5)[8]
    bases = np.ones((2, 3, 4))
    tuned, untuned = tuned_errors(splits, bases, 1, ridge=1.0), untuned_errors(splits, bases)
    assert np.array_equal(tuned[0], tuned[1])
    assert np.array_equal(untuned[0], untuned[1])
    assert relative_difference(*tuned) == (0, 0, 0)


def test_a_constant_ratio_has_an_interval_of_no_width() -> None:
    errors = np.random.default_rng(7).uniform(1, 2, 10)
    assert relative_difference(errors, 0.9 * errors) == pytest.approx((-10, -10, -10))


def test_the_interval_of_a_ratio_covers_the_truth_as_often_as_it_says() -> None:
    """95 % of 2000; a count below 1820 has probability under 1e-7 at a coverage of 94 %."""
    rng = np.random.default_rng(8)
    hits = 0
    for _ in range(2000):
        hardness = rng.uniform(1, 2, 20)  # shared by both methods, as the split is
        a, b = hardness + 0.1 * rng.standard_normal(20), 1.1 * hardness + 0.1 * rng.standard_normal(20)
        _, low, high = relative_difference(a, b)
        hits += low <= 10 <= high
    assert 1820 <= hits <= 1960
