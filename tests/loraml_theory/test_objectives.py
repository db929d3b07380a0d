from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraml_theory import testing
from loraml_theory.adapters import Parameters, shift
from loraml_theory.moments import Moments, from_samples, population
from loraml_theory.objectives import FineTuning, LoRAML, ProjectedLoRAML, StandardRetraining
from loraml_theory.solvers.base import ravel, unravel
from loraml_theory.structure import GroundTruth, frobenius, transpose
from loraml_theory.testing import ground_truths, orthogonal_matrix, point, seeds
from tests.loraml_theory.problems import Problem, inner, listed, move, problems, size

EPS = float(np.finfo(float).eps)
PROBLEMS = listed()


# Derivatives.


@given(problems())
def test_derivatives_of_the_quartic_along_a_line(problem: Problem) -> None:
    """Along a line f is a polynomial of degree 4: five values give its derivatives exactly."""
    objective, at, v, _ = problem
    f = {h: float(objective.value(move(at, v, h))) for h in (-2, -1, 0, 1, 2)}
    first = (f[-2] - 8 * f[-1] + 8 * f[1] - f[2]) / 12
    second = (-f[-2] + 16 * f[-1] - 30 * f[0] + 16 * f[1] - f[2]) / 12
    rounding = 100 * EPS * size(objective, at, v)
    assert inner(objective.gradient(at), v) == pytest.approx(first, abs=rounding)
    assert inner(objective.hessian_vector(at, v), v) == pytest.approx(second, abs=rounding)


@given(problems())
def test_hessian_vector_is_the_derivative_of_the_gradient(problem: Problem) -> None:
    """The gradient is cubic along a line: four values give its derivative exactly, in every component."""
    objective, at, v, _ = problem
    g = {h: objective.gradient(move(at, v, h)) for h in (-2, -1, 1, 2)}
    rounding = 100 * EPS * size(objective, at, v)
    for exact, *values in zip(objective.hessian_vector(at, v), g[-2], g[-1], g[1], g[2], strict=True):
        if exact is not None:
            assert exact == pytest.approx(np.tensordot([1, -8, 8, -1], values, 1) / 12, abs=rounding)


@given(problems())
def test_the_hessian_is_symmetric(problem: Problem) -> None:
    objective, at, v, w = problem
    left, right = inner(w, objective.hessian_vector(at, v)), inner(v, objective.hessian_vector(at, w))
    assert left == pytest.approx(right, abs=100 * EPS * (size(objective, at, v) + size(objective, at, w)))


@pytest.mark.parametrize("name", PROBLEMS)
def test_taylor_remainders_fall_with_slopes_two_and_three(name: str) -> None:
    objective, at, v, _ = PROBLEMS[name]
    steps = 2.0 ** -np.arange(6, 11)  # small enough for the limit, large enough to stay above rounding
    gain = np.array([float(objective.value(move(at, v, h)) - objective.value(at)) for h in steps])
    first = gain - steps * inner(objective.gradient(at), v)
    second = first - steps**2 / 2 * inner(objective.hessian_vector(at, v), v)
    assert np.polyfit(np.log(steps), np.log(np.abs(first)), 1)[0] == pytest.approx(2, abs=0.1)
    if name.startswith("standard"):  # quadratic: the second remainder is rounding
        assert np.all(np.abs(second) <= 100 * EPS * size(objective, at, v))
    else:
        assert np.polyfit(np.log(steps), np.log(np.abs(second)), 1)[0] == pytest.approx(3, abs=0.2)


# Values.


@given(ground_truths(), st.floats(0, 1))
def test_at_the_truth_only_noise_is_left(truth: GroundTruth, sigma: float) -> None:
    m = population(truth.W_retraining, sigma=sigma)
    at = Parameters(truth.A_star, truth.U_retraining)
    scale = float(truth.scale) ** 2
    assert LoRAML(m).value(at) == pytest.approx(truth.T * truth.d * sigma**2 / 2, abs=100 * EPS * (1 + scale))
    gradient = LoRAML(m).gradient(at)
    assert np.max(np.abs(gradient.A)) <= 100 * EPS * (1 + scale)
    assert np.max(np.abs(gradient.U)) <= 100 * EPS * (1 + scale)


