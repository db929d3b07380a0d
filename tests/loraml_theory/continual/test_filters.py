from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraml_theory.continual.filters import diagonal, haar, haar_low_band, heat, noise_level, wiener
from loraml_theory.testing import orthogonal_matrix, seeds
from tests.loraml_theory.conftest import Backend

EPS = float(np.finfo(float).eps)
shapes = st.tuples(st.integers(1, 7), st.integers(1, 9))


def haar_matrix(n: int) -> np.ndarray:
    """Return the orthogonal Haar matrix of an even n: averages first, then differences."""
    half = np.kron(np.eye(n // 2), np.array([1.0, 1.0])) / np.sqrt(2)
    return np.concatenate([half, np.kron(np.eye(n // 2), np.array([1.0, -1.0])) / np.sqrt(2)])


@given(seeds(), shapes)
def test_haar_is_the_transform_scaled_and_transformed_back(seed: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    A = rng.standard_normal(shape)
    rows, columns = (-(-size // 2) for size in shape)
    theta = rng.standard_normal((rows, columns))
    padded = np.zeros((2 * rows, 2 * columns))
    padded[: shape[0], : shape[1]] = A
    left, right = haar_matrix(2 * rows), haar_matrix(2 * columns)
    bands = left @ padded @ right.T
    assert haar_low_band(A) == pytest.approx(bands[:rows, :columns], abs=1e-13)
    bands[:rows, :columns] *= theta
    assert haar(A, theta) == pytest.approx((left.T @ bands @ right)[: shape[0], : shape[1]], abs=1e-13)


@given(seeds(), shapes)
def test_haar_moves_no_singular_value_by_more_than_its_bound_and_returns_at_one(
    seed: int, shape: tuple[int, int]
) -> None:
    rng = np.random.default_rng(seed)
    A = rng.standard_normal(shape)
    theta = rng.standard_normal((-(-shape[0] // 2), -(-shape[1] // 2)))
    change = haar(A, theta) - A
    bound = float(np.max(np.abs(theta - 1)) * np.linalg.norm(A))
    assert np.linalg.norm(change) <= bound * (1 + 1e-13)
    assert np.linalg.matrix_rank(change, tol=1e-12) <= -(-shape[0] // 2)
    moved = np.linalg.svd(haar(A, theta), compute_uv=False) - np.linalg.svd(A, compute_uv=False)
    assert np.max(np.abs(moved)) <= bound + 1e-13
    assert np.array_equal(haar(A, np.ones(theta.shape)), A)


@given(seeds(), shapes)
def test_diagonal_scales_columns_and_keeps_singular_values_within_its_bounds(seed: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    A, g = rng.standard_normal(shape), rng.standard_normal(shape[1])
    assert np.array_equal(diagonal(A, g), A * g)
    values, new = (np.linalg.svd(M, compute_uv=False) for M in (A, diagonal(A, g)))
    assert np.all(new <= np.max(np.abs(g)) * values + 1e-13)
    if shape[0] <= shape[1]:
        assert np.all(new >= np.min(np.abs(g)) * values - 1e-13)


@given(seeds(), st.integers(1, 4), st.integers(0, 5))
def test_wiener_subtracts_from_singular_values_and_keeps_vectors(seed: int, r: int, more: int) -> None:
    rng = np.random.default_rng(seed)
    values = 1 + rng.random(r)
    left, right = orthogonal_matrix(r + more, seed=seed)[:, :r], orthogonal_matrix(r, seed=seed + 1)
    Y = (left * values) @ right.T
    assert wiener(Y, 0.7) == pytest.approx((left * (values - 0.49 / values)) @ right.T, abs=1e-13)
    assert float(noise_level(Y)) == pytest.approx(values.min(), rel=1e-13)


@given(seeds(), st.integers(1, 4), st.integers(1, 6), st.integers(1, 6), st.floats(-6, 3))
def test_heat_damps_singular_values_of_the_shift(seed: int, r: int, m: int, n: int, power: float) -> None:
    rng = np.random.default_rng(seed)
    A, B, s = rng.standard_normal((r, n)), rng.standard_normal((m, r)), 10.0**power
    left, values, right = np.linalg.svd(B @ A, full_matrices=False)
    expected = (left * (-values * np.expm1(-s * values**2))) @ right
    # the exponent's products lose eps of the factors' norms, which heat multiplies by ||A|| ||B||
    size = float(np.linalg.norm(A) * np.linalg.norm(B))
    tolerance = 200 * EPS * size * (1 + s * size**2)
    assert B @ heat(A, B, s) == pytest.approx(expected, abs=tolerance)


def test_heat_keeps_relative_accuracy_where_it_damps_strongly() -> None:
    A, B = np.diag([1e-6, 1.0]), np.eye(2)
    assert heat(A, B, 1.0)[0, 0] == pytest.approx(1e-18, rel=1e-11)


def test_heat_of_nothing_is_nothing_and_of_all_time_is_the_factor() -> None:
    A, B = np.eye(2, 3), np.eye(4, 2)
    assert np.array_equal(heat(A, 0 * B, 1.0), 0 * A)
    assert heat(A, B, 1e3) == pytest.approx(A, abs=1e-13)


def filtered(A: Any, B: Any, theta: Any, g: Any, numbers: Any) -> list[Any]:
    tall = A.mT
    return [haar(A, theta), diagonal(A, g), wiener(tall, numbers), noise_level(tall), heat(A, B, numbers)]


@pytest.mark.libraries
def test_every_library_gives_the_same(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    parts = tuple(rng.standard_normal(shape) for shape in ((2, 3, 5), (2, 4, 3), (2, 2, 3), (5,), (2,)))
    parts = (*parts[:4], 0.1 + parts[4] ** 2)
    for ours, theirs in zip(filtered(*parts), filtered(*backend.put(parts)), strict=True):
        assert backend.get(theirs) == pytest.approx(ours, abs=1e-12)


@pytest.mark.libraries
def test_torch_differentiates_every_filter_also_where_singular_values_coincide() -> None:
    torch = pytest.importorskip("torch")
    A = torch.eye(3, 5, dtype=torch.float64).requires_grad_()
    B = torch.eye(4, 3, dtype=torch.float64).requires_grad_()
    theta = torch.full((2, 3), 0.9, dtype=torch.float64).requires_grad_()
    g = torch.linspace(0.5, 1.5, 5, dtype=torch.float64).requires_grad_()
    level = torch.tensor(0.3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(haar, (A, theta))
    assert torch.autograd.gradcheck(diagonal, (A, g))
    assert torch.autograd.gradcheck(lambda Y, sigma: wiener(Y.mT, sigma), (A, level))
    assert torch.autograd.gradcheck(heat, (A, B, level))


@pytest.mark.libraries
def test_single_precision_stays_single() -> None:
    torch = pytest.importorskip("torch")
    A, B = torch.ones(2, 4) + torch.eye(2, 4), torch.eye(3, 2)
    every = [haar(A, torch.ones(1, 2)), diagonal(A, torch.ones(4)), wiener(A.mT, 0.1), heat(A, B, 1.0)]
    assert {result.dtype for result in every} == {torch.float32}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda A: haar(A, np.ones((3, 2))), "theta: got shape (3, 2), expected (2, 2)"),
        (lambda A: haar(A, np.ones((1, 1, 2, 2))), "theta: got shape (1, 1, 2, 2), expected (2, 2)"),
        (lambda A: haar(A[0], np.ones(2)), "M: got shape (4,), expected a matrix"),
        (lambda A: diagonal(A, np.ones(3)), "g: got shape (3,), expected (..., 4)"),
        (lambda A: diagonal(A[:0], np.ones(4)), "A: got shape (0, 4), expected a matrix"),
        (lambda A: wiener(A, 0.1), "Y: got shape (3, 4), expected (..., m, r) with m >= r"),
        (lambda A: noise_level(A), "Y: got shape (3, 4), expected (..., m, r) with m >= r"),
        (lambda A: heat(A, np.ones((5, 2)), 1.0), "A, B: got shapes (3, 4) and (5, 2), expected"),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared
        call(np.ones((3, 4)))
    assert message in str(caught.value)
