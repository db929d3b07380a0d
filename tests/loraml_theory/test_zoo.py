from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraml_theory import zoo
from loraml_theory.adapters import Parameters
from loraml_theory.moments import population
from loraml_theory.objectives import LoRAML
from loraml_theory.spectra import best_triple_separation, separation
from loraml_theory.testing import seeds

EPS = float(np.finfo(float).eps)
GENERAL = sorted(set(zoo.KINDS) - {"spurious"})


@pytest.mark.parametrize("kind", GENERAL)
@given(seed=seeds(), k=st.integers(1, 3), T=st.integers(2, 5))
def test_every_kind_has_the_sizes_asked_for_and_one_seed_one_truth(kind: str, seed: int, k: int, T: int) -> None:
    d = k * (T + 1) + 1
    truth, again = (zoo.KINDS[kind](np.random.default_rng(seed), d, k, T) for _ in range(2))
    assert (truth.d, truth.k, truth.T) == (d, k, T)
    assert np.array_equal(truth.U_star, again.U_star)
    assert np.array_equal(truth.A_star, again.A_star)
    other = zoo.KINDS[kind](np.random.default_rng(seed + 1), d, k, T)
    assert not np.array_equal(truth.A_star, other.A_star)


@pytest.mark.parametrize("kind", zoo.KINDS)
def test_a_batch_holds_truths_of_the_kind_that_differ(kind: str) -> None:
    batch = zoo.KINDS[kind](np.random.default_rng(0), 8, 1, 3, batch=(2, 3))
    assert (batch.A_star.shape, batch.U_star.shape) == ((2, 3, 8, 8), (2, 3, 4, 8, 1))
    same = kind == "spurious"
    assert np.array_equal(batch.U_star[0, 0], batch.U_star[1, 2]) == same
    alone = zoo.KINDS[kind](np.random.default_rng(0), 8, 1, 3)
    of_one = zoo.KINDS[kind](np.random.default_rng(0), 8, 1, 3, batch=(1,))
    assert np.array_equal(of_one.A_star[0], alone.A_star)
    assert np.array_equal(of_one.U_star[0], alone.U_star)


@pytest.mark.parametrize("kind", ["generic", "asymmetric", "orthogonal", "scaled"])
@given(seed=seeds())
def test_generic_kinds_are_independent(kind: str, seed: int) -> None:
    """The smallest of 8 normalised singular values in d = 20 is below 1e-6 with a chance below 1e-9."""
    assert separation(zoo.KINDS[kind](np.random.default_rng(seed), 20, 2, 3).U_star) > 1e-6


@given(seeds())
def test_what_tells_the_kinds_apart(seed: int) -> None:
    rng = np.random.default_rng(seed)
    generic, asymmetric = zoo.generic(rng, 9, 2, 3), zoo.asymmetric(rng, 9, 2, 3)
    assert np.array_equal(generic.A_star, generic.A_star.T)
    assert np.max(np.abs(asymmetric.A_star - asymmetric.A_star.T)) > 0.1
    orthogonal = zoo.orthogonal(rng, 9, 2, 3)
    joint = np.concatenate(list(orthogonal.U_star), axis=1)
    assert joint.T @ joint == pytest.approx(np.eye(8), abs=1e-14)
    scaled = zoo.scaled(rng, 9, 2, 3)
    norms = np.linalg.norm(scaled.U_star, axis=(1, 2))
    assert 1e4 < norms[-2] / norms[0] < 1e6


@given(seeds(), st.integers(3, 6), st.integers(1, 2))
def test_dependent_kinds_have_no_independent_triple(seed: int, T: int, k: int) -> None:
    for kind in ("repeated-task", "dependent"):
        truth = zoo.KINDS[kind](np.random.default_rng(seed), 10, k, T)
        assert best_triple_separation(truth.U_retraining) <= 1e-13
    repeated = zoo.repeated_task(np.random.default_rng(seed), 10, k, T)
    assert np.array_equal(repeated.U_star[2], repeated.U_star[0])
    assert not np.array_equal(repeated.U_star[-1], repeated.U_star[-3])


@given(seeds(), st.integers(2, 6), st.integers(1, 3), st.integers(0, 3))
def test_the_second_minimiser_fits_and_is_another(seed: int, T: int, k: int, more: int) -> None:
    truth, A, U = zoo.second_minimiser(np.random.default_rng(seed), 2 * k + more, k, T)
    scale = float(truth.scale) + float(np.linalg.norm(A))
    f = LoRAML(population(truth.W_retraining))
    assert f.value(Parameters(A, U)) <= (100 * truth.d * EPS * scale) ** 2
    assert np.max(np.abs(A + U @ np.swapaxes(U, -1, -2) - truth.W_retraining)) <= 100 * truth.d * EPS * scale
    # A - A* = Q J Q^T with Q standard normal, 2k columns
    assert np.linalg.norm(A - truth.A_star) > 1e-3


def test_the_spurious_instance_is_the_integer_one() -> None:
    truth = zoo.spurious(np.random.default_rng(0), 5, 1, 3)
    assert truth.U_star[:, :, 0].tolist() == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, -1, 1, 0, 0], [0, 0, 0, 0, 1]]
    assert np.all(truth.A_star == 0)


@pytest.mark.parametrize(
    ("make", "sizes", "text"),
    [
        (zoo.generic, (3, 4, 2), "k: got 4, expected 1 <= k <= d = 3"),
        (zoo.generic, (3, 0, 2), "k: got 0, expected a whole number >= 1"),
        (zoo.scaled, (3, 1, 1), "T: got 1, expected a whole number >= 2"),
        (zoo.orthogonal, (3, 1, 3), r"orthogonal: got k\(T\+1\) = 4, expected at most d = 3"),
        (zoo.dependent, (3, 2, 3), "dependent: got 2k = 4, expected at most d = 3"),
        (zoo.spurious, (4, 1, 2), "spurious: got d = 4, k = 1, T = 2, expected d >= 3, k = 1, T = 3"),
    ],
)
def test_sizes_that_a_kind_cannot_have_are_refused(make: Callable[..., Any], sizes: tuple[int, ...], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make(np.random.default_rng(0), *sizes)
