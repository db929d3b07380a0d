"""Coordinates of the valley: the same points and equations, regular at infinity, nothing else elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from loraml_theory.critical_points.equations import function, jacobian, size, spread
from loraml_theory.critical_points.valley import Chart, chart, parts, plain_equations, valley_equations
from tests.loraml_theory.conftest import Backend

SIGNS = np.array([1.0, -1.0, 1.0])[:, None]


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return np.asarray(rng.standard_normal(shape) + 1j * rng.standard_normal(shape))


def points(seed: int, *, length: float) -> tuple[np.ndarray, np.ndarray]:
    """Return points with ``eps_t u_t = w + d_t / length``, w nearly real and of this length, and changes of them."""
    rng = np.random.default_rng(seed)
    w = rng.standard_normal((6, 1, 3)) + 0.1j * rng.standard_normal((6, 1, 3))
    w = w * length / size(w)[:, None, None]
    return SIGNS * (w + normal(rng, 6, 3, 3) / length), normal(rng, 6, 3, 3)


def coordinates(seed: int, *, sigma: float) -> tuple[np.ndarray, Chart]:
    """Return coordinates with W and d of order 1, and sigma."""
    rng = np.random.default_rng(seed)
    here = chart(points(seed, length=30.0)[0], np.ones(6))
    p, d = normal(rng, 6, 1, 3), normal(rng, 6, 2, 3)
    p = p + here.c.conj() * (sigma - np.sum(here.c * p, axis=-1, keepdims=True))
    return np.concatenate([p, d], axis=1), here


@pytest.mark.parametrize("seed", range(3))
def test_there_and_back_is_the_same(seed: int) -> None:
    u, change = points(seed, length=30.0)
    here = chart(u, np.ones(6))
    assert bool(here.inside.all())
    x, dx = here.inwards(u, change)
    back, moved = here.outwards(x, dx)
    assert np.allclose(back, u, rtol=1e-12)
    assert np.allclose(moved, change, atol=1e-9)
    assert bool(here.valid(x, np.ones(6)).all())
    W, sigma, d = parts(x, here.c)
    assert np.allclose(np.sum(here.c * W, axis=-1), 1)
    assert np.allclose(np.abs(sigma[:, 0, 0]) ** -0.5, 30, rtol=0.02)
    assert np.allclose(d.sum(axis=1), 0, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_derivatives_along_changes_are_those_of_differences(seed: int) -> None:
    u, change = points(seed, length=30.0)
    here, h = chart(u, np.ones(6)), 1e-6
    dx = here.inwards(u, change)[1]
    ahead, behind = (here.inwards(u + sign * h * change, change)[0] for sign in (1, -1))
    assert np.allclose((ahead - behind) / (2 * h), dx, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_the_equations_are_those_of_the_points(seed: int) -> None:
    x, here = coordinates(seed, sigma=0.03)
    u, _ = here.outwards(x, x)
    Q = spread(normal(np.random.default_rng(seed), 6, 3, 3))
    a = np.sum(here.c * np.mean(here.signs * u, axis=1, keepdims=True), axis=-1)
    F = here.signs * function(u, Q)
    found = valley_equations(x, here.c, Q, Q).value
    assert np.allclose(found[:, :2], F[:, :2] / a[..., None], atol=1e-10)
    assert np.allclose(found[:, 2], F.sum(axis=1) * a, atol=1e-9)


@pytest.mark.parametrize("sigma", [0.03, 0.0])
def test_their_derivative_is_that_of_differences(sigma: float) -> None:
    x, here = coordinates(1, sigma=sigma)
    rng, h = np.random.default_rng(1), 1e-6
    Q, dQ = spread(normal(rng, 6, 3, 3)), spread(normal(rng, 6, 3, 3))
    change = normal(rng, 6, 3, 3)
    here_ = valley_equations(x, here.c, Q, dQ)
    ahead, behind = (valley_equations(x + sign * h * change, here.c, Q, dQ).value for sign in (1, -1))
    along = (here_.derivative @ change.reshape(6, 9, 1)).reshape(6, 3, 3)
    assert np.allclose((ahead - behind) / (2 * h), along, atol=1e-7)
    moved = (valley_equations(x, here.c, Q + h * dQ, dQ).value - here_.value) / h
    assert np.allclose(moved, -here_.along, atol=1e-7)


def test_they_are_regular_where_those_of_the_points_are_not() -> None:
    Q = spread(normal(np.random.default_rng(2), 6, 3, 3))
    conditions = []
    for sigma in (1e-4, 1e-6, 0.0):
        x, here = coordinates(2, sigma=sigma)
        conditions.append(np.linalg.cond(valley_equations(x, here.c, Q, Q).derivative))
    assert np.allclose(conditions[0], conditions[2], rtol=0.2)
    assert np.max(conditions) < 1e4
    x, here = coordinates(2, sigma=1e-4)
    assert np.min(np.linalg.cond(jacobian(here.outwards(x, x)[0], Q))) > 1e6


def test_outside_nothing_changes() -> None:
    u, change = points(0, length=2.0)
    here = chart(u, np.ones(6))
    assert not bool(here.inside.any())
    for moved in (here.inwards, here.outwards):
        assert all(np.array_equal(*pair) for pair in zip(moved(u, change), (u, change), strict=True))
    assert bool(here.valid(u, np.ones(6)).all())
    Q = spread(u)
    assert np.array_equal(plain_equations(u, here.c, 0 * Q, Q).derivative, jacobian(u, 0 * Q))


def test_isotropic_points_are_outside() -> None:
    """Where ``w^T w = 0`` the equations of the valley are singular."""
    u, _ = points(0, length=30.0)
    u = 30 * SIGNS * np.array([1, 1j, 0]) + 0 * u
    assert not bool(chart(u, np.ones(6)).inside.any())


def test_coordinates_are_left_where_they_turn() -> None:
    u, change = points(0, length=30.0)
    here = chart(u, np.ones(6))
    for other in (1.5 * u / 30, 30 * change):  # too short, and not alike
        assert not bool(here.valid(here.inwards(other, other)[0], np.ones(6)).any())


@pytest.mark.libraries
def test_other_libraries_give_the_same(backend: Backend) -> None:
    u, change = points(3, length=30.0)
    Q = spread(change)
    here, mine = chart(u, np.ones(6)), backend.put((u, change, Q, np.ones(6)))
    there = chart(mine[0], mine[3])
    x, dx = here.inwards(u, change)
    theirs = there.inwards(mine[0], mine[1])
    assert np.allclose(backend.get(theirs[0]), x, atol=1e-12)
    assert np.allclose(backend.get(there.miss(theirs[0], theirs[1], mine[3])), here.miss(x, dx, np.ones(6)))
    ours = valley_equations(x, here.c, Q, Q)
    for one, other in zip(ours, valley_equations(theirs[0], there.c, mine[2], mine[2]), strict=True):
        assert np.allclose(backend.get(other), one, atol=1e-9)
