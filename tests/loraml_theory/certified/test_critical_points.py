"""Certified critical points: the counts of the integer instance, and proofs that fail where they must."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

pytest.importorskip("flint")

from loraml_theory.certified.critical_points import Point, UncertifiedError, certify, coordinates
from loraml_theory.critical_points.enumeration import enumerate_points
from loraml_theory.critical_points.start_sets import start_set

INTEGER = np.array([[1.0, 0, 0], [1, 1, 0], [1, -1, 1]])


@pytest.fixture(scope="module")
def found() -> np.ndarray:
    (points,) = enumerate_points(np.random.default_rng(0), INTEGER[None], start_set(3, 3)).u
    return np.asarray(points)


@pytest.fixture(scope="module")
def proved(found: np.ndarray) -> list[Point]:
    return certify(coordinates(INTEGER), found)


def test_the_counts_of_the_integer_instance(proved: list[Point]) -> None:
    assert Counter(point.kind for point in proved) == {"complex": 154, "saddle": 17, "spurious": 1, "global": 1}
    assert sum(point.self_conjugate for point in proved) == 63
    assert sum(point.orbit for point in proved) == 1095
    assert Counter(point.orbit for point in proved) == {1: 1, 2: 9, 4: 57, 8: 106}


def test_the_minima(proved: list[Point]) -> None:
    (spurious,) = (point for point in proved if point.kind == "spurious")
    (truth,) = (point for point in proved if point.kind == "global")
    assert spurious.value.real == pytest.approx(0.0973459445488, abs=1e-12)
    assert (spurious.index, spurious.orbit, truth.index, truth.value) == (0, 8, 0, 0)
    assert np.allclose(np.abs(truth.centre), np.abs(INTEGER), atol=1e-12)


def test_an_index_is_that_of_the_hessian(proved: list[Point]) -> None:
    zero = next(point for point in proved if point.orbit == 1)
    assert zero.index == 3  # one positive eigenvalue of each Q(v)_t
    assert zero.value.real == pytest.approx(4)
    assert all(point.index is None for point in proved if point.kind == "complex")


def test_an_imaginary_factor_is_complex_but_its_own_conjugate(proved: list[Point]) -> None:
    imaginary = [point for point in proved if point.kind == "complex" and point.self_conjugate]
    assert len(imaginary) == 44
    assert all(np.abs(point.centre.imag).max() > 1e-6 for point in imaginary)


def test_the_same_orbit_twice_is_refused(found: np.ndarray) -> None:
    twice = np.stack([found[3], found[3] * np.array([1, 1, -1])[:, None]])
    with pytest.raises(UncertifiedError, match="two enclosures meet"):
        certify(coordinates(INTEGER), twice)


def test_coordinates_are_of_the_span_and_keep_products() -> None:
    U = np.random.default_rng(0).integers(-5, 6, (3, 7)).astype(float)
    v = np.array([[float(entry.real.mid()) for entry in row] for row in coordinates(U).tolist()])
    assert np.allclose(v @ v.T, U @ U.T, atol=1e-12)
    assert coordinates(INTEGER[:, :2]).ncols() == 2


def test_dependent_factors_are_refused() -> None:
    with pytest.raises(UncertifiedError, match="the factors span 2 dimensions, expected 3"):
        coordinates(np.array([[1.0, 0, 0], [0, 1, 0], [1, 1, 0]]))


def test_a_point_on_a_circle_of_points_is_refused() -> None:
    """At orthonormal factors Q(v)_1 is diag(2, -1, -1), whose double eigenvalue has a circle of eigenvectors."""
    point = np.zeros((1, 3, 3), dtype=complex)
    point[0, 0] = 1j * np.sqrt(0.5) * np.array([0, 0.6, 0.8])
    with pytest.raises(UncertifiedError, match="singular"):
        certify(coordinates(np.eye(3)), point)


def test_a_structure_s_points_are_not_those_of_another(found: np.ndarray) -> None:
    """Newton's steps leave a wrong point for a true one, whose enclosure does not hold the wrong one."""
    wrong = next(u for u in found if np.abs(u).max(axis=-1).min() > 1e-3) + 0.01
    try:
        there = certify(coordinates(INTEGER), wrong[None])
    except UncertifiedError:
        there = []
    assert all(np.abs(point.centre - wrong).max() > point.radius for point in there)
