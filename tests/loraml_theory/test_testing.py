"""The strategies: what they draw meets, or violates, what they say, and shrinks to a short readable call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from loraml_theory import testing
from loraml_theory.spectra import best_triple_separation, separation
from loraml_theory.structure import GroundTruth
from loraml_theory.testing import (
    boost_with,
    boosts,
    ground_truths,
    moments_with_spectrum,
    orthogonal_matrix,
    orthogonals,
    parameters,
    point,
    seeds,
    spectra,
    spectrum_of,
    structures_violating,
    truth_with_spectrum,
)


def joint(truth: GroundTruth) -> np.ndarray:
    return np.concatenate(list(truth.U_star), axis=1)


@given(ground_truths(independent=True, conditioning=4.0))
def test_independent_truths_have_full_column_rank_and_the_condition(truth: GroundTruth) -> None:
    values = np.linalg.svd(joint(truth), compute_uv=False)
    assert truth.d >= truth.k * (truth.T + 1) == values.size
    assert values[-1] >= 1 - 1e-12
    assert values[0] <= 4 * (1 + 1e-12)


@given(ground_truths(independent=False))
def test_dependent_truths_have_not(truth: GroundTruth) -> None:
    columns = truth.k * (truth.T + 1)
    assert columns > truth.d or np.linalg.matrix_rank(joint(truth), tol=1e-9) < columns


@pytest.mark.parametrize("assumption", ["independence", "triple", "two-task independence"])
@given(data=st.data())
def test_violating_structures_violate_and_keep_their_rank(assumption: Any, data: st.DataObject) -> None:
    truth = data.draw(structures_violating(assumption))
    if assumption == "independence":
        assert separation(truth.U_star) <= 1e-12
    elif assumption == "triple":
        assert truth.T >= 3
        assert best_triple_separation(truth.U_retraining) <= 1e-12
    else:
        assert truth.T == 2
        assert separation(truth.U_star[:2]) <= 1e-12
    # generic: the k-th singular value of a factor is below 1e-6 with a chance below 1e-5 a factor
    assert np.all(np.linalg.matrix_rank(truth.U_star, tol=1e-6) == truth.k)


def test_both_sides_are_drawn_where_neither_is_asked_for() -> None:
    def independent(truth: GroundTruth) -> bool:
        return bool(separation(truth.U_star) > 1e-9)

    first_found = settings(database=None, derandomize=True, phases=[Phase.generate])
    for condition in (independent, lambda truth: not independent(truth)):
        found = find(ground_truths(d=4, k=1, T=3), condition, settings=first_found)
        assert (found.d, found.k, found.T) == (4, 1, 3)


@given(seeds(), spectra(5), st.booleans())
def test_a_truth_has_its_spectrum(seed: int, spectrum: tuple[float, ...], free: bool) -> None:
    truth = truth_with_spectrum(d=6, k=2, T=3, spectrum=spectrum, seed=seed + 1, free_test_task=free)
    factor = np.concatenate(list(truth.U_retraining if free else truth.U_star), axis=1)
    values = np.linalg.svd(factor, compute_uv=False)
    assert values[:5] == pytest.approx(np.array(spectrum), rel=1e-12)
    assert np.all(values[5:] <= 1e-12)


@given(testing.moments(singular=None, conditioning=5.0))
def test_moments_are_consistent(m: Any) -> None:
    """W has its rows in the range of S, as least squares leaves it, and the condition is bounded on the range."""
    values = np.linalg.eigvalsh(m.S)
    positive = values[values > 1e-9]
    assert np.all(values >= -1e-12)
    assert positive.size == 0 or positive.max() <= 5 * positive.min() * (1 + 1e-9)
    assert m.C @ np.linalg.pinv(m.S, rcond=1e-9) == pytest.approx(m.W, abs=1e-12)
    assert np.all(m.noise >= 0)


@pytest.mark.parametrize("singular", [True, False])
@given(data=st.data())
def test_moments_are_singular_as_asked(singular: bool, data: st.DataObject) -> None:
    m = data.draw(testing.moments(singular=singular, weighted=False, tasks=2))
    assert np.all((np.linalg.matrix_rank(m.S, tol=1e-9) < m.S.shape[-1]) == singular)
    assert m.weights is None


@given(orthogonals(st.integers(1, 4)))
def test_orthogonals_are_orthogonal(Q: np.ndarray) -> None:
    assert pytest.approx(np.eye(len(Q)), abs=1e-14) == Q.T @ Q


@given(boosts(2, smallest=0.5, largest=1.0))
def test_boosts_have_rapidities_in_range(H: np.ndarray) -> None:
    values = np.log(np.linalg.svd(H, compute_uv=False))  # singular values exp(+-rapidity)
    assert np.all((np.abs(values) >= 0.5 - 1e-12) & (np.abs(values) <= 1 + 1e-12))


@given(parameters(d_out=2, d_in=st.integers(2, 3), rank=1, tasks=None, base=False))
def test_parameters_have_the_shapes_asked_for(at: Any) -> None:
    assert at.A is None
    assert at.U.shape == (2, 1)
    assert at.V is None or at.V.shape in ((2, 1), (3, 1))


def test_seed_zero_is_plain() -> None:
    assert np.array_equal(orthogonal_matrix(3), np.eye(3))
    assert np.array_equal(boost_with((0.0, 0.0)), np.eye(4))
    at = point(d_out=2, d_in=2, rank=1, tasks=2)
    assert at.U[:, :, 0].tolist() == [[1, 0], [1, 0]]
    repeated = truth_with_spectrum(d=3, k=1, T=3, spectrum=(1, 1))
    assert repeated.U_star[..., 0].tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0]]
    assert moments_with_spectrum(d_out=1, tasks=2, spectrum=(2.0,)).S.tolist() == [[[2.0]], [[2.0]]]


@pytest.mark.parametrize("length", [0, 1, 4])
def test_spectra_fall_from_the_largest_to_one(length: int) -> None:
    for shape in ("even", "one large", "one small"):
        values = spectrum_of(length, 3.0, shape)
        assert len(values) == length
        assert list(values) == sorted(values, reverse=True)
        assert all(1 <= value <= 3 for value in values)


def smallest(strategy: SearchStrategy[Any], condition: Callable[[Any], bool]) -> str:
    """Return how Hypothesis reports the smallest example that fails a test, on one line."""

    @settings(database=None, derandomize=True, phases=[Phase.generate, Phase.shrink], max_examples=500)
    @given(strategy)
    def check(example: Any) -> None:
        assert not condition(example)

    with pytest.raises(AssertionError) as failure:
        check()
    return " ".join("".join(failure.value.__notes__).split()).replace("( ", "(").replace(", )", ")")


def test_failing_examples_are_short_calls() -> None:
    shown = smallest(ground_truths(independent=True), lambda truth: truth.T >= 3)
    assert "truth_with_spectrum(d=4, k=1, T=3, spectrum=(1.0, 1.0, 1.0, 1.0), seed=0)" in shown
    shown = smallest(structures_violating("triple"), lambda _: True)
    assert "truth_with_spectrum(d=3, k=1, T=3, spectrum=(1.0, 1.0), seed=0, free_test_task=True)" in shown
    shown = smallest(boosts(1), lambda H: H[0, 0] > 1.1)
    assert "boost_with((1.0,), seed=0)" in shown or "boost_with((0.5,), seed=0)" in shown
    shown = smallest(testing.moments(d_out=1, d_in=2, tasks=2), lambda m: bool(np.all(m.W > 0.5)))
    assert "moments_with_spectrum(d_out=1, tasks=2, spectrum=(1.0, 1.0), n=inf, seed=0)" in shown


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: truth_with_spectrum(d=3, k=2, T=2, spectrum=(1,)), "spectrum: got 1 values, expected 2 to 3"),
        (lambda: truth_with_spectrum(d=3, k=1, T=2, spectrum=(1,) * 4), "spectrum: got 4 values, expected 1 to 3"),
        (lambda: structures_violating("luck").example(), "assumption: got 'luck', expected one of"),  # type: ignore[arg-type]
        (
            lambda: ground_truths(d=3, k=1, T=3, independent=True).example(),
            r"d: got 3, expected at least k\(T\+1\) = 4",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
def test_what_cannot_be_drawn_is_refused(call: Callable[[], Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        call()
