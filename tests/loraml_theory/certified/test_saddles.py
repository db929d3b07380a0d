"""Stationary points at T = 2 are enclosed, and their negative curvature is proved (ML-4)."""

from __future__ import annotations

import numpy as np
import pytest
from flint import arb

from loraml_theory import zoo
from loraml_theory.certified.saddles import curvature_bound, saddles, value_bound
from loraml_theory.exact import gradient, rationals
from loraml_theory.landscape import escape_direction


@pytest.mark.parametrize(("d", "k"), [(3, 1), (2, 1), (8, 2), (6, 3)])
def test_negative_curvature_is_proved_at_every_point(d: int, k: int) -> None:
    truth = zoo.integer(np.random.default_rng(1), d, k, 2)
    U_star = rationals(truth.U_retraining)
    found = saddles(U_star)
    expected = (k + 1) ** 2 - 1 + (k**2 if d > 2 * k else 0)
    assert len(found) == expected
    for saddle in found:
        direction = escape_direction(truth.W_retraining, saddle.midpoint).direction
        assert curvature_bound(U_star, saddle.U, direction) < 0 < value_bound(U_star, saddle.U), saddle.origin
        target = np.array([arb(x) for x in U_star.reshape(-1)], dtype=object).reshape(U_star.shape)
        assert all(slope.contains(0) and slope.rad() < 1e-9 for slope in gradient(saddle.U, target).reshape(-1))


def test_no_negative_curvature_is_proved_at_a_minimum() -> None:
    truth = zoo.integer(np.random.default_rng(1), 6, 2, 2)
    U_star = rationals(truth.U_retraining)
    exact = np.array([arb(x) for x in U_star.reshape(-1)], dtype=object).reshape(U_star.shape)
    for seed in range(5):
        direction = np.random.default_rng(seed).standard_normal(U_star.shape)
        assert curvature_bound(U_star, exact, direction) > 0
    assert value_bound(U_star, exact) <= 0


def test_wide_balls_prove_nothing() -> None:
    truth = zoo.integer(np.random.default_rng(1), 6, 2, 2)
    U_star = rationals(truth.U_retraining)
    saddle = saddles(U_star)[0]
    wide = saddle.U + arb(0, 10)
    direction = escape_direction(truth.W_retraining, saddle.midpoint).direction
    assert curvature_bound(U_star, wide, direction) > 0


def test_three_tasks_and_coinciding_eigenvalues_are_refused() -> None:
    with pytest.raises(ValueError, match="got 3 tasks, expected 2"):
        saddles(rationals(np.ones((3, 4, 1))))
    with pytest.raises(ValueError, match="isolate"):
        saddles(rationals(np.eye(4).reshape(4, 2, 2).swapaxes(0, 1)))
