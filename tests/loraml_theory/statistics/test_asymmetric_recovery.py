"""Recovery of the base from shifts U V^T of rectangular matrices: exact, batched, and known where it fails."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraml_theory.statistics.asymmetric_recovery import asymmetric_recovery
from loraml_theory.testing import seeds
from tests.loraml_theory.conftest import Backend
from tests.loraml_theory.planted import planted, relative

pytestmark = pytest.mark.libraries

EPS = float(np.finfo(float).eps)


@given(seeds(), st.integers(1, 3), st.integers(3, 5), st.integers(0, 4), st.integers(0, 9))
def test_recovery_is_exact_up_to_its_condition(seed: int, k: int, T: int, more_rows: int, more_columns: int) -> None:
    tasks = planted(seed, T=T, shape=(3 * k + more_rows, 3 * k + more_columns), k=k)
    found = asymmetric_recovery(tasks.W, k)
    size = float(np.max(np.linalg.norm(tasks.W, axis=(1, 2))))
    shifts = found.U @ np.swapaxes(found.V, -1, -2)
    assert np.linalg.norm(found.A - tasks.A) <= 100 * EPS * found.condition * size
    assert np.max(np.abs(shifts - tasks.shifts)) <= 100 * EPS * found.condition * size


def test_recovery_on_every_backend_and_batch(backend: Backend) -> None:
    W = np.stack([planted(seed, T=3, shape=(7, 9), k=2).W for seed in range(3)])
    found = backend.get(asymmetric_recovery(backend.put(W), 2))
    for i in range(3):
        alone = asymmetric_recovery(W[i], 2)
        assert relative(found.A[i], alone.A) <= 1e-8
        assert relative(found.A[i], planted(i, T=3, shape=(7, 9), k=2).A) <= 1e-8


@pytest.mark.parametrize("side", ["columns", "rows", "both"])
def test_a_dependent_triple_has_no_finite_condition(side: str) -> None:
    rng = np.random.default_rng(0)
    U, V = rng.standard_normal((3, 8, 2)), rng.standard_normal((3, 9, 2))
    if side != "rows":
        U[2] = U[0] @ rng.standard_normal((2, 2)) + U[1] @ rng.standard_normal((2, 2))
    if side != "columns":
        V[2] = V[0]
    assert np.isinf(asymmetric_recovery(U @ np.swapaxes(V, -1, -2), 2).condition)


def test_noise_moves_the_base_by_as_much() -> None:
    errors = []
    for seed in range(20):
        tasks = planted(seed, T=4, shape=(20, 30), k=3, sigma=1e-3)
        errors.append(np.linalg.norm(asymmetric_recovery(tasks.W, 3).A - tasks.A) / (1e-3 * (20 * 30 / 4) ** 0.5))
    assert 1 <= np.median(errors) <= 2  # 1.3; no estimator is below 1 on the average


@pytest.mark.parametrize(("T", "k"), [(2, 1), (3, 0), (3, 3)])
def test_what_cannot_be_recovered_is_refused(T: int, k: int) -> None:
    with pytest.raises(ValueError, match="W, k: got T = "):
        asymmetric_recovery(np.zeros((T, 8, 9)), k)