@given(seeds(), st.integers(1, 3), st.integers(1, 3))
def test_values_are_mean_squared_errors_of_samples(seed: int, d_out: int, d_in: int) -> None:
    rng = np.random.default_rng(seed)
    X, Y = rng.standard_normal((2, d_in, 9)), rng.standard_normal((2, d_out, 9))
    at = point(d_out=d_out, d_in=d_in, rank=1, tasks=2, seed=seed)
    losses = [0.5 * np.sum((Y[t] - (at.A + at.U[t] @ at.V[t].T) @ X[t]) ** 2) / 9 for t in range(2)]
    m = from_samples(X, Y)
    assert LoRAML(m).value(at) == pytest.approx(sum(losses), rel=1e-11)
    alone = Parameters(None, at.U[0], at.V[0])
    assert FineTuning(m.task(0), at.A).value(alone) == pytest.approx(losses[0], rel=1e-11)


@given(seeds(), st.integers(1, 8), st.integers(1, 8))
def test_stacked_samples_are_weighted_moments(seed: int, first: int, second: int) -> None:
    """``sum_t (n_t / mean n) l_t = T`` times the loss of all samples together, where parameters are shared."""
    rng = np.random.default_rng(seed)
    X, Y = rng.standard_normal((2, first + second)), rng.standard_normal((3, first + second))
    tasks = [from_samples(X[:, part], Y[:, part]) for part in (slice(0, first), slice(first, None))]
    S, W, noise = (np.stack([getattr(m, name) for m in tasks]) for name in ("S", "W", "noise"))
    joined = Moments(S, W, noise, (float(first), float(second)))
    A = rng.standard_normal((3, 2))
    pooled = 0.5 * np.sum((Y - A @ X) ** 2) / (first + second)
    lost = 1 + float(np.max(np.abs(W))) ** 2  # digits that W of a nearly singular task costs
    assert StandardRetraining(joined).value(Parameters(A)) == pytest.approx(2 * pooled, abs=1e-12 * lost)


@given(problems(("LoRA-ML",)), st.floats(0.1, 2))
def test_ridge_of_lora_ml_is_the_explicit_penalty(problem: Problem, ridge: float) -> None:
    objective, at, _, _ = problem
    plain = replace(objective, ridge=0.0)
    weights = np.asarray(objective.moments.weights or (1.0,) * objective.moments.W.shape[0])
    penalty = ridge / 2 * np.sum(weights * (np.sum(at.A**2) + frobenius(shift(at)) ** 2))
    expected = float(plain.value(at)) + penalty
    assert replace(objective, ridge=ridge).value(at) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@given(problems(("fine-tuning",)), st.floats(0.1, 2))
def test_ridge_of_fine_tuning_is_the_explicit_penalty(problem: Problem, ridge: float) -> None:
    objective, at, _, _ = problem
    expected = replace(objective, ridge=0.0).value(at) + ridge / 2 * np.sum(shift(at) ** 2)
    assert replace(objective, ridge=ridge).value(at) == pytest.approx(expected, rel=1e-11, abs=1e-11)


# Elimination of the base.


@given(problems(("projected LoRA-ML",)), seeds())
def test_the_projected_value_is_the_minimum_over_the_base(problem: Problem, seed: int) -> None:
    g, at, _, _ = problem
    full, f = g.complete(at), LoRAML(g.moments)
    rounding = 100 * EPS * size(g, at, at)
    assert g.value(at) == pytest.approx(float(f.value(full)), abs=rounding)
    assert np.max(np.abs(f.gradient(full).A)) <= rounding
    other = full.A + np.random.default_rng(seed).standard_normal(full.A.shape)
    assert f.value(full._replace(A=other)) >= g.value(at) - rounding


