"""Every public function of arrays gives the same on array_api_strict and torch as on NumPy, and batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from loraml_theory import closed_forms, landscape, moments, rates, spectra, zoo
from loraml_theory import objectives as objective
from loraml_theory.adapters import Parameters, shift
from loraml_theory.arguments import require_real_floating
from loraml_theory.moments import Moments
from loraml_theory.solvers import (
    alternating_gradient_descent,
    block_descent,
    gradient_descent,
    newton,
)
from loraml_theory.solvers.base import Solution
from loraml_theory.structure import GroundTruth, frobenius, joint_factor, transpose
from loraml_theory.testing import boost_with, moments_with_spectrum, orthogonal_matrix, point
from tests.loraml_theory.conftest import Backend
from tests.loraml_theory.problems import stationary_point

pytestmark = pytest.mark.libraries

D, K, T = 7, 2, 4
CONDITION = 100  # at most, of every case: what a relative change of the arguments is multiplied by


class Case(NamedTuple):
    """A function of arrays, and how to make its arguments from a seed: arrays, truths, moments or parameters.

    `noise` is the relative change of the arguments up to which the result is a continuous function of them.
    """

    function: Callable[..., Any]
    arguments: Callable[[int], tuple[Any, ...]]
    noise: float = 1e-9


def truth(seed: int, T: int = T) -> GroundTruth:
    return zoo.asymmetric(np.random.default_rng(seed), D, K, T)


def data(seed: int, d_out: int = D, n: Any = (10.0, 20.0, 40.0, 10.0)) -> Moments:
    return moments_with_spectrum(d_out=d_out, tasks=T, spectrum=(4.0, 3.0, 2.0, 1.0, 1.0, 1.0, 1.0), n=n, seed=seed)


def at(seed: int, *, d_out: int = D, base: bool = True, tasks: int | None = T, symmetric: bool = False) -> Parameters:
    return point(d_out=d_out, d_in=D, rank=K, tasks=tasks, base=base, symmetric=symmetric, seed=seed)


def shifts(solution: Solution) -> tuple[Any, ...]:
    """What of a solution does not depend on the signs that an eigensolver happens to choose."""
    return shift(solution.parameters), solution.parameters.A, solution.value, solution.status


def everything(problem: Any, where: Parameters, direction: Parameters) -> tuple[Any, ...]:
    return (
        problem.value(where),
        problem.gradient(where),
        problem.hessian_vector(where, direction),
        problem.gradient_scale,
    )


def recovered(W: Any) -> tuple[Any, ...]:
    found = closed_forms.spectral_recovery(W, K)
    return found.A, found.U @ transpose(found.U), found.condition


def lifted(escape: landscape.Escape) -> tuple[Any, ...]:
    """The direction's outer products: its sign and basis are free."""
    return escape.second_order, escape.direction @ transpose(escape.direction)


