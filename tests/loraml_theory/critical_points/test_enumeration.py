"""All 173 orbits are found, none twice, and where there are fewer the reason is seen."""

from __future__ import annotations

import os
import shutil
from math import inf
from pathlib import Path

import numpy as np
import pytest

from loraml_theory.critical_points.degenerate import degeneracy
from loraml_theory.critical_points.enumeration import distinct, enumerate_points
from loraml_theory.critical_points.equations import function, outer, size, spread
from loraml_theory.critical_points.start_sets import SHAPES, start_set
from tests.loraml_theory.conftest import Backend
from tests.loraml_theory.critical_points.staircase import equations, leading_monomials, standard_monomials

INTEGER = np.array([[1.0, 0, 0], [1, 1, 0], [1, -1, 1]])
START = start_set(3, 3)
MSOLVE = os.environ.get("LORAML_MSOLVE") or shutil.which("msolve")


def shares(u: np.ndarray) -> list[int]:
    """How many points have 0, 1, 2 and 3 factors that are not 0."""
    live = (np.abs(u).max(axis=-1) > 1e-9).sum(axis=-1)
    return np.bincount(live, minlength=4).tolist()


def test_the_start_set_is_complete_and_regular() -> None:
    assert np.max(size(function(START.u, spread(START.v))) / (1 + size(START.u) ** 3)) < 1e-12
    assert shares(START.u) == [1, 9, 57, 106]
    assert bool(distinct(START.u[None], 1e-12 * size(START.u)[None]).all())
    assert np.isclose(np.linalg.norm(START.v), 3)


def test_a_shape_without_a_start_set_is_refused() -> None:
    with pytest.raises(ValueError, match="m, T: got 3, 4, expected one of"):
        start_set(3, 4)
    assert SHAPES == ((3, 3),)


def test_all_points_of_two_structures_are_found_at_once() -> None:
    other = np.array([[2.0, 0, 1], [1, 1, 0], [-3, 1, 1]])
    both = 1e3 * np.stack([INTEGER, other])
    found = enumerate_points(np.random.default_rng(0), both, START)
    assert found.found.tolist() == [173, 173]
    for u, v in zip(found.u, both, strict=True):
        assert shares(u) == [1, 9, 57, 106]
        assert np.max(size(function(u, spread(v + 0j))) / (1e9 + size(u) ** 3)) < 1e-10
        gaps = size(outer(u, u).reshape(173, 1, -1) - outer(v, v).reshape(1, -1))
        assert gaps.min() < 1e-6 * size(outer(v, v).reshape(1, -1))  # the truth


def test_the_one_factor_points_are_eigenvectors() -> None:
    found = enumerate_points(np.random.default_rng(1), INTEGER[None], START)
    u = found.u[0]
    alone = u[(np.abs(u).max(axis=-1) > 1e-9).sum(axis=-1) == 1]
    values = sorted(np.sum(alone**2, axis=(-2, -1)).real)
    expected = sorted((np.linalg.eigvalsh(spread(INTEGER)) / 2).reshape(-1))
    assert np.allclose(values, expected, atol=1e-9)


@pytest.mark.long
@pytest.mark.libraries
def test_other_libraries_find_them_too(backend: Backend) -> None:
    found = enumerate_points(np.random.default_rng(2), backend.put(INTEGER[None]), START)
    assert backend.get(found.found).tolist() == [173]


@pytest.mark.long
def test_what_one_arc_loses_another_finds() -> None:
    rng = np.random.default_rng(0)
    v = rng.standard_normal((2, 3, 3))
    once = enumerate_points(np.random.default_rng(3), v, START, tolerances=(0.3,), arcs=1)
    assert once.found.min() < 173  # far too loose
    finer = enumerate_points(np.random.default_rng(3), v, START, tolerances=(0.3, 1e-2), arcs=1)
    assert finer.found.sum() > once.found.sum()  # on the same arcs
    more = enumerate_points(np.random.default_rng(3), v, START, tolerances=(0.3,), arcs=4)
    assert np.all(more.found >= once.found)
    assert more.found.sum() > once.found.sum()
    assert not np.any(more.u[more.found < 173, -1])


@pytest.mark.parametrize(
    ("v", "longest"),
    [
        ([[-0.628, 1.571, 2.283], [0.249, 0.814, -0.737], [-1.102, 0.049, 0.093]], 15),  # along a real vector
        ([[-0.383, -0.281, 0.684], [0.038, -0.544, -1.293], [-0.477, -0.891, -0.869]], 1e4),  # along isotropic ones
    ],
)
def test_long_points_are_found_at_once(v: list[list[float]], longest: float) -> None:
    found = enumerate_points(np.random.default_rng(0), np.array([v]), START, arcs=2)
    assert found.found.tolist() == [173]
    assert np.max(size(found.u[0]) / np.linalg.norm(v)) > longest


def test_points_that_differ_by_signs_are_one() -> None:
    u = np.stack([START.u[100], START.u[100] * np.array([1, -1, 1])[:, None], START.u[101], START.u[100]])[None]
    assert distinct(u, np.full((1, 4), 1e-12)).tolist() == [[True, False, True, False]]
    assert distinct(u, np.array([[inf, 1e-12, inf, 1e-12]])).tolist() == [[False, True, False, False]]


@pytest.mark.parametrize(("v", "isolated"), [(INTEGER, True), (np.eye(3), False), (np.diag([1.0, 2, 3]), False)])
def test_sets_of_positive_dimension_are_seen(v: np.ndarray, isolated: bool) -> None:
    seen = degeneracy(np.random.default_rng(0), v, START)
    assert (seen.on_sets == 0) == isolated
    assert seen.on_sets <= seen.lost


def test_standard_monomials_of_known_ideals() -> None:
    assert standard_monomials([(2, 0), (0, 3)]) == 6
    assert standard_monomials([(2, 0), (1, 1), (0, 3)]) == 4
    assert standard_monomials([(1, 0), (0, 1)]) == 1
    assert standard_monomials([(2, 0)]) == -1


@pytest.mark.long
@pytest.mark.skipif(MSOLVE is None, reason="needs msolve, on the path or as LORAML_MSOLVE")
@pytest.mark.parametrize(
    ("v", "factors", "degree"),
    [
        (INTEGER, 1, 1 + 3 * 2),
        (INTEGER, 2, 1 + 6 * 2 + 19 * 4),
        (INTEGER, 3, 1 + 9 * 2 + 57 * 4 + 106 * 8),
        (np.array([[3, 1, -2], [1, -4, 2], [2, 5, 1], [-1, 2, 6]]), 3, 1 + 9 * 2 + 57 * 4 + 153 * 8),
    ],
)
def test_the_degree_of_the_ideal_is_the_count(v: np.ndarray, factors: int, degree: int, tmp_path: Path) -> None:
    assert MSOLVE is not None
    variables, polynomials = equations(v.astype(int), factors)
    assert standard_monomials(leading_monomials(MSOLVE, variables, polynomials, tmp_path)) == degree


@pytest.mark.long
@pytest.mark.skipif(MSOLVE is None, reason="needs msolve, on the path or as LORAML_MSOLVE")
def test_two_tasks_have_curves_of_degree_eight(tmp_path: Path) -> None:
    assert MSOLVE is not None
    variables, polynomials = equations(np.array([[3, 1], [1, -4]]), 2)
    assert standard_monomials(leading_monomials(MSOLVE, variables, polynomials, tmp_path)) == -1
    plane = "3*u00^1+5*u01^1-7*u10^1+2*u11^1-11"
    assert standard_monomials(leading_monomials(MSOLVE, variables, [*polynomials, plane], tmp_path)) == 8