@given(ground_truths(T=2), seeds())
def test_the_projected_value_of_two_tasks_in_the_population(truth: GroundTruth, seed: int) -> None:
    U = np.random.default_rng(seed).standard_normal((2, truth.d, truth.k))
    M = truth.W[0] - truth.W[1]
    expected = 0.25 * np.sum((M - U[0] @ U[0].T + U[1] @ U[1].T) ** 2)
    value = ProjectedLoRAML(population(truth.W_retraining)).value(Parameters(U=U))
    assert value == pytest.approx(expected, rel=1e-12)


# Invariances.


def lora_problem(truth: GroundTruth, seed: int, **options: Any) -> tuple[Moments, Parameters]:
    at = point(d_out=truth.d, d_in=truth.d, rank=truth.k, tasks=truth.T, seed=seed, **options)
    return population(truth.W_retraining, sigma=0.1), at


@given(ground_truths(), seeds(), seeds())
def test_adapters_count_up_to_their_basis(truth: GroundTruth, seed: int, turn: int) -> None:
    m, at = lora_problem(truth, seed)
    Q, B = orthogonal_matrix(truth.k, seed=turn), np.diag(np.arange(1.0, truth.k + 1))
    symmetric, turned = at._replace(V=None), at._replace(U=at.U @ Q, V=None)
    mixed = at._replace(U=at.U @ Q @ B, V=at.V @ Q @ np.linalg.inv(B))
    assert LoRAML(m).value(turned) == pytest.approx(LoRAML(m).value(symmetric), rel=1e-11)
    assert pytest.approx(LoRAML(m).gradient(symmetric).U @ Q, rel=1e-9, abs=1e-9) == LoRAML(m).gradient(turned).U
    assert LoRAML(m).value(mixed) == pytest.approx(LoRAML(m).value(at), rel=1e-11)


@given(problems(("LoRA-ML", "projected LoRA-ML", "standard retraining")), st.randoms(use_true_random=False))
def test_the_order_of_tasks_does_not_matter(problem: Problem, random: Any) -> None:
    objective, at, _, _ = problem
    order = list(range(objective.moments.W.shape[0]))
    random.shuffle(order)
    m, n = objective.moments, objective.moments.n
    n = tuple(n[t] for t in order) if isinstance(n, tuple) else n
    permuted = replace(objective, moments=Moments(m.S[order], m.W[order], m.noise[order], n))
    moved = Parameters(at.A, *(None if x is None else x[order] for x in (at.U, at.V)))
    assert permuted.value(moved) == pytest.approx(objective.value(at), rel=1e-12, abs=1e-12)
    back = permuted.gradient(moved)
    if at.U is not None:
        assert pytest.approx(objective.gradient(at).U[order], rel=1e-9, abs=1e-9) == back.U


@given(ground_truths(), seeds(), seeds())
def test_a_joint_rotation_does_not_matter(truth: GroundTruth, seed: int, turn: int) -> None:
    """``x -> Q x, y -> Q y`` turns A into Q A Q^T and U_t into Q U_t, symmetric adapters included."""
    m, at = lora_problem(truth, seed, symmetric=True)
    Q = orthogonal_matrix(truth.d, seed=turn)
    turned = Moments(Q @ m.S @ Q.T, Q @ m.W @ Q.T, m.noise, m.n)
    there = Parameters(Q @ at.A @ Q.T, Q @ at.U)
    assert LoRAML(turned).value(there) == pytest.approx(LoRAML(m).value(at), rel=1e-11)


