"""The reduced objective over Q agrees with the one in floating point, and with itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraml_theory.adapters import Parameters
from loraml_theory.exact import gradient, hessian, rank, rationals, value
from loraml_theory.exact.reduced import second_order
from loraml_theory.landscape import gauge_dimension
from loraml_theory.landscape import hessian as float_hessian
from loraml_theory.moments import population
from loraml_theory.objectives import ProjectedLoRAML


def integers(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(float)


@pytest.mark.parametrize(("T", "d", "k"), [(2, 3, 1), (4, 3, 2), (3, 4, 2)])
def test_agrees_with_floating_point(T: int, d: int, k: int) -> None:
    U_star, U = integers(1, (T, d, k)), integers(2, (T, d, k))
    objective = ProjectedLoRAML(population(U_star @ np.swapaxes(U_star, 1, 2)))
    at, exact, target = Parameters(U=U), rationals(U), rationals(U_star)

    def as_floats(numbers: np.ndarray) -> np.ndarray:
        return np.array([int(x.p) / int(x.q) for x in np.asarray(numbers, dtype=object).reshape(-1)])

    for found, expected in (
        (value(exact, target), objective.value(at)),
        (gradient(exact, target), objective.gradient(at).U),
        (hessian(exact, target), float_hessian(objective, at)),
    ):
        np.testing.assert_allclose(as_floats(found), np.asarray(expected).reshape(-1), rtol=1e-13, atol=1e-12)


@given(st.integers(0, 1000), st.integers(2, 4))
def test_the_form_is_that_of_the_hessian(seed: int, T: int) -> None:
    U_star, U, V = (rationals(integers(seed + i, (T, 3, 2))) for i in range(3))
    v = V.reshape(-1)
    assert second_order(U, U_star, V) == v @ hessian(U, U_star) @ v


@given(st.integers(0, 1000), st.integers(2, 4))
def test_the_value_is_its_taylor_polynomial(seed: int, T: int) -> None:
    """Along a line g is a polynomial of degree 4; its first two derivatives are those of gradient and Hessian."""
    U_star, U, V = (rationals(integers(seed + i, (T, 3, 1))) for i in range(3))
    g = [value(U + n * V, U_star) for n in (-2, -1, 0, 1, 2)]
    slope = (g[0] - 8 * g[1] + 8 * g[3] - g[4]) / 12  # exact for polynomials of degree 4
    bend = (-g[0] + 16 * g[1] - 30 * g[2] + 16 * g[3] - g[4]) / 12
    assert slope == np.sum(gradient(U, U_star) * V)
    assert bend == second_order(U, U_star, V)


@pytest.mark.parametrize(("T", "d", "k"), [(3, 6, 2), (3, 3, 1)])
def test_only_the_orbit_is_flat_at_the_truth(T: int, d: int, k: int) -> None:
    U = rationals(integers(5, (T, d, k)))
    H = hessian(U, U)
    assert len(H) - rank(H) == gauge_dimension(k, T)
