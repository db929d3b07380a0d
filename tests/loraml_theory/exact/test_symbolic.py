"""Derivations by computer algebra: gradients, Hessian form, the eliminated base, and ML-3 at the smallest sizes.

docs/symbolic.md says what each shows and how far the last one goes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sympy

from loraml_theory.adapters import Parameters
from loraml_theory.exact import reduced
from loraml_theory.exact.rational import shifts
from loraml_theory.landscape import hessian as float_hessian
from loraml_theory.moments import population
from loraml_theory.objectives import LoRAML, Objective, ProjectedLoRAML, StandardRetraining
from loraml_theory.solvers.base import ravel

Symbols = np.ndarray[Any, np.dtype[np.object_]]
SIZES = [(2, 2, 1), (3, 2, 1), (2, 2, 2), (2, 3, 1)]  # T, d, k


def symbols(name: str, shape: tuple[int, ...]) -> Symbols:
    made = np.empty(shape, dtype=object)
    made.reshape(-1)[:] = [sympy.Symbol(f"{name}{i}") for i in range(made.size)]
    return made


def loss(A: Symbols, U: Symbols, V: Symbols, W: Symbols) -> Any:
    """Return ``1/2 sum_t ||A + U_t V_t^T - W_t||_F^2``, written out."""
    return sum(np.sum((A + u @ v.T - w) ** 2) for u, v, w in zip(U, V, W, strict=True)) / 2


def differ(one: Any, other: Any) -> bool:
    """Return whether some entries are different polynomials."""
    pairs = zip(np.asarray(one, dtype=object).reshape(-1), np.asarray(other, dtype=object).reshape(-1), strict=True)
    return any(sympy.expand(x - y) != 0 for x, y in pairs)


def derivatives(f: Any, at: Symbols) -> Symbols:
    return np.array([sympy.diff(f, x) for x in at.reshape(-1)], dtype=object)


@pytest.mark.parametrize(("T", "d", "k"), SIZES)
def test_eliminating_the_base(T: int, d: int, k: int) -> None:
    """df/dA = 0 has one solution, the mean of W_t - U_t U_t^T; there f is the reduced objective, free of A*."""
    A_star, A = symbols("s", (d, d)), symbols("a", (d, d))
    U_star, U = symbols("t", (T, d, k)), symbols("u", (T, d, k))
    W = A_star + shifts(U_star)
    f = loss(A, U, U, W)
    slope = derivatives(f, A)
    best = np.sum(W - shifts(U), axis=0) / T
    assert not differ(slope, T * (A - best).reshape(-1))
    g = f.subs(dict(zip(A.reshape(-1), best.reshape(-1), strict=True)))
    assert not differ(g, reduced.value(U, U_star))


@pytest.mark.parametrize(("T", "d", "k"), SIZES)
def test_gradient_and_hessian_of_the_reduced_objective(T: int, d: int, k: int) -> None:
    U_star, U = symbols("t", (T, d, k)), symbols("u", (T, d, k))
    g = sympy.expand(reduced.value(U, U_star))
    slope = derivatives(g, U)
    assert not differ(slope, reduced.gradient(U, U_star).reshape(-1))
    bend = np.array([derivatives(x, U) for x in slope])
    assert not differ(bend, reduced.hessian(U, U_star))
    V = symbols("v", U.shape)
    assert not differ(V.reshape(-1) @ bend @ V.reshape(-1), reduced.second_order(U, U_star, V))


def test_a_wrong_formula_is_seen() -> None:
    U_star, U = symbols("t", (2, 2, 1)), symbols("u", (2, 2, 1))
    g = reduced.value(U, U_star)
    assert differ(derivatives(g, U), reduced.gradient(U, U_star).reshape(-1) / 2)
    at_truth = reduced.hessian(U, U_star) - reduced.hessian(U_star, U_star)
    assert differ(at_truth, 0 * at_truth)


def agrees_exactly(objective: Objective, f: Any, at: Parameters, values: dict[Any, int]) -> None:
    """Compare a float64 objective at whole numbers, where it makes no rounding, with a symbolic one."""
    flat = {"A": at.A, "U": at.U, "V": at.V}
    names = [x for part in flat.values() if part is not None for x in part.reshape(-1)]
    point = Parameters(
        *(None if part is None else np.vectorize(lambda x: float(values[x]))(part) for part in flat.values())
    )
    polynomial = sympy.Poly(f, *names)
    slope = [polynomial.diff(x) for x in names]
    whole = [values[x] for x in names]
    assert float(objective.value(point)) == float(polynomial(*whole))
    found = ravel(objective, objective.gradient(point))
    np.testing.assert_array_equal(found, [float(s(*whole)) for s in slope])
    bend = [[float(s.diff(x)(*whole)) for x in names] for s in slope]
    np.testing.assert_array_equal(float_hessian(objective, point), bend)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("T", "d", "k"), [(2, 2, 1), (4, 2, 1)])
def test_objectives_are_these_polynomials(T: int, d: int, k: int, seed: int) -> None:
    """T is a power of 2, so that floating point divides exactly."""
    rng = np.random.default_rng(seed)
    A, U, V = symbols("a", (d, d)), symbols("u", (T, d, k)), symbols("v", (T, d, k))
    drawn = rng.integers(-3, 4, (T, d, k))
    W = drawn @ np.swapaxes(drawn, 1, 2)
    moments = population(W.astype(float))
    values = {x: int(rng.integers(-3, 4)) for x in [*A.reshape(-1), *U.reshape(-1), *V.reshape(-1)]}
    zero, symbolic = 0 * U, W.astype(object)
    agrees_exactly(LoRAML(moments), loss(A, U, U, symbolic), Parameters(A=A, U=U), values)
    agrees_exactly(LoRAML(moments), loss(A, U, V, symbolic), Parameters(A=A, U=U, V=V), values)
    agrees_exactly(StandardRetraining(moments), loss(A, zero, zero, symbolic), Parameters(A=A), values)
    g = reduced.value(U, drawn.astype(object))
    agrees_exactly(ProjectedLoRAML(moments), g, Parameters(U=U), values)


def recovery_basis(T: int, *, d: int | None = None, factors: Any = None) -> tuple[list[Any], Symbols]:
    """Return the Groebner basis of ``u_t u_t^T - u_s u_s^T = e_t e_t^T - e_s e_s^T``, k = 1, and the unknowns."""
    d = d or T
    U_star = np.eye(d, dtype=object)[:T] if factors is None else np.array(factors, dtype=object)
    U = symbols("x", (T, d))
    equations = []
    for t in range(T - 1):
        M = np.outer(U[t], U[t]) - np.outer(U[t + 1], U[t + 1])
        M = M - np.outer(U_star[t], U_star[t]) + np.outer(U_star[t + 1], U_star[t + 1])
        equations += [sympy.expand(M[i, j]) for i in range(d) for j in range(i, d)]
    return list(sympy.groebner(equations, *U.reshape(-1), order="grevlex").exprs), U


def truth_up_to_sign(U: Symbols) -> set[Any]:
    return {x**2 - 1 if t == i else x for t, row in enumerate(U) for i, x in enumerate(row)}


@pytest.mark.parametrize(("T", "d"), [(3, 3), (3, 4), (4, 4)])
def test_recovery_is_proved(T: int, d: int) -> None:
    """ML-3 at k = 1: the ideal of zero loss is that of u_t = +-e_t, to which a change of basis takes any others."""
    basis, U = recovery_basis(T, d=d)
    assert set(basis) == truth_up_to_sign(U)


@pytest.mark.slow
def test_recovery_is_proved_for_five_tasks() -> None:
    basis, U = recovery_basis(5)
    assert set(basis) == truth_up_to_sign(U)


def test_recovery_is_not_proved_for_two_tasks_or_a_repeated_one() -> None:
    """The controls: the orbit of O(1, 1) satisfies the equations too."""
    basis, U = recovery_basis(2)
    assert set(basis) != truth_up_to_sign(U)
    boosted = np.array([[sympy.Rational(5, 3), sympy.Rational(4, 3)], [sympy.Rational(4, 3), sympy.Rational(5, 3)]])
    point = dict(zip(U.reshape(-1), boosted.reshape(-1), strict=True))
    assert all(equation.subs(point) == 0 for equation in basis)
    basis, U = recovery_basis(3, d=2, factors=[[1, 0], [0, 1], [1, 0]])
    assert set(basis) != {x**2 - 1 if (t % 2) == i else x for t, row in enumerate(U) for i, x in enumerate(row)}