@given(testing.moments(tasks=3), seeds(), st.floats(1, 5))
def test_an_invertible_change_of_inputs_does_not_matter(m: Moments, seed: int, largest: float) -> None:
    """``x -> P x`` turns S into P S P^T, W and A into ``. P^{-1}``, V into P^{-T} V: asymmetric adapters follow it."""
    d_out, d_in = m.W.shape[-2:]
    at = point(d_out=d_out, d_in=d_in, rank=1, tasks=3, seed=seed)
    P = orthogonal_matrix(d_in, seed=seed + 1) * np.linspace(1, largest, d_in)
    inverse = np.linalg.inv(P)
    moved = Moments(P @ m.S @ P.T, m.W @ inverse, m.noise, m.n)
    there = Parameters(at.A @ inverse, at.U, inverse.T @ at.V)
    assert LoRAML(moved).value(there) == pytest.approx(LoRAML(m).value(at), rel=1e-10, abs=1e-10)
    projected = ProjectedLoRAML(moved).value(there._replace(A=None))
    assert projected == pytest.approx(ProjectedLoRAML(m).value(at._replace(A=None)), rel=1e-10, abs=1e-10)


@given(ground_truths(), st.floats(0.1, 100))
def test_the_gradient_scale_has_the_dimension_of_the_gradient(truth: GroundTruth, factor: float) -> None:
    """``W -> c W, U -> sqrt(c) U`` multiplies the adapters' gradient by c^{3/2} and the base's by c."""
    m = population(truth.W_retraining)
    larger = population(factor * truth.W_retraining)
    powers = {LoRAML: 1.5, ProjectedLoRAML: 1.5, StandardRetraining: 1.0}
    for kind, power in powers.items():
        expected = factor**power * float(kind(m).gradient_scale)
        assert kind(larger).gradient_scale == pytest.approx(expected, rel=1e-12)
    tuning = FineTuning(m.task(0), np.zeros((truth.d, truth.d)))
    expected = float(np.linalg.norm(truth.W[0])) ** 1.5
    assert tuning.gradient_scale == pytest.approx(expected, rel=1e-12)


def test_transposing_a_rectangular_problem_swaps_the_factors() -> None:
    """With S = I nothing but the names of outputs and inputs changes."""
    W = np.random.default_rng(0).standard_normal((2, 3, 4))
    at = point(d_out=3, d_in=4, rank=2, tasks=2, seed=1)
    there = Parameters(at.A.T, at.V, at.U)
    one, other = LoRAML(population(W)), LoRAML(population(transpose(W)))
    assert one.value(at) == pytest.approx(float(other.value(there)), rel=1e-13)
    assert pytest.approx(other.gradient(there).V, rel=1e-12) == one.gradient(at).U


OBJECTIVES = [
    StandardRetraining(population(np.zeros((2, 3, 3)))),
    LoRAML(population(np.zeros((2, 3, 3)))),
    ProjectedLoRAML(population(np.zeros((2, 3, 3)))),
    FineTuning(population(np.zeros((3, 3))), np.zeros((3, 3))),
]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: type(o).__name__)
def test_objectives_are_values_that_do_not_change_and_are_told_apart_by_identity(objective: Any) -> None:
    with pytest.raises(FrozenInstanceError):
        objective.moments = None
    assert objective != replace(objective)
    assert len({objective, replace(objective)}) == 2


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: type(o).__name__)
def test_batches_of_points_are_flattened_one_by_one(objective: Any) -> None:
    rng = np.random.default_rng(0)
    shapes = {"A": (3, 3), "U": (2, 3, 1), "V": (2, 3, 1)}
    if isinstance(objective, FineTuning):
        shapes = {"U": (3, 1), "V": (3, 1)}
    elif isinstance(objective, StandardRetraining):
        shapes = {"A": (3, 3)}
    elif isinstance(objective, ProjectedLoRAML):
        del shapes["A"]
    at = Parameters(**{name: rng.standard_normal((5, 4, *shape)) for name, shape in shapes.items()})
    flat = ravel(objective, at)
    assert flat.shape == (5, 4, sum(int(np.prod(shape)) for shape in shapes.values()))
    back = unravel(objective, flat, at)
    assert all(np.array_equal(getattr(back, name), getattr(at, name)) for name in shapes)
