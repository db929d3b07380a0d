from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraml_theory.continual.chains import descent, forgotten, loss_matrix, orthogonal, sequential
from loraml_theory.continual.predictions import (
    between,
    expected_excess,
    expected_sequential,
    increments,
    orthogonal_forgetting,
    orthogonal_shifts,
    slope_at_convergence,
    slope_at_nothing,
    total_losses,
)
from loraml_theory.moments import population
from loraml_theory.testing import seeds
from tests.loraml_theory.conftest import Backend


def factors(seed: int, *, d: int = 8, k: int = 2, T: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((T, d, k))


def shifts(U: np.ndarray) -> np.ndarray:
    return U @ U.swapaxes(-1, -2)


@given(seeds(), st.floats(0, 1.9), st.integers(0, 5))
def test_what_descent_keeps_is_a_geometric_mean(seed: int, step_size: float, steps: int) -> None:
    R = shifts(factors(seed))
    rho = (1 - step_size) ** steps
    expected = sum((1 - rho) * rho ** (2 - t) * R[t] for t in range(3))
    assert between(R, rho) == pytest.approx(expected, abs=1e-12)
    if step_size > 0:
        walked = descent(population(R), np.zeros((8, 8)), step_size=step_size, steps=steps)[-1]
        assert walked == pytest.approx(expected, abs=1e-11)


@given(seeds())
def test_slopes_are_those_of_the_average_loss(seed: int) -> None:
    R, h = shifts(factors(seed)), 1e-5

    def average(rho: float) -> float:
        return float(np.mean(np.sum((between(R, rho) - R) ** 2, axis=(-2, -1)))) / 2

    for at, slope in ((0, slope_at_convergence(R)), (1, slope_at_nothing(R))):
        assert float(slope) == pytest.approx((average(at + h) - average(at - h)) / (2 * h), rel=1e-6, abs=1e-5)


@given(seeds(), st.integers(1, 3), st.integers(2, 4))
def test_increments_project_on_what_each_task_adds(seed: int, k: int, T: int) -> None:
    U = factors(seed, k=k, T=T)
    E = increments(U)
    joint = np.concatenate(list(U), axis=1)
    left, values, _ = np.linalg.svd(joint)
    rank = min(8, k * T)
    assert np.sum(E, axis=0) == pytest.approx(left[:, :rank] @ left[:, :rank].T, abs=1e-12 / values[rank - 1])
    for t in range(T):
        assert E[t] @ E[t] == pytest.approx(E[t], abs=1e-12)
        assert round(float(np.trace(E[t]))) == max(0, min(k, 8 - k * t))


def test_a_task_met_again_adds_nothing() -> None:
    U = factors(0)[[0, 1, 0, 1]]
    assert increments(U)[2:] == pytest.approx(0, abs=1e-13)


@given(seeds())
def test_predictions_are_what_the_chains_do(seed: int) -> None:
    U = factors(seed)
    R, E, moments, base = shifts(U), increments(U), population(shifts(U)), np.zeros((8, 8))
    ours, theirs = orthogonal(moments, base, 2), sequential(moments, base, 2)
    size = float(np.max(np.abs(R)))
    assert orthogonal_shifts(R, E) == pytest.approx(ours, abs=1e-10 * size)
    stopped = descent(moments, base, step_size=0.2, steps=2, orthogonal_rows=True)
    assert stopped == pytest.approx((1 - 0.8**2) * ours, abs=1e-10 * size)
    losses = loss_matrix(moments, base, ours)
    assert orthogonal_forgetting(R, E) == pytest.approx(forgotten(losses), rel=1e-9)
    totals = total_losses(R, E)
    assert float(totals[0]) == pytest.approx(float(np.sum(losses[-1])), rel=1e-9)
    assert float(totals[1]) == pytest.approx(float(np.sum(loss_matrix(moments, base, theirs)[-1])), rel=1e-9)


@pytest.mark.parametrize(("d", "k", "T"), [(5, 1, 2), (4, 4, 3), (2, 2, 4)])
def test_nothing_is_expected_to_be_lost_more_at_two_tasks_or_where_a_task_fills_the_space(
    d: int, k: int, T: int
) -> None:
    assert expected_excess(d, k, T) == 0


@pytest.mark.parametrize(("d", "k", "T"), [(5, 1, 3), (5, 2, 4), (6, 2, 3)])
def test_expected_losses_are_means_of_normal_factors(d: int, k: int, T: int) -> None:
    U = np.random.default_rng(0).standard_normal((20_000, T, d, k))
    ours, theirs = total_losses(shifts(U), increments(U))
    for sample, predicted in ((ours - theirs, expected_excess(d, k, T)), (theirs, expected_sequential(d, k, T))):
        # six standard errors; the seed is fixed
        assert float(np.mean(sample)) == pytest.approx(predicted, abs=6 * float(np.std(sample)) / 20_000**0.5)


@pytest.mark.libraries
def test_every_library_gives_the_same(backend: Backend) -> None:
    U = np.stack([factors(0), factors(1)])

    def everything(U: Any) -> list[Any]:
        R, E = U @ U.mT, increments(U)
        some = [between(R, 0.3), slope_at_convergence(R), slope_at_nothing(R), E, orthogonal_shifts(R, E)]
        return [*some, orthogonal_forgetting(R, E), *total_losses(R, E)]

    for ours, theirs in zip(everything(U), everything(backend.put(U)), strict=True):
        assert backend.get(theirs) == pytest.approx(ours, abs=1e-10)
