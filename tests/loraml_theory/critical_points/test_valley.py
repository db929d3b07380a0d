"""Coordinates of the valley: a change of variables where points are long and alike, nothing elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from loraml_theory.critical_points.equations import size
from loraml_theory.critical_points.valley import valley
from tests.loraml_theory.conftest import Backend

SIGNS = np.array([1.0, -1.0, 1.0])[:, None]


def points(seed: int, *, length: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return points with ``eps_t u_t = w + d_t / length``, w of this length, and two changes."""
    rng = np.random.default_rng(seed)
    w, d, *changes = rng.standard_normal((4, 2, 6, 3, 3)).view()[:, 0] + 1j * rng.standard_normal((4, 6, 3, 3))
    w = w[:, :1] * length / size(w[:, :1])[:, None, None]
    return SIGNS * (w + d / length), *changes


@pytest.mark.parametrize("seed", range(3))
def test_a_small_step_is_the_same_in_all_coordinates(seed: int) -> None:
    u, change, _ = points(seed, length=30.0)
    inside = valley(u, np.ones(6))
    assert bool(inside.inside.all())
    for h, bound in ((1e-3, 1e-5), (1e-4, 1e-7)):  # of second order
        assert np.max(size(inside.step(u, h * change) - u - h * change)) < bound


def test_a_line_in_the_coordinates_is_extrapolated_exactly() -> None:
    """Along u = eps (w + d / a) with sigma = a^-2 linear in s the cubic is exact, although u is far from a cubic."""
    u, _, _ = points(0, length=20.0)
    inside = valley(u, np.ones(6))
    y, _ = inside._coordinates(u, 0 * u)

    def at(s: float) -> np.ndarray:
        return np.asarray(inside._moved(u, (y[0], y[1] * (1 - s), y[2])))

    def slope(s: float) -> np.ndarray:
        return (at(s + 1e-5) - at(s - 1e-5)) / 2e-5

    r = np.full(6, 1.8)
    ends = inside.extrapolated((at(0), 0.5 * slope(0)), (at(0.5), 0.5 * slope(0.5)), (r - 1) / 1.0)
    assert np.max(size(ends - at(0.9)) / size(at(0.9))) < 1e-7
    plain = valley(u, np.full(6, 1e9)).extrapolated((at(0), 0.5 * slope(0)), (at(0.5), 0.5 * slope(0.5)), r - 1)
    assert np.min(size(plain - at(0.9)) / size(at(0.9))) > 1e-2


@pytest.mark.parametrize("length", [0.5, 30.0])
def test_short_points_and_unlike_ones_are_outside(length: float) -> None:
    u, change, _ = points(1, length=length)
    if length > 1:
        u = u * np.array([1.0, 0.1, 1.0])[:, None]
    outside = valley(u, np.ones(6))
    assert not bool(outside.inside.any())
    assert np.array_equal(outside.step(u, change), u + change)


@pytest.mark.libraries
def test_other_libraries_step_alike(backend: Backend) -> None:
    u, change, _ = points(2, length=30.0)
    mine = backend.put((u, change))
    there = valley(mine[0], backend.put(np.ones(6))).step(*mine)
    assert np.allclose(backend.get(there), valley(u, np.ones(6)).step(u, change), atol=1e-9)
