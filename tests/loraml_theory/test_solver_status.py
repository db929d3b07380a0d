"""Not converging is a status, never an answer: each status can be reached, alone and in a batch."""

from __future__ import annotations

import numpy as np
import pytest

from loraml_theory import zoo
from loraml_theory.adapters import Parameters
from loraml_theory.moments import Moments, population
from loraml_theory.objectives import FineTuning, LoRAML, ProjectedLoRAML, StandardRetraining
from loraml_theory.solvers import (
    ConvergenceError,
    Solution,
    Status,
    alternating_gradient_descent,
    block_descent,
    gradient_descent,
    newton,
)
from loraml_theory.solvers.base import ravel, unravel
from loraml_theory.testing import point

TRUTH = zoo.generic(np.random.default_rng(0), 4, 1, 3)
MOMENTS = population(TRUTH.W_retraining)
START = point(d_out=4, d_in=4, rank=1, tasks=3, symmetric=True, scale=0.1, seed=1)
QUADRATIC = StandardRetraining(MOMENTS)
ORIGIN = Parameters(np.zeros((4, 4)))


def status(solution: Solution) -> Status:
    return Status(int(solution.status))


def test_converged_means_a_gradient_of_at_most_the_tolerance() -> None:
    solution = newton(LoRAML(MOMENTS), START)
    assert status(solution) == Status.CONVERGED
    assert solution.gradient_norm <= solution.tolerance
    assert solution.tolerance == pytest.approx(1e-12 * float(LoRAML(MOMENTS).gradient_scale))
    assert solution.require_converged() is solution


def test_a_start_that_is_stationary_needs_no_iteration() -> None:
    truth = Parameters(TRUTH.A_star, TRUTH.U_retraining)
    assert newton(LoRAML(MOMENTS), truth).iterations == 0


@pytest.mark.parametrize(
    "solve",
    [
        lambda **o: newton(LoRAML(MOMENTS), START, max_iterations=2, **o),
        lambda **o: block_descent(MOMENTS, 1, max_iterations=2, **o),
        lambda **o: gradient_descent(LoRAML(MOMENTS), START, steps=2, step_size=1e-3, **o),
        lambda **o: alternating_gradient_descent(LoRAML(MOMENTS), START, outer_steps=2, **o),
    ],
    ids=["newton", "block", "gradient", "alternating"],
)
def test_running_out_of_iterations(solve) -> None:  # type: ignore[no-untyped-def]
    solution = solve()
    assert status(solution) == Status.MAX_ITERATIONS
    assert solution.iterations == 2
    assert not solution.converged
    with pytest.raises(
        ConvergenceError, match="after 2 iterations: 0 converged, 1 max_iterations, 0 stalled, 0 diverged"
    ):
        solve(throw=True)


def test_a_tolerance_below_rounding_stalls() -> None:
    noisy = Moments(MOMENTS.S, MOMENTS.W + np.pi, MOMENTS.noise + 1.0, MOMENTS.n)
    solution = newton(LoRAML(noisy), START, relative_tolerance=0.0, max_iterations=2000)
    assert status(solution) == Status.STALLED
    assert solution.gradient_norm <= 1e-12 * float(LoRAML(noisy).gradient_scale)


@pytest.mark.filterwarnings("ignore:overflow|invalid value:RuntimeWarning")
def test_steps_that_are_too_long_diverge() -> None:
    solution = gradient_descent(LoRAML(MOMENTS), START, steps=200, step_size=10.0)
    assert status(solution) == Status.DIVERGED
    with pytest.raises(ConvergenceError, match="1 diverged"):
        solution.require_converged()


@pytest.mark.filterwarnings("ignore:overflow|invalid value:RuntimeWarning")
def test_newton_from_a_point_whose_value_overflows_is_diverged() -> None:
    far = START._replace(U=1e200 * START.U)
    assert status(newton(LoRAML(MOMENTS), far)) == Status.DIVERGED


@pytest.mark.filterwarnings("ignore:overflow|invalid value:RuntimeWarning")
def test_every_batch_element_has_its_own_status() -> None:
    """At the minimum, on the way to it, and beyond the range of float64."""
    U = np.stack([TRUTH.U_retraining, 3 * START.U, 1e200 * START.U])
    solution = newton(ProjectedLoRAML(MOMENTS), Parameters(U=U), max_iterations=1)
    assert [Status(int(s)) for s in solution.status] == [Status.CONVERGED, Status.MAX_ITERATIONS, Status.DIVERGED]
    assert np.array_equal(solution.parameters.U[0], U[0])  # what is done rests


def test_a_problem_of_size_zero_is_solved_where_it_is() -> None:
    """No residual to fit: the tolerance is 0, and zero factors meet it."""
    tuning = FineTuning(population(np.zeros((2, 2))), np.zeros((2, 2)))
    zero = Parameters(None, np.zeros((2, 1)), np.zeros((2, 1)))
    assert status(newton(tuning, zero)) == Status.CONVERGED
    ones = Parameters(None, np.ones((2, 1)), np.ones((2, 1)))
    solution = newton(tuning, ones, max_iterations=5)
    assert status(solution) == Status.MAX_ITERATIONS
    assert solution.value < tuning.value(ones)


def test_newton_is_limited_by_its_inner_steps() -> None:
    """One conjugate-gradient step a region is steepest descent: slower, to the same point."""
    slow = newton(QUADRATIC, ORIGIN, max_inner=1)
    assert pytest.approx(newton(QUADRATIC, ORIGIN).parameters.A, abs=1e-9) == slow.require_converged().parameters.A


@pytest.mark.parametrize("rank", [0, 5])
def test_block_descent_needs_a_rank_that_fits(rank: int) -> None:
    with pytest.raises(ValueError, match=rf"rank: got {rank}, expected 1 <= rank <= min\(d_out, d_in\) = 4"):
        block_descent(MOMENTS, rank)


def test_block_descent_needs_a_length_of_memory() -> None:
    with pytest.raises(ValueError, match="memory: got -1, expected a whole number >= 0"):
        block_descent(MOMENTS, 1, memory=-1)


def test_observers_see_the_start_and_every_step() -> None:
    seen: list[int] = []
    gradient_descent(QUADRATIC, ORIGIN, steps=3, step_size=0.1, observe=lambda step, _: seen.append(step))
    assert seen == [0, 1, 2, 3]


@pytest.mark.parametrize("objective", [LoRAML(MOMENTS), ProjectedLoRAML(MOMENTS)], ids=["full", "projected"])
def test_ravel_and_unravel_are_inverse(objective: LoRAML | ProjectedLoRAML) -> None:
    at = point(d_out=4, d_in=4, rank=2, tasks=3, base=isinstance(objective, LoRAML), seed=3)
    batch = Parameters(*(None if x is None else np.stack([x, 2 * x]) for x in at))
    flat = ravel(objective, batch)
    assert flat.shape[0] == 2
    for back, value in zip(unravel(objective, flat, batch), batch, strict=True):
        assert (back is None and value is None) or np.array_equal(back, value)
