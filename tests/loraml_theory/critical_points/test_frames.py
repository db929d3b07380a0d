"""Boosts: orthogonal, equivariant, and they shorten long isotropic points and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from loraml_theory.critical_points.equations import function, size, spread
from loraml_theory.critical_points.frames import boost
from tests.loraml_theory.conftest import Backend


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return np.asarray(rng.standard_normal(shape) + 1j * rng.standard_normal(shape))


def long(seed: int, *, length: float) -> np.ndarray:
    """Return points of this length along one isotropic vector, and of its root across."""
    rng = np.random.default_rng(seed)
    N = np.array([1, 1j, 0]) / np.sqrt(2)
    turn = np.linalg.qr(rng.standard_normal((6, 3, 3)))[0]
    parts = normal(rng, 6, 3, 1) * N * length + normal(rng, 6, 3, 1) * [0, 0, 1] * length**0.5
    return np.asarray((parts + normal(rng, 6, 3, 1) * N.conj()) @ turn)


@pytest.mark.parametrize("length", [1e2, 1e4, 1e6])
def test_long_points_become_short(length: float) -> None:
    u = long(0, length=length)
    G, worth = boost(u)
    assert bool(worth.all())
    assert np.allclose(G @ G.swapaxes(-1, -2), np.eye(3), atol=1e-14 * length)
    short = u @ G.swapaxes(-1, -2)
    assert np.max(size(short)) < 20 * length**0.5
    assert np.allclose(short @ G, u, rtol=0, atol=1e-14 * length**2)
    assert not bool(boost(short)[1].any())


def test_the_equations_are_those_in_other_coordinates() -> None:
    u, v = long(1, length=100.0), normal(np.random.default_rng(1), 6, 3, 3)
    G, _ = boost(u)
    turn = G.swapaxes(-1, -2)
    F = function(u, spread(v)) @ turn
    assert np.allclose(function(u @ turn, spread(v @ turn)), F, rtol=0, atol=1e-9 * np.abs(F).max())


def test_other_points_stay() -> None:
    rng = np.random.default_rng(2)
    real = 1e4 * rng.standard_normal((6, 3, 1)) * rng.standard_normal((6, 1, 3)) + 0j
    for u in (real, normal(rng, 6, 3, 3), np.zeros((6, 3, 3), dtype=complex)):
        assert not bool(boost(u)[1].any())


@pytest.mark.libraries
def test_other_libraries_give_the_same(backend: Backend) -> None:
    u = long(3, length=100.0)
    G, worth = boost(u)
    theirs = boost(backend.put(u))
    assert np.array_equal(backend.get(theirs[1]), worth)
    assert np.allclose(backend.get(theirs[0]), G, rtol=1e-9, atol=1e-12)
