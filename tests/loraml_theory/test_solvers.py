"""Every solver ends where the closed forms say, and agrees with the others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraml_theory import testing, zoo
from loraml_theory.adapters import Parameters, shift
from loraml_theory.closed_forms import reduced_rank_regression, spectral_recovery, standard_retraining
from loraml_theory.landscape import curvature, gauge_dimension
from loraml_theory.moments import Moments, draw, population
from loraml_theory.objectives import FineTuning, LoRAML, ProjectedLoRAML, StandardRetraining, task_losses
from loraml_theory.solvers import (
    Status,
    alternating_gradient_descent,
    block_descent,
    gradient_descent,
    newton,
)
from loraml_theory.structure import GroundTruth
from loraml_theory.testing import (
    ground_truths,
    moments_with_spectrum,
    parameters,
    point,
    truth_with_spectrum,
)

# A converged solver's parameters err by tolerance / smallest curvature: at most about 1e-12 * 1e4 on these problems.
AGREEMENT = 1e-7


@settings(max_examples=20)
@given(testing.moments(), st.integers(1, 9))
def test_newton_finds_standard_retraining_in_one_region(m: Moments, seed: int) -> None:
    d_out, d_in = m.W.shape[-2:]
    start = Parameters(point(d_out=d_out, d_in=d_in, rank=1, tasks=None, seed=seed).A)
    solution = newton(StandardRetraining(m), start).require_converged()
    assert pytest.approx(standard_retraining(m), abs=1e-10) == solution.parameters.A


@settings(max_examples=20)
@given(testing.moments(tasks=0, d_out=3, d_in=st.integers(2, 4)), st.integers(1, 9))
def test_newton_and_gradient_descent_find_reduced_rank_regression(m: Moments, seed: int) -> None:
    """FT-1: no bad local minima, so any start that is not a saddle does. A gap keeps the minimiser unique."""
    d_out, d_in = m.W.shape
    left, _, right = np.linalg.svd(np.random.default_rng(seed).standard_normal((d_out, d_in)), full_matrices=False)
    root = np.linalg.cholesky(m.S)
    W = (left * (4.0 / 2.0 ** np.arange(left.shape[1]))) @ right @ np.linalg.inv(root)
    tuning = FineTuning(Moments(m.S, W, m.noise, m.n), np.zeros_like(W))
    best = reduced_rank_regression(tuning.moments, 1)
    start = point(d_out=d_out, d_in=d_in, rank=1, tasks=None, base=False, scale=0.1, seed=seed)
    second = newton(tuning, start).require_converged()
    assert shift(second.parameters) == pytest.approx(best, abs=AGREEMENT)
    first = gradient_descent(tuning, start, steps=2000, step_size=0.2 / float(tuning.gradient_scale))
    assert float(first.value) == pytest.approx(float(task_losses(tuning.residual, best)), rel=1e-3)


def test_gradient_descent_from_zero_factors_stays_at_the_saddle() -> None:
    tuning = FineTuning(population(np.eye(3)), np.zeros((3, 3)))
    zero = Parameters(None, np.zeros((3, 1)), np.zeros((3, 1)))
    solution = gradient_descent(tuning, zero, steps=10, step_size=0.1)
    assert np.all(solution.parameters.U == 0)
    assert solution.value == pytest.approx(1.5)


def test_gradient_descent_ends_where_a_step_changes_no_bit() -> None:
    truth = zoo.generic(np.random.default_rng(0), 5, 1, 3)
    tuning = FineTuning(draw(np.random.default_rng(1), truth.W_test, 50, sigma=0.1), truth.A_star)
    start = point(d_out=5, d_in=5, rank=1, tasks=None, base=False, scale=0.3, seed=0)
    rate = 0.2 / float(np.linalg.norm(tuning.residual.S, 2) * np.linalg.norm(tuning.residual.W, 2))
    ended = gradient_descent(tuning, start, steps=5000, step_size=rate)
    watched = gradient_descent(tuning, start, steps=5000, step_size=rate, observe=lambda *_: None)
    assert ended.iterations < watched.iterations == 5000
    assert np.array_equal(ended.parameters.U, watched.parameters.U)
    assert np.array_equal(ended.parameters.V, watched.parameters.V)


@pytest.mark.parametrize("ridge", [0.0, 0.3])
@pytest.mark.parametrize("rank", [1, 2])
def test_fine_tuning_descends_to_the_closed_form(ridge: float, rank: int) -> None:
    """Also above the true rank 1, where losses agree; the second singular value is noise, and descent slow."""
    rng = np.random.default_rng(0)
    truth = zoo.generic(rng, 5, 1, 3)
    m = draw(rng, truth.W_test, 100, sigma=0.1)
    tuning = FineTuning(m, truth.A_star, ridge)
    start = point(d_out=5, d_in=5, rank=rank, tasks=None, base=False, scale=0.1, seed=1)
    best = float(task_losses(tuning.residual, reduced_rank_regression(m.around(truth.A_star), rank, ridge=ridge)))
    first = gradient_descent(tuning, start, steps=3000, step_size=2e-2)
    assert best * (1 - 1e-12) <= float(first.value) <= best * (1 + (1e-9 if rank == 1 else 0.05))
    second = newton(tuning, first.parameters).require_converged()
    assert float(second.value) == pytest.approx(best, rel=1e-10)


@settings(max_examples=15)
@given(ground_truths(T=3, k=1, d=st.integers(4, 6), independent=True, conditioning=3.0), st.data())
def test_from_near_the_truth_all_solvers_recover_it(truth: GroundTruth, data: st.DataObject) -> None:
    """ML-3: the minimiser is unique up to the gauge; a start within 1 % of it is in its basin."""
    noise = data.draw(parameters(d_out=truth.d, d_in=truth.d, rank=1, tasks=3, symmetric=True, scale=0.01))
    start = Parameters(truth.A_star + noise.A, truth.U_retraining + noise.U)
    m = population(truth.W_retraining)
    f = newton(LoRAML(m), start).require_converged()
    g = newton(ProjectedLoRAML(m), start._replace(A=None)).require_converged()
    both = newton(LoRAML(m), start._replace(V=start.U)).require_converged()
    swept = block_descent(m, 1, base=start.A, max_iterations=3000).require_converged()
    tolerance = AGREEMENT * float(truth.scale)
    for found in (
        f.parameters.A,
        ProjectedLoRAML(m).base(g.parameters),
        both.parameters.A,
        swept.parameters.A,
        spectral_recovery(m.W, 1).A,
    ):
        assert found == pytest.approx(truth.A_star, abs=tolerance)


def test_one_step_of_the_paper_s_descent_by_hand() -> None:
    """Task gradients unweighted for the adapters, then their mean over tasks, at the new adapters, for the base."""
    W = np.array([[[2.0]], [[4.0]]])
    start = Parameters(np.array([[1.0]]), np.array([[[1.0]], [[1.0]]]))
    found = alternating_gradient_descent(
        LoRAML(population(W)), start, outer_steps=1, outer_step_size=0.5, inner_steps=1, inner_step_size=0.25
    ).parameters
    # residuals 1 + 1 - W = 0 and -2, gradients 2 E U = 0 and -4: U = 1 and 2; then residuals 0 and 1, mean 1/2
    assert found.U[:, 0, 0] == pytest.approx([1.0, 2.0])
    assert found.A[0, 0] == pytest.approx(1 - 0.5 * 0.5)
    ridged = alternating_gradient_descent(
        LoRAML(population(W), 1.0), start, outer_steps=1, outer_step_size=0.5, inner_steps=1, inner_step_size=0.25
    ).parameters
    # with ridge 1 the shifts' own gradients 2 U^3 = 2 join in: U = 1/2 and 3/2, residuals -3/4 and -3/4, base +1
    assert ridged.U[:, 0, 0] == pytest.approx([0.5, 1.5])
    assert ridged.A[0, 0] == pytest.approx(1 - 0.5 * (-0.75 + 1))


def test_the_paper_s_descent_reaches_the_same_minimum() -> None:
    truth = zoo.generic(np.random.default_rng(3), 5, 1, 3)
    objective = LoRAML(population(truth.W_retraining))
    start = point(d_out=5, d_in=5, rank=1, tasks=3, symmetric=True, scale=0.1, seed=1)._replace(A=np.zeros((5, 5)))
    values = []
    solution = alternating_gradient_descent(
        objective, start, outer_steps=3000, observe=lambda _, at: values.append(float(objective.value(at)))
    )
    assert len(values) == 3001
    assert np.all(np.diff(values) <= 1e-12 * values[0])
    polished = newton(objective, solution.parameters).require_converged()
    assert float(polished.value) <= float(solution.value)
    assert pytest.approx(solution.parameters.A, abs=0.05 * float(truth.scale)) == polished.parameters.A


@settings(max_examples=15)
@given(
    testing.moments(d_out=st.integers(2, 3), d_in=st.integers(2, 4), tasks=3, conditioning=3.0),
    st.sampled_from([0, 5]),
)
def test_block_descent_agrees_with_newton_on_rectangular_weighted_tasks(m: Moments, memory: int) -> None:
    """With a ridge the minimum exists; polishing what block descent found changes it by rounding only."""
    solution = block_descent(m, 1, ridge=0.5, memory=memory, max_iterations=200)
    polished = newton(LoRAML(m, 0.5), solution.parameters)
    lowered = float(solution.value) - float(polished.value)
    allowed = 1e-10 if solution.converged else 0.1
    assert -1e-12 <= lowered / (1 + float(solution.value)) <= allowed


def test_block_descent_never_ascends_and_its_memory_saves_steps() -> None:
    truth = zoo.generic(np.random.default_rng(1), 6, 1, 4)
    m = draw(np.random.default_rng(2), truth.W_retraining, 200, sigma=0.1)
    values = [float(block_descent(m, 1, max_iterations=i).value) for i in range(0, 30, 5)]
    assert np.all(np.diff(values) <= 1e-13 * values[0])
    plain = block_descent(m, 1, max_iterations=5000).require_converged()
    fast = block_descent(m, 1, memory=5, max_iterations=5000).require_converged()
    assert fast.iterations < plain.iterations
    assert pytest.approx(plain.parameters.A, abs=AGREEMENT) == fast.parameters.A


def test_weights_count_in_every_solver() -> None:
    """Unequal numbers of samples: all solvers end at the same weighted minimum."""
    truth = zoo.generic(np.random.default_rng(4), 5, 1, 3)
    base = draw(np.random.default_rng(5), truth.W_retraining, 50, sigma=0.1)
    m = Moments(base.S, base.W, base.noise, (20.0, 50.0, 200.0))
    near = Parameters(truth.A_star, truth.U_retraining, truth.U_retraining)
    found = newton(LoRAML(m), near).require_converged().parameters.A
    g = newton(ProjectedLoRAML(m), near._replace(A=None)).require_converged()
    swept = block_descent(m, 1, base=truth.A_star, max_iterations=5000).require_converged()
    assert ProjectedLoRAML(m).base(g.parameters) == pytest.approx(found, abs=AGREEMENT)
    assert pytest.approx(found, abs=AGREEMENT) == swept.parameters.A
    unweighted = newton(LoRAML(base), near).require_converged().parameters.A
    assert np.max(np.abs(unweighted - found)) > 1e-4


# ML-5 and the gauge.


@pytest.mark.parametrize("d", [3, 5])
def test_the_spurious_minimum_is_found_and_strict(d: int) -> None:
    truth = zoo.spurious(np.random.default_rng(0), d, 1, 3)
    g = ProjectedLoRAML(population(truth.W_retraining))
    rng = np.random.default_rng(0)
    solution = newton(g, Parameters(U=rng.standard_normal((100, 3, d, 1))))
    stuck = np.flatnonzero(solution.converged & (np.abs(solution.value - 0.0973459) < 1e-7))
    # about a fifth of the starts: none of 100 would have a chance of 1e-10
    assert 1 <= stuck.size < 60
    values = curvature(g, Parameters(U=solution.parameters.U[stuck[0]]))
    assert values[0] == pytest.approx(0.024538, abs=1e-6)


@pytest.mark.parametrize(("k", "T"), [(2, 3), (3, 3), (2, 4)])
def test_the_gauge_leaves_zero_eigenvalues_at_a_minimum(k: int, T: int) -> None:
    truth = zoo.orthogonal(np.random.default_rng(k), k * (T + 1), k, T)
    g = ProjectedLoRAML(population(truth.W_retraining))
    start = truth.U_retraining + 0.05 * np.random.default_rng(9).standard_normal(truth.U_retraining.shape)
    solution = newton(g, Parameters(U=start)).require_converged()
    values = curvature(g, solution.parameters)
    free = gauge_dimension(k, T)
    assert np.sum(np.abs(values) < 1e-9) == free
    assert np.all(values[free:] > 1e-3)


@settings(max_examples=10)
@given(st.integers(0, 50))
def test_two_tasks_always_reach_a_global_minimum(seed: int) -> None:
    """ML-4: what converges from a random start is global (f = 0), a saddle being hit with probability 0."""
    truth = truth_with_spectrum(d=5, k=2, T=2, spectrum=(2, 2, 1, 1, 1), seed=seed)
    g = ProjectedLoRAML(population(truth.W_retraining))
    start = point(d_out=5, d_in=5, rank=2, tasks=2, base=False, symmetric=True, seed=seed + 1)
    solution = newton(g, start)
    assert Status(int(solution.status)) == Status.CONVERGED
    assert solution.value <= 1e-20


def test_newton_solves_many_starts_at_once() -> None:
    m = moments_with_spectrum(d_out=3, tasks=None, spectrum=(3.0, 2.0, 1.0), seed=5)
    tuning = FineTuning(m, np.zeros((3, 3)))
    starts = [point(d_out=3, d_in=3, rank=1, tasks=None, base=False, seed=s) for s in (1, 2, 3)]
    batch = Parameters(None, *(np.stack([getattr(s, name) for s in starts]) for name in ("U", "V")))
    together = newton(tuning, batch).require_converged()
    alone = [float(newton(tuning, start).value) for start in starts]
    assert together.value == pytest.approx(np.array(alone), rel=1e-12)
