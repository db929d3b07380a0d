"""Adapters of too large a rank: the family of minimisers, and bases outside it."""

from __future__ import annotations

import numpy as np
import pytest

from loraml_theory import zoo
from loraml_theory.adapters import Parameters
from loraml_theory.excess_rank import (
    family_dimension,
    family_point,
    outside_asymmetric_family,
    outside_family,
    tasks_needed,
)
from loraml_theory.moments import population
from loraml_theory.objectives import LoRAML
from loraml_theory.rates import off_tangent_spectrum
from loraml_theory.structure import GroundTruth


def generic(k: int, T: int, *, batch: tuple[int, ...] = ()) -> GroundTruth:
    return zoo.generic(np.random.default_rng([k, T]), k * (T + 1) + 1, k, T, batch=batch)


def signs(M: np.ndarray) -> tuple[int, int]:
    values = np.linalg.eigvalsh(M)
    return int(np.sum(values > 1e-9)), int(np.sum(values < -1e-9))


def test_the_family_has_zero_loss_in_batches() -> None:
    truth = generic(2, 4, batch=(3,))
    P = np.random.default_rng(0).standard_normal((3, truth.d, 2))
    A, U = family_point(truth.A_star, truth.U_retraining, P)
    assert U.shape == (3, 4, truth.d, 4)
    np.testing.assert_allclose(LoRAML(population(truth.W_retraining)).value(Parameters(A=A, U=U)), 0, atol=1e-24)


@pytest.mark.parametrize(("k", "T"), [(1, 2), (1, 3), (1, 5), (2, 3), (2, 4), (3, 3)])
def test_one_task_fewer_leaves_another_base(k: int, T: int) -> None:
    truth = generic(k, T)
    r = k + T - 2
    assert tasks_needed(k, r) == T + 1
    N = outside_family(truth.U_retraining)
    assert signs(N) == (r - k + 1, 1)
    assert [signs(N + R_t) for R_t in truth.R] == [(r, 0)] * T + [(r + 1, 1)]


@pytest.mark.parametrize(("k", "q"), [(1, 1), (1, 2), (1, 3), (2, 2), (3, 2)])
def test_one_task_fewer_leaves_another_base_for_asymmetric_adapters(k: int, q: int) -> None:
    truth = generic(k, 2 * q)
    r = k + q - 1
    assert tasks_needed(k, r, symmetric=False) == 2 * q + 1
    N = outside_asymmetric_family(truth.U_retraining)
    assert np.linalg.matrix_rank(N) == r - k + 1
    assert [int(rank) for rank in np.linalg.matrix_rank(N + truth.R)] == [r] * (2 * q) + [r + 1]


@pytest.mark.parametrize("excess", [1, 2, 3])
def test_the_family_has_its_dimension(excess: int) -> None:
    truth = generic(1, 6)
    P = np.random.default_rng(1).standard_normal((truth.d, excess))
    spectrum = off_tangent_spectrum(GroundTruth(*family_point(truth.A_star, truth.U_star, P)))
    free = family_dimension(truth.d, excess)
    assert spectrum[free - 1] < 1e-12 < 1e-3 < spectrum[free]
