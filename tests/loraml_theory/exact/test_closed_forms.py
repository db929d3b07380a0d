"""The closed forms over Q: every statement is an equation between rational numbers or whole numbers."""

from __future__ import annotations

from fractions import Fraction
from time import process_time

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from loraml_theory import zoo
from loraml_theory.exact import (
    Rationals,
    RationalTruth,
    boost,
    inertia,
    non_zero,
    orthogonal,
    pins_base,
    rank,
    rationals,
    recover,
    standard_retraining,
    two_task_orbit,
    value,
)
from loraml_theory.exact.rational import diagonal, rational, shifts
from tests.loraml_theory.exact import strategies

SIZES = st.sampled_from([(2, 1), (3, 1), (2, 2), (3, 2)])  # T, k


@st.composite
def boosts(draw: st.DrawFn, k: int, *, active: int) -> Rationals:
    """Draw rational elements of O(k, k) with so many non-zero rapidities."""
    slope = st.builds(Fraction, st.integers(1, 8), st.just(9))
    slopes = [rational(draw(slope)) for _ in range(active)] + [rational(0)] * (k - active)
    Q = [orthogonal(draw(strategies.skew(k))) for _ in range(4)]
    return boost(slopes, Q[:2], Q[2:])


@given(st.data(), st.integers(1, 3))
def test_cayley_gives_orthogonal_matrices(data: st.DataObject, n: int) -> None:
    Q = orthogonal(data.draw(strategies.skew(n)))
    assert non_zero(Q @ Q.T - diagonal([1] * n)) == 0


@given(st.data(), st.integers(1, 3))
def test_boosts_preserve_the_indefinite_form(data: st.DataObject, k: int) -> None:
    H = data.draw(boosts(k, active=k))
    J = diagonal([1] * k + [-1] * k)
    assert non_zero(H @ J @ H.T - J) == 0


@given(st.data(), st.integers(1, 2), st.integers(0, 2))
def test_two_task_orbit(data: st.DataObject, k: int, active: int) -> None:
    """ML-2: zero misfit, twice as many ranks as rapidities, and inertia (2k, k) if none is 0."""
    assume(active <= k)
    truth = data.draw(strategies.truths(T=2, k=k))
    A, U = two_task_orbit(truth, data.draw(boosts(k, active=active)))
    assert non_zero(A + shifts(U) - truth.W_retraining) == 0
    assert inertia(A - truth.A_star) == (active, active)
    assert inertia(truth.W_test - A) == (k + active, active)


@given(st.data(), SIZES)
def test_standard_retraining_needs_rank_k_times_tasks(data: st.DataObject, sizes: tuple[int, int]) -> None:
    """SR-2."""
    T, k = sizes
    truth = data.draw(strategies.truths(T=T, k=k))
    assert inertia(truth.W_test - standard_retraining(truth.W_retraining)) == (k, k * T)


@given(st.data(), st.sampled_from([(3, 1), (4, 1), (3, 2)]))
def test_an_independent_triple_pins_the_base(data: st.DataObject, sizes: tuple[int, int]) -> None:
    """ML-3 and ML-6."""
    T, k = sizes
    truth = data.draw(strategies.truths(T=T, k=k))
    assert pins_base(truth.W_retraining, k)
    assert non_zero(recover(truth.W_retraining, k) - truth.A_star) == 0
    assert rank(truth.W_test - truth.A_star) == k


@given(st.data(), st.sampled_from([(2, 1), (3, 1), (3, 2)]))
def test_a_repeated_task_or_two_tasks_do_not(data: st.DataObject, sizes: tuple[int, int]) -> None:
    T, k = sizes
    truth = data.draw(strategies.truths(T=T, k=k, independent=False))
    assert not pins_base(truth.W_retraining, k)
    with pytest.raises(ValueError, match="no triple of tasks"):
        recover(truth.W_retraining, k)


@given(st.data(), st.integers(1, 2))
def test_second_minimiser_over_q(data: st.DataObject, k: int) -> None:
    """ML-3's control: U_t* = Q P_t and U_t = Q N_t explain the tasks alike, with bases 2k apart."""
    Q = data.draw(strategies.regular(2 * k + 1))[:, : 2 * k]
    H = [data.draw(boosts(k, active=k)) for _ in range(3)]
    J = diagonal([1] * k + [-1] * k)
    W = shifts(np.stack([Q @ h[:, :k] for h in H]))
    A, U = Q @ J @ Q.T, np.stack([Q @ h[:, k:] for h in H])
    assert non_zero(A + shifts(U) - W) == 0
    assert rank(A) == 2 * k
    assert not pins_base(W, k)


@given(st.data())
def test_best_base_leaves_the_reduced_value(data: st.DataObject) -> None:
    truth = data.draw(strategies.truths(T=3, k=1))
    U = truth.U_retraining + rationals(np.ones((3, truth.d, 1)))
    E = standard_retraining(truth.W_retraining - shifts(U)) + shifts(U) - truth.W_retraining
    assert np.sum(E * E) / 2 == value(U, truth.U_retraining)


@pytest.mark.parametrize(("d", "k", "T"), [(30, 1, 3), (30, 2, 5), (30, 3, 5)])
def test_exact_checks_at_full_size_take_seconds(d: int, k: int, T: int) -> None:
    started = process_time()
    truth = RationalTruth.of(zoo.integer(np.random.default_rng(d + k), d, k, T))
    assert inertia(truth.W_test - standard_retraining(truth.W_retraining)) == (k, k * T)
    assert pins_base(truth.W_retraining, k)
    assert non_zero(recover(truth.W_retraining, k) - truth.A_star) == 0
    assert process_time() - started < 10


@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_floats_taken_as_they_stand(seed: int) -> None:
    """The closed form recovers the base of a truth drawn in floating point, exactly, and ranks are exact."""
    truth = RationalTruth.of(zoo.asymmetric(np.random.default_rng(seed), 8, 2, 3))
    assert non_zero(recover(truth.W_retraining, 2) - truth.A_star) == 0
    assert inertia(truth.W_test - standard_retraining(truth.W_retraining)) == (2, 6)
