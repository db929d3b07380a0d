from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraml_theory import testing
from loraml_theory.moments import (
    Moments,
    from_samples,
    population,
    symmetric_power,
)
from loraml_theory.objectives import task_losses
from loraml_theory.structure import frobenius
from loraml_theory.testing import moments_with_spectrum, orthogonal_matrix, seeds

EPS = float(np.finfo(float).eps)


def samples(seed: int, *, d_out: int, d_in: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw data that no linear model fits exactly."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((d_in, n)), rng.standard_normal((d_out, n))


sizes = st.fixed_dictionaries({"d_out": st.integers(1, 4), "d_in": st.integers(1, 4), "n": st.integers(1, 12)})


@given(seeds(), sizes)
def test_moments_of_samples_are_their_definitions(seed: int, size: dict[str, int]) -> None:
    X, Y = samples(seed, **size)
    m = from_samples(X, Y)
    n = size["n"]
    assert m.n == n
    # entries are at most about 5 in size and sums have at most 12 terms; W S and tr(W S W^T) lose the condition
    # of S, whose small eigenvalues n >= d_in bounds only in distribution: relative to the sizes of the factors
    amplification = 1 + float(np.linalg.norm(m.W)) ** 2
    assert pytest.approx(X @ X.T / n, abs=1e-13) == m.S
    assert pytest.approx(Y @ X.T / n, abs=1e-12 * amplification) == m.C
    assert m.yy == pytest.approx(np.sum(Y**2) / n, abs=1e-12 * amplification)


@given(seeds(), sizes)
def test_least_squares_of_samples_is_lstsq_also_where_inputs_are_singular(seed: int, size: dict[str, int]) -> None:
    X, Y = samples(seed, **size)
    expected = np.linalg.lstsq(X.T, Y.T, rcond=None)[0].T
    values = np.linalg.svd(X, compute_uv=False)
    # normal equations square the condition number of X
    assert pytest.approx(expected, abs=1e-13 * (values[0] / values[-1]) ** 2 + 1e-12) == from_samples(X, Y).W


@given(seeds(), sizes)
def test_loss_of_moments_is_the_mean_loss_of_the_samples(seed: int, size: dict[str, int]) -> None:
    X, Y = samples(seed, **size)
    m = from_samples(X, Y)
    M = np.random.default_rng(seed + 1).standard_normal((size["d_out"], size["d_in"]))
    direct = np.sum((Y - M @ X) ** 2) / (2 * size["n"])
    assert task_losses(m, M) == pytest.approx(direct, abs=1e-12 * (1 + float(np.linalg.norm(m.W)) ** 2))


@given(testing.moments(singular=None), st.floats(1e-3, 10), seeds())
def test_ridge_is_the_explicit_penalty(m: Moments, strength: float, seed: int) -> None:
    M = np.random.default_rng(seed).standard_normal(m.W.shape)
    expected = task_losses(m, M) + strength / 2 * frobenius(M) ** 2
    assert task_losses(m.ridge(strength), M) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_ridge_zero_changes_nothing_and_bad_strengths_are_refused() -> None:
    m = moments_with_spectrum(d_out=1, tasks=2, spectrum=(1.0, 1.0))
    assert m.ridge(0.0) is m
    for strength in (-1.0, inf, float("nan")):
        with pytest.raises(ValueError, match=f"ridge: got {strength}, expected a finite number >= 0"):
            m.ridge(strength)


@given(testing.moments(singular=None), seeds())
def test_around_shifts_the_parameter(m: Moments, seed: int) -> None:
    rng = np.random.default_rng(seed)
    base, M = rng.standard_normal(m.W.shape[-2:]), rng.standard_normal(m.W.shape)
    assert task_losses(m.around(base), M - base) == pytest.approx(task_losses(m, M), rel=1e-12, abs=1e-12)


@given(testing.moments(tasks=3))
def test_task_picks_one(m: Moments) -> None:
    last = m.task(-1)
    assert np.array_equal(last.W, m.W[2])
    assert np.array_equal(last.S, m.S[2])
    assert last.noise == m.noise[2]
    assert last.n == (m.n[2] if isinstance(m.n, tuple) else m.n)


@pytest.mark.parametrize(
    ("n", "weights"),
    [(5.0, None), (inf, None), ((5.0, 5.0), None), ((inf, inf), None), ((1.0, 3.0), (0.5, 1.5))],
)
def test_weights_have_mean_one(n: Any, weights: tuple[float, ...] | None) -> None:
    assert moments_with_spectrum(d_out=1, tasks=2, spectrum=(1.0,), n=n).weights == weights


def test_finite_and_infinite_samples_do_not_mix() -> None:
    m = moments_with_spectrum(d_out=1, tasks=2, spectrum=(1.0,), n=(3.0, inf))
    with pytest.raises(ValueError, match=r"n: got \(3.0, inf\), expected all tasks finite or all infinite"):
        _ = m.weights


@given(st.integers(1, 5), st.data())
def test_symmetric_powers_are_of_the_range(d: int, data: st.DataObject) -> None:
    rank = data.draw(st.integers(0, d))
    Q = orthogonal_matrix(d, seed=data.draw(seeds()))
    values = np.concatenate([np.linspace(1, 4, rank), np.zeros(d - rank)])
    S = (Q * values) @ Q.T
    projector = Q[:, :rank] @ Q[:, :rank].T
    # backward stable eigendecompositions of condition 4
    root = symmetric_power(S, 0.5)
    assert np.matmul(root, root) == pytest.approx(S, abs=1e-13)
    assert np.matmul(root, symmetric_power(S, -0.5)) == pytest.approx(projector, abs=1e-13)
    assert symmetric_power(S, -1) == pytest.approx(np.linalg.pinv(S, rcond=1e-10), abs=1e-13)


def test_population_of_a_known_truth() -> None:
    m = population(np.ones((2, 3, 4)), sigma_x=2.0, sigma=0.5)
    assert np.array_equal(m.S[1], 4 * np.eye(4))
    assert m.noise == pytest.approx([0.75, 0.75])
    assert m.n == inf
    # y = W x + eps: E|y|^2 = sigma_x^2 ||W||_F^2 + sigma^2 d_out
    assert m.yy == pytest.approx([4 * 12 + 0.75] * 2)


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"sigma_x": 0.0}, ValueError, "sigma_x: got 0.0, expected a finite number > 0"),
        ({"sigma": -1.0}, ValueError, "sigma: got -1.0, expected a finite number >= 0"),
        ({"W": np.ones((2, 2), int)}, TypeError, "W: got dtype int64, expected float64"),
    ],
)
def test_population_refuses_what_makes_no_sense(changes: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        population(**{"W": np.eye(2)} | changes)


@pytest.mark.parametrize(
    ("X", "Y", "error", "text"),
    [
        (np.ones((2, 3)), np.ones((2, 4)), ValueError, r"X, Y: got shapes \(2, 3\) and \(2, 4\), expected"),
        (np.ones((2, 0)), np.ones((2, 0)), ValueError, r"got shapes \(2, 0\).*n >= 1"),
        (np.ones(3), np.ones((2, 3)), ValueError, r"got shapes \(3,\)"),
        (np.ones((5, 2, 3)), np.ones((2, 3)), ValueError, r"got shapes \(5, 2, 3\)"),
        ([[1.0]], np.ones((1, 1)), TypeError, "X: got list, expected an array of float64"),
        (np.ones((1, 1)), np.full((1, 1), np.nan), ValueError, "Y: holds NaN or infinity"),
    ],
)
def test_samples_that_do_not_fit_are_refused(X: Any, Y: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        from_samples(X, Y)


def test_moments_are_frozen() -> None:
    m = moments_with_spectrum(d_out=1, tasks=None, spectrum=(1.0,))
    with pytest.raises(AttributeError):
        m.n = 3.0  # type: ignore[misc]
    assert replace(m, n=3.0).n == 3.0


@pytest.mark.parametrize("d", [1, 3])
def test_the_variance_is_there_where_all_inputs_vary_alike(d: int) -> None:
    """Then a product with S is a scaling; anything else is None, for which the product is a product."""
    eye = np.eye(d)

    def variance(S: np.ndarray) -> float | None:
        return Moments(S, np.zeros_like(S), np.zeros(S.shape[:-2]), inf).variance

    assert variance(2.5 * eye) == 2.5
    assert variance(np.stack([2.5 * eye, 2.5 * eye])) == 2.5
    assert variance(np.stack([2.5 * eye, 2.0 * eye])) is None
    assert variance(0.0 * eye) is None
    assert variance(-eye) is None
    assert variance(np.zeros((0, d, d))) is None
    if d > 1:
        off = eye.copy()
        off[0, 1] = 1e-300
        assert variance(off) is None
        assert variance(np.diag([1.0, 1.0, 2.0])) is None


def test_eigenvalues_count_as_zero_relative_to_the_dimension_also_in_a_batch() -> None:
    """Of 40 dimensions 30 eps is rounding, 50 eps is not."""
    small = np.array([30 * EPS, 50 * EPS])
    S = np.stack([np.diag(np.append(np.ones(39), value)) for value in small])[None, :]
    kept = np.asarray(symmetric_power(S, 0.0))
    assert np.trace(kept[0], axis1=1, axis2=2) == pytest.approx([39, 40])