def saddle(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two tasks, and a stationary point that leaves one eigenvalue of each sign: -lambda < 0 < mu, lambda != mu."""
    of = truth(seed, 2)
    return of.W_retraining, stationary_point(of, [True, False, True, False]) @ orthogonal_matrix(K, seed=seed)


def lowest(m: Moments, where: Parameters) -> Any:
    direction = landscape.most_negative_direction(objective.ProjectedLoRAML(m), where)
    return landscape.directional_curvature(objective.ProjectedLoRAML(m), where, direction)


CASES = {
    "transpose": Case(transpose, lambda s: (truth(s).A_star,)),
    "frobenius": Case(frobenius, lambda s: (truth(s).W,)),
    "joint_factor": Case(joint_factor, lambda s: (truth(s).U_star,)),
    "truth": Case(lambda t: (t.R, t.W_test, t.W_retraining, t.U_retraining, t.scale), lambda s: (truth(s),)),
    "with_tasks": Case(lambda t: t.with_tasks([2, 0]), lambda s: (truth(s),)),
    "moments": Case(lambda m: (m.C, m.yy, m.task(1)), lambda s: (data(s),)),
    "around": Case(lambda m, A: m.around(A[..., None, :, :]), lambda s: (data(s), at(s).A)),
    "ridge": Case(lambda m: m.ridge(0.3), lambda s: (data(s),)),
    "symmetric_power": Case(lambda m: moments.symmetric_power(m.S, -0.5), lambda s: (data(s),)),
    "from_samples": Case(moments.from_samples, lambda s: tuple(np.random.default_rng(s).standard_normal((2, 3, 9)))),
    "population": Case(lambda W: moments.population(W, sigma_x=2.0, sigma=0.1), lambda s: (truth(s).W,)),
    "standard_retraining": Case(closed_forms.standard_retraining, lambda s: (data(s),)),
    "standard_retraining, ridge": Case(lambda m: closed_forms.standard_retraining(m, ridge=0.2), lambda s: (data(s),)),
    "best_rank_error": Case(lambda M: closed_forms.best_rank_error(M, 2), lambda s: (truth(s).W,)),
    "truncate": Case(lambda M: closed_forms.truncate(M, 2), lambda s: (truth(s).W,)),
    "reduced_rank_regression": Case(lambda m: closed_forms.reduced_rank_regression(m, 2), lambda s: (data(s, 3),)),
    "fine_tune": Case(lambda m, A: closed_forms.fine_tune(m.task(0), A, 9), lambda s: (data(s), at(s).A)),
    "boost": Case(
        closed_forms.boost,
        lambda s: (np.array([0.5, s]), *(np.stack([orthogonal_matrix(2, seed=s + i)] * 2) for i in (1, 3))),
    ),
    "two_task_orbit": Case(closed_forms.two_task_orbit, lambda s: (truth(s, 2), boost_with((0.3, 0.7), seed=s))),
    "spectral_recovery": Case(recovered, lambda s: (truth(s).W_retraining,)),
    "psd_factor": Case(
        lambda M: closed_forms.psd_factor(M, 2) @ transpose(closed_forms.psd_factor(M, 2)), lambda s: (truth(s).W,)
    ),
    "rounding, rank, inertia": Case(
        lambda W, scale: (
            spectra.numerical_rank(W, spectra.rounding_level(scale, D)),
            spectra.inertia(W, spectra.rounding_level(scale, D)),
        ),
        lambda s: (truth(s).R[0], truth(s).scale),
        noise=1e-15,  # more makes eigenvalues of zeros, beyond what counts as rounding
    ),
    "separation": Case(spectra.separation, lambda s: (truth(s).U_retraining[:3],)),
    "separation, too many columns": Case(spectra.separation, lambda s: (truth(s).U_star,)),
    "best_triple_separation": Case(spectra.best_triple_separation, lambda s: (truth(s).U_retraining,)),
    "congruence_floor": Case(
        lambda U: spectra.congruence_floor(joint_factor(U), 0.5), lambda s: (truth(s).U_retraining[:3],)
    ),
    "congruence_floor, too many columns": Case(
        lambda U: 1 / spectra.congruence_floor(joint_factor(U), 0.5), lambda s: (truth(s).U_star,)
    ),
    "off_tangent_spectrum": Case(rates.off_tangent_spectrum, lambda s: (truth(s),)),
    "recovery_condition": Case(rates.recovery_condition, lambda s: (truth(s),)),
    "task_losses": Case(objective.task_losses, lambda s: (data(s), truth(s).W_retraining)),
    "standard retraining": Case(
        lambda m, A, dA: everything(objective.StandardRetraining(m), Parameters(A), Parameters(dA)),
        lambda s: (data(s), at(s).A, at(s + 1).A),
    ),
    "LoRA-ML": Case(
        lambda m, p, v: everything(objective.LoRAML(m, 0.1), p, v),
        lambda s: (data(s, 5), at(s, d_out=5), at(s + 1, d_out=5)),
    ),
    "LoRA-ML, symmetric": Case(
        lambda m, p, v: everything(objective.LoRAML(m), p, v),
        lambda s: (data(s), at(s, symmetric=True), at(s + 1, symmetric=True)),
    ),
    "projected LoRA-ML": Case(
        lambda m, p, v: (*everything(objective.ProjectedLoRAML(m), p, v), objective.ProjectedLoRAML(m).complete(p)),
        lambda s: (data(s), at(s, base=False), at(s + 1, base=False)),
    ),
    "fine-tuning": Case(
        lambda m, A, p, v: everything(objective.FineTuning(m.task(0), A, 0.1), p, v),
        lambda s: (data(s), at(s).A, at(s, base=False, tasks=None), at(s + 1, base=False, tasks=None)),
    ),
    "hessian": Case(
        lambda m, p: landscape.curvature(objective.ProjectedLoRAML(m), p), lambda s: (data(s), at(s, base=False))
    ),
    "most_negative_direction": Case(lowest, lambda s: (data(s), at(s, base=False))),
    "escape_direction": Case(lambda W, U: lifted(landscape.escape_direction(W, U)), saddle),
    "newton": Case(
        lambda m, p: shifts(newton(objective.LoRAML(m), p, max_iterations=4)),
        lambda s: (data(s), at(s, symmetric=True)),
    ),
    "gradient descent": Case(
        lambda m, A, p: shifts(gradient_descent(objective.FineTuning(m.task(0), A), p, steps=3, step_size=1e-3)),
        lambda s: (data(s), at(s).A, at(s, base=False, tasks=None)),
    ),
    "alternating gradient descent": Case(
        lambda m, p: shifts(alternating_gradient_descent(objective.LoRAML(m), p, outer_steps=2)),
        lambda s: (data(s), at(s)),
    ),
    "block descent": Case(lambda m: shifts(block_descent(m, K, max_iterations=4)), lambda s: (data(s, 5),)),
    "block descent with memory": Case(
        lambda m: shifts(block_descent(m, K, memory=3, ridge=0.1, max_iterations=4)), lambda s: (data(s, 5),)
    ),
}


def leaves(value: Any) -> list[np.ndarray]:
    """List all arrays inside a result."""
    if isinstance(value, GroundTruth):
        return [value.A_star, value.U_star]
    if isinstance(value, Moments):
        return [value.S, value.W, value.noise]
    if isinstance(value, tuple):
        return [leaf for part in value for leaf in leaves(part)]
    return [] if value is None else [np.asarray(value)]


def assert_equal(one: Any, other: Any) -> None:
    """Equal up to rounding: sums in another order, with the condition that every case has."""
    assert distance(one, other) <= CONDITION * 1e-12


def distance(one: Any, other: Any) -> float:
    """Return the largest difference of two results, whose kinds and shapes agree, relative to one plus their size."""
    first, second = leaves(one), leaves(other)
    assert len(first) == len(second) > 0
    assert [(x.dtype, x.shape) for x in first] == [(y.dtype, y.shape) for y in second]
    return float(np.max([np.max(np.abs(x - y)) / (1 + np.max(np.abs(y))) for x, y in zip(first, second, strict=True)]))


def stacked(values: list[Any]) -> Any:
    """Stack arguments, or what holds them, along a new leading axis."""
    first = values[0]
    if isinstance(first, GroundTruth):
        return GroundTruth(*(np.stack([getattr(v, name) for v in values]) for name in ("A_star", "U_star")))
    if isinstance(first, Moments):
        S, W, noise = (np.stack([getattr(v, name) for v in values]) for name in ("S", "W", "noise"))
        return Moments(S, W, noise, first.n)
    if isinstance(first, tuple):
        parts = [stacked([value[i] for value in values]) for i in range(len(first))]
        return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)
    return None if first is None else np.stack([np.asarray(v) for v in values])


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_case_has_one_answer(name: str, seed: int) -> None:
    """Libraries may differ where a multiple eigenvalue or a tie decides: there a small change makes a large one."""
    function, arguments, noise = CASES[name]
    rng = np.random.default_rng(seed)
    near = Backend("near", lambda a: a * (1 + noise * rng.uniform(-1, 1, np.shape(a))), np.asarray)
    assert distance(function(*near.put(arguments(seed))), function(*arguments(seed))) <= CONDITION * noise


@pytest.mark.parametrize("name", CASES)
def test_other_libraries_give_what_numpy_gives(name: str, backend: Backend) -> None:
    function, arguments, _ = CASES[name]
    expected = function(*arguments(1))
    assert_equal(backend.get(function(*backend.put(arguments(1)))), expected)


@pytest.mark.parametrize("name", CASES)
def test_a_batch_gives_what_its_elements_give(name: str) -> None:
    function, arguments, _ = CASES[name]
    single = [arguments(seed) for seed in (1, 2, 3)]
    batch = function(*stacked(single))
    elements = [function(*each) for each in single]
    assert_equal(tuple(leaves(batch)), tuple(np.stack(each) for each in zip(*map(leaves, elements), strict=True)))


@pytest.mark.parametrize("n", [3, 20])
def test_draws_are_the_same_on_every_library(n: int, backend: Backend) -> None:
    W = truth(0).W
    made = [moments.draw(np.random.default_rng(5), w, n, sigma=0.1, batch=(2,)) for w in (W, backend.put(W))]
    assert_equal(backend.get(made[1]), made[0])


def test_refusals_are_the_same_on_every_library(backend: Backend) -> None:
    with pytest.raises(ValueError, match="M: holds NaN or infinity"):
        require_real_floating("M", backend.put(np.array([1.0, np.nan])))
    with pytest.raises(TypeError, match=r"M: got dtype .*int64, expected float64"):
        require_real_floating("M", backend.put(np.array([1, 2])))
