"""Rank of the shifts, independence, and the ranks that held-out tasks need, on planted tasks and on noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraml_theory.solvers import Status
from loraml_theory.statistics.adaptation import hold_out, independence, linear_surrogate, rank_for_share
from loraml_theory.statistics.shift_rank import ShiftRank, estimate_shift_rank, task_differences
from loraml_theory.statistics.task_span import TaskSpan
from loraml_theory.testing import seeds
from tests.loraml_theory.planted import planted, relative, span_of

FLOOR = 1e-11


def rank_of(span: TaskSpan) -> ShiftRank:
    return estimate_shift_rank(task_differences(span, floor_at=FLOOR), span.T)


@given(seeds(), st.integers(1, 3), st.integers(2, 5), st.booleans())
def test_k_is_exact_without_noise(seed: int, k: int, T: int, symmetric: bool) -> None:
    shape = (2 * k + 6, 2 * k + 6 if symmetric else 2 * k + 11)
    found = rank_of(span_of(planted(seed, T=T, shape=shape, k=k, symmetric=symmetric).W))
    assert (found.k, found.low, found.high, found.censored) == (k, k, k, False)


@pytest.mark.parametrize(("shape", "k"), [((24, 16), 2), ((64, 48), 3)])
def test_intervals_hold_the_rank_that_noise_lets_one_see(shape: tuple[int, int], k: int) -> None:
    """All of 400 draws of other seeds did; were it 99 %, more than two of 40 would miss it in 0.7 % of tests."""
    found = [rank_of(span_of(planted(seed, T=4, shape=shape, k=k, sigma=0.5).W)) for seed in range(40)]
    held = [each.low is not None and each.high is not None and each.low <= k <= each.high for each in found]
    assert sum(held) >= 38


@pytest.mark.parametrize("T", [2, 3, 4])
@pytest.mark.parametrize("sigma", [1e-3, 0.1])
def test_k_is_found_in_noise(T: int, sigma: float) -> None:
    for seed in range(5):
        found = rank_of(span_of(planted(seed, T=T, shape=(30, 40), sigma=sigma).W))
        assert found.k == 2
        assert found.low == found.high == 2
        assert found.gap is not None
        assert found.gap > 3


@pytest.mark.parametrize("T", [2, 4])
def test_noise_and_full_rank_tasks_have_no_k(T: int) -> None:
    """One difference in some 300 has a value above the edge by chance; the median over them hardly ever."""
    for seed in range(5):
        W = np.random.default_rng(seed).standard_normal((T, 25, 30))
        assert rank_of(span_of(W)) == ShiftRank(None, None, None, None, censored=False)


def test_equal_tasks_have_k_0() -> None:
    W = np.broadcast_to(np.random.default_rng(0).standard_normal((12, 9)), (3, 12, 9))
    assert rank_of(span_of(W)).k == 0


def test_tasks_of_different_ranks_widen_the_interval() -> None:
    rng = np.random.default_rng(1)
    W = np.stack([rng.standard_normal((20, k)) @ rng.standard_normal((k, 20)) for k in (1, 2, 3, 4)])
    found = rank_of(span_of(W))
    assert found.k == 3  # ranks 3, 4, 5, 5, 6, 7: half the median, rounded up
    assert found.low is not None
    assert found.high is not None
    assert found.low < 2
    assert found.high > 3


def test_a_sketch_that_is_too_small_says_so() -> None:
    span = span_of(planted(2, shape=(60, 60), k=8).W, size=12)
    assert rank_of(span).censored


@pytest.mark.parametrize("side", ["columns", "rows"])
@pytest.mark.parametrize("sigma", [0.0, 0.02])
def test_independence_needs_both_spans(side: str, sigma: float) -> None:
    rng = np.random.default_rng(3)
    U, V = rng.standard_normal((3, 20, 2)), rng.standard_normal((3, 24, 2))
    noise = sigma * rng.standard_normal((3, 20, 24))

    def clearness() -> float:
        span = span_of(U @ np.swapaxes(V, -1, -2) + noise)
        return independence(span, 2, noise=task_differences(span, floor_at=FLOOR).noise)

    assert clearness() > 5
    F = U if side == "columns" else V
    F[2] = F[0] @ rng.standard_normal((2, 2)) + F[1] @ rng.standard_normal((2, 2))
    assert clearness() < 1


def test_one_independent_triple_of_four_is_enough() -> None:
    tasks = planted(4)
    W = np.concatenate([tasks.W, tasks.W[:1]])
    for tasks_in, independent in ((W, True), (W[[0, 1, 4]], False)):
        span = span_of(tasks_in)
        assert (independence(span, 2, noise=task_differences(span, floor_at=FLOOR).noise) > 1) is independent


def test_independence_asks_for_three_tasks_and_room() -> None:
    span = span_of(planted(5, T=3, shape=(8, 20), k=3).W)
    noise = task_differences(span, floor_at=FLOOR).noise
    assert independence(span, 3, noise=noise) == 0.0
    with pytest.raises(ValueError, match="got 2 tasks"):
        independence(span_of(planted(5, T=2).W), 2, noise=noise)


@pytest.mark.parametrize("size", [256, 24])
def test_the_base_of_the_surrogate(size: int) -> None:
    tasks = planted(6, shape=(60, 50), k=2, sigma=0.05)
    span = span_of(tasks.W, size=size)
    fit, share = linear_surrogate(span, 2, noise=task_differences(span).noise)
    assert span.mean is not None
    error = np.linalg.norm(span.mean + span.lift(fit.A) - tasks.A)
    assert error <= 1.3 * 0.05 * (60 * 50 / 4) ** 0.5
    noise_left = 0.05**2 * 60 * 50 * 3 / np.sum((tasks.W - tasks.W.mean(axis=0)) ** 2)
    assert 0.5 * noise_left <= share <= noise_left


@pytest.mark.parametrize(("T", "sigma"), [(4, 0.0), (5, 0.0), (4, 0.02)])
def test_held_out_tasks_need_kT_from_the_mean_and_k_from_the_base(T: int, sigma: float) -> None:
    span = span_of(planted(7, T=T, shape=(24, 30), k=2, sigma=sigma).W)
    held = hold_out(span, 2, noise=task_differences(span, floor_at=FLOOR).noise)
    assert held.ml is not None
    assert held.sr.ranks == (2 * T,) * T
    assert held.ml.ranks == (2,) * T
    assert held.statuses == (Status.CONVERGED,) * T
    assert held.sr.left.shape == held.ml.left.shape == (T, 25)
    assert held.base is None
    whole = held.sr.signal((24, 30))
    for rows, expected in ((held.sr.left, 4), (held.ml.left, 1)):
        shares = [
            rank_for_share(row, (24, 30), share=0.95, variance=held.sr.variance, whole=float(w))
            for row, w in zip(rows, whole, strict=True)
        ]
        assert min(rank for rank in shares if rank is not None) >= expected
        assert max(rank for rank in shares if rank is not None) <= (2 * T if rows is held.sr.left else 2)


def test_held_out_means_are_those_of_the_others() -> None:
    W = planted(8, T=3, shape=(9, 7)).W
    span = span_of(W)
    held = hold_out(span, None, noise=task_differences(span, floor_at=FLOOR).noise)
    assert held.ml is None
    apart = W[1] - (W[0] + W[2]) / 2
    values = np.linalg.svd(apart, compute_uv=False)
    assert np.allclose(held.sr.left[1, :-1], np.cumsum(values[::-1] ** 2)[::-1])


def test_a_held_out_task_does_not_enter_its_base() -> None:
    """What lies in another span than the others' is left whole."""
    tasks = planted(9, T=4, shape=(30, 30), k=2)
    W = tasks.W.copy()
    W[3] = tasks.A + 100 * tasks.shifts[3]
    span = span_of(W)
    held = hold_out(span, 2, noise=task_differences(span, floor_at=1e-9).noise)
    assert held.ml is not None
    assert held.ml.left[3, 0] == pytest.approx(1e4 * np.sum(tasks.shifts[3] ** 2), rel=1e-6)


def test_ranks_that_are_not_known_are_not_made_up() -> None:
    left = np.array([100.0, 60.0, 40.0])
    assert rank_for_share(left, (50, 50), share=0.9, variance=0.0, whole=100.0) is None
    assert rank_for_share(left, (50, 50), share=0.5, variance=0.0, whole=100.0) == 2
    assert rank_for_share(left, (50, 50), share=0.9, variance=0.04, whole=0.0) == 0  # nothing but noise


def test_relative_error_of_the_sketch_is_that_of_the_whole() -> None:
    tasks = planted(10, shape=(120, 100), k=2, sigma=0.2)
    bases = []
    for size in (256, 40):
        span = span_of(tasks.W, size=size)
        fit, _ = linear_surrogate(span, 2, noise=task_differences(span).noise)
        assert span.mean is not None
        bases.append(span.mean + span.lift(fit.A))
    assert relative(bases[1], bases[0]) <= 0.01
