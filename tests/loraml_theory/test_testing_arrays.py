"""The strategies of whole numbers, of other test tasks, and in other array libraries."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraml_theory import testing
from loraml_theory.exact import rank, rationals
from loraml_theory.spectra import separation
from loraml_theory.structure import GroundTruth
from loraml_theory.testing import (
    boosts,
    ground_truths,
    in_namespace,
    integer_truth,
    orthogonals,
    parameters,
    structures_violating,
    test_tasks,
)

DOCS = Path(__file__).parents[2] / "docs"


def rank_of(U: np.ndarray) -> int:
    return rank(rationals(np.concatenate(list(U), axis=1)))


@given(ground_truths(exact=True, independent=True))
def test_exact_truths_are_whole_numbers_and_independent_over_the_rationals(truth: GroundTruth) -> None:
    assert np.array_equal(truth.U_star, np.round(truth.U_star))
    assert np.array_equal(truth.A_star, np.round(truth.A_star))
    assert rank_of(truth.U_star) == truth.k * (truth.T + 1) <= truth.d


@given(ground_truths(exact=True, independent=False))
def test_exact_truths_are_dependent_where_asked(truth: GroundTruth) -> None:
    assert rank_of(truth.U_star) < truth.k * (truth.T + 1)
    assert all(rank_of(U[None]) == truth.k for U in truth.U_star)


@pytest.mark.parametrize(("assumption", "tasks"), [("triple", 3), ("two-task independence", 2)])
@given(data=st.data())
def test_exact_structures_violate_over_the_rationals(assumption: Any, tasks: int, data: st.DataObject) -> None:
    truth = data.draw(structures_violating(assumption, exact=True))
    assert rank_of(truth.U_retraining) < tasks * truth.k
    assert all(rank_of(U[None]) == truth.k for U in truth.U_star)


def test_exact_truths_of_every_rank_have_it() -> None:
    for seed in range(6):
        for q in range(2, 7):
            assert rank_of(integer_truth(d=7, k=2, T=2, rank=q, seed=seed).U_star) == q


@given(st.data(), st.booleans())
def test_another_test_task_is_independent_or_is_not(data: st.DataObject, independent: bool) -> None:
    truth = data.draw(ground_truths(d=9, k=st.integers(1, 2), T=3, independent=True))
    other = data.draw(test_tasks(truth, independent=independent))
    assert other.A_star is truth.A_star
    assert np.array_equal(other.U_retraining, truth.U_retraining)
    assert (float(separation(other.U_star)) > 1e-6) == independent
    assert np.linalg.matrix_rank(other.U_star[-1]) == truth.k


def test_both_kinds_of_test_tasks_are_drawn_where_there_is_room() -> None:
    seen = set()

    @settings(max_examples=30, database=None)
    @given(test_tasks(testing.truth_with_spectrum(d=4, k=1, T=2, spectrum=(1, 1, 1))))
    def draw(truth: GroundTruth) -> None:
        seen.add(float(separation(truth.U_star)) > 1e-9)

    draw()
    assert seen == {True, False}


def libraries() -> list[ModuleType]:
    import torch

    return [np, array_api_strict, torch]


@pytest.mark.parametrize("xp", libraries(), ids=lambda xp: xp.__name__)
@settings(max_examples=10)
@given(data=st.data())
def test_everything_is_drawn_in_the_library_asked_for(xp: Any, data: st.DataObject) -> None:
    kind = type(xp.asarray([1.0]))
    truth = data.draw(ground_truths(xp=xp))
    violating = data.draw(structures_violating("triple", exact=True, xp=xp))
    m = data.draw(testing.moments(xp=xp))
    at = data.draw(parameters(d_out=2, d_in=2, rank=1, tasks=2, symmetric=True, xp=xp))
    Q, H = data.draw(orthogonals(2, xp=xp)), data.draw(boosts(2, xp=xp))
    arrays = [truth.A_star, truth.U_star, violating.U_star, m.S, m.W, m.noise, m.C, at.A, at.U, Q, H, truth.W]
    assert {type(each) for each in arrays} == {kind}
    assert all(each.dtype == xp.float64 for each in arrays)
    assert at.V is None


def test_the_numbers_are_the_same_in_every_library() -> None:
    truth = testing.truth_with_spectrum(d=4, k=1, T=2, spectrum=(1, 2), seed=3)
    for xp in libraries():
        assert np.array_equal(np.asarray(in_namespace(truth, xp=xp).U_star), truth.U_star)


@pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match=r"conditioning: got 3\.0 with exact=True"):
        ground_truths(exact=True, conditioning=3.0).example()
    with pytest.raises(ValueError, match="rank: got 1, expected 2 to 3"):
        integer_truth(d=3, k=2, T=2, rank=1)
    full = testing.truth_with_spectrum(d=2, k=1, T=2, spectrum=(1, 1))
    with pytest.raises(ValueError, match="independent: got True where only 0 dimensions are left"):
        test_tasks(full, independent=True).example()
    with pytest.raises(TypeError, match="made: got str, expected an array"):
        in_namespace("x", xp=np)


@pytest.mark.long
def test_the_examples_of_the_documentation_run() -> None:
    import doctest

    failed, tried = doctest.testfile(str(DOCS / "testing.md"), module_relative=False, encoding="utf-8")
    assert tried >= 5
    assert failed == 0
