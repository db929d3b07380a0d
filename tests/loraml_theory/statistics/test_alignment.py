"""Whether shifts share a part beyond chance: the inner products, their law by chance, and groups of tasks."""

from __future__ import annotations

import numpy as np
import pytest

from loraml_theory.statistics.alignment import Alignment, alignment, distances, groups, together
from loraml_theory.statistics.task_span import TaskSpan, span_of_matrices
from loraml_theory.structure import Array


def span(shifts: Array, base: Array | None = None) -> TaskSpan:
    """Return the span of tasks with these shifts from a base, which is 0 and known if not given as NaN."""
    B = np.zeros(shifts.shape[1:]) if base is None else base
    known = None if np.isnan(B).any() else (lambda rows: B[rows])
    W = shifts + np.nan_to_num(B)
    shape = (W.shape[1], W.shape[2])
    return span_of_matrices(np.random.default_rng(0), lambda t, rows: W[t, rows], len(W), shape=shape, base=known)


def compare(shifts: Array) -> Alignment:
    found = alignment(span(shifts))
    assert found is not None
    return found


def independent(seed: int, T: int = 4, d: int = 12, k: int = 2) -> Array:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((T, d, k)) @ rng.standard_normal((T, k, d))


def test_inner_products_are_those_of_the_shifts_from_the_base() -> None:
    S, base = independent(0), np.random.default_rng(1).standard_normal((12, 12))
    found = alignment(span(S, base))
    assert found is not None
    assert np.allclose(found.products, np.einsum("tij,sij->ts", S, S))
    sizes = np.linalg.norm(S, axis=(1, 2))
    assert np.allclose(found.cosines(), np.einsum("tij,sij->ts", S, S) / np.outer(sizes, sizes))


def test_without_a_base_nothing_is_compared() -> None:
    assert alignment(span(independent(0), np.full((12, 12), np.nan))) is None
    assert together([]) is None


def test_variance_is_that_of_shifts_turned_at_random() -> None:
    rng = np.random.default_rng(2)
    S = np.linalg.qr(rng.standard_normal((2, 8, 8)))[0]  # all directions equally: the rows' and the columns' are 8
    turned = np.linalg.qr(rng.standard_normal((20_000, 8, 8)))[0]
    inner = np.einsum("nij,jk,ik->n", turned, S[0], S[1])
    # standard error of a variance of n nearly normal values: its value times sqrt(2 / n), 1 %
    assert compare(S).variances[0, 1] == pytest.approx(np.var(inner), rel=0.05)


def test_a_shared_part_is_beyond_chance_and_independent_shifts_are_not() -> None:
    own, shared = independent(3), independent(4, T=1)
    assert compare(own + 2 * shared).chance(range(4)) < 1e-3
    by_chance = [compare(independent(seed)).chance(range(4)) for seed in range(100, 300)]
    assert np.mean(np.array(by_chance) < 0.05) < 0.1
    assert compare(own).chance([2]) == 1.0


def test_matrices_together_are_sums() -> None:
    first, second = compare(independent(5)), compare(independent(6))
    both = together([first, second])
    assert both is not None
    assert np.array_equal(both.products, first.products + second.products)
    assert np.array_equal(both.variances, first.variances + second.variances)


def test_tasks_without_a_shift_have_cosines_of_zero() -> None:
    S = independent(7)
    S[1] = 0
    found = compare(S)
    assert np.all(found.cosines()[1] == 0)
    assert np.all(found.z()[1] == 0)


def test_two_groups_are_found_and_neighbours_need_to_be_aligned() -> None:
    parts = independent(8, T=2, d=24, k=6)
    S = parts[[0, 0, 1, 1]] + 0.05 * independent(9, d=24, k=6)
    apart, energies = distances(span(S))
    assert groups(apart, energies, compare(S)) == ((0, 1), (2, 3))
    assert groups(apart, energies) == ((0, 1), (2, 3))
    unknown = Alignment(np.eye(4), np.ones((4, 4)))  # every z-value between tasks is 0: no one is a neighbour
    assert groups(apart, energies, unknown) == ((0,), (1,), (2,), (3,))


def test_without_a_base_energies_are_those_of_independent_shifts() -> None:
    nowhere = np.full((12, 12), np.nan)
    S = independent(10, T=6, d=12)
    apart, energies = distances(span(S, nowhere))
    assert apart[1, 4] == pytest.approx(np.sum((S[1] - S[4]) ** 2))
    assert np.allclose(energies, np.sum(S**2, axis=(1, 2)), rtol=0.5)
    assert len(set(distances(span(S[:3], nowhere))[1])) == 1  # three tasks do not tell their sizes apart
