"""The equations are those of the objective, on every array library."""

from __future__ import annotations

import numpy as np
import pytest
from array_api_compat import array_namespace

from loraml_theory.adapters import Parameters
from loraml_theory.critical_points.equations import function, jacobian, outer, size, spread, value
from loraml_theory.critical_points.tracking import Arc, track
from loraml_theory.landscape import hessian
from loraml_theory.moments import population
from loraml_theory.objectives import ProjectedLoRAML
from tests.loraml_theory.conftest import Backend

T, M = 3, 4


def points(seed: int, *, number: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((number, T, M)), rng.standard_normal((number, T, M))


@pytest.mark.parametrize("seed", range(3))
def test_they_are_the_gradient_and_the_hessian_of_the_objective(seed: int) -> None:
    u, v = points(seed)
    objective, at = ProjectedLoRAML(population(outer(v, v))), Parameters(U=u[..., None])
    slope = objective.gradient(at).U
    assert slope is not None
    assert np.allclose(value(u, v), objective.value(at), rtol=1e-12)
    assert np.allclose(function(u, spread(v)), T / 2 * slope[..., 0], rtol=0, atol=1e-11)
    assert np.allclose(jacobian(u, spread(v)), T / 2 * hessian(objective, at), rtol=0, atol=1e-11)


def test_they_are_polynomials_of_complex_vectors() -> None:
    u, v = points(3)
    turned = function(1j * u, spread(1j * v))
    assert np.allclose(turned, -1j * function(u, spread(v)), atol=1e-12)  # homogeneous of degree three
    assert np.allclose(value(1j * u, 1j * v), value(u, v))


def test_signs_of_single_factors_do_not_matter() -> None:
    u, v = points(4)
    signs = np.array([1.0, -1.0, -1.0])[:, None]
    assert np.allclose(function(signs * u, spread(v)), signs * function(u, spread(v)), atol=1e-12)


@pytest.mark.libraries
def test_other_libraries_give_the_same(backend: Backend) -> None:
    u, v = (x + 0j for x in points(5))
    mine = backend.put((u, v))
    for ours, theirs in (
        (jacobian(u, spread(v)), jacobian(mine[0], spread(mine[1]))),
        (size(u), size(mine[0])),
    ):
        assert np.allclose(backend.get(theirs), ours, atol=1e-12)


@pytest.mark.libraries
def test_the_truth_is_tracked_to_the_truth(backend: Backend) -> None:
    start, end = (x + 0j for x in points(6))
    bulge = 1j * np.ones_like(start)
    ends = track(backend.put(start), Arc(*backend.put((start, end, bulge))), tolerance=1e-2)
    assert array_namespace(ends.u) is array_namespace(backend.put(start))
    assert np.max(backend.get(ends.error)) < 1e-10
    assert np.allclose(backend.get(ends.u), end, atol=1e-8)


def test_a_path_through_a_singular_point_is_lost_in_bounded_time() -> None:
    """The structure shrinks to 0, where all critical points meet."""
    start = points(7)[0] + 0j
    ends = track(start, Arc(start, 0 * start, 0 * start), tolerance=1e-2)
    assert np.all(np.abs(ends.u) <= 1e-3) or bool(np.all(np.isinf(ends.error)))
