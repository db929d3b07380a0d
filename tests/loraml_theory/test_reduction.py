"""The reduction to the span of the differences is exact, and large structures are recovered in it."""

from __future__ import annotations

import numpy as np
import pytest

from loraml_theory import zoo
from loraml_theory.adapters import Parameters
from loraml_theory.closed_forms import boost, spectral_recovery, two_task_orbit
from loraml_theory.landscape import curvature
from loraml_theory.moments import population
from loraml_theory.objectives import ProjectedLoRAML
from loraml_theory.reduction import Reduction, reduce_to_span
from loraml_theory.solvers import newton
from loraml_theory.solvers.base import gradient_norm
from loraml_theory.structure import GroundTruth

pytestmark = pytest.mark.libraries

SIZES = [(9, 1, 3), (10, 2, 3), (7, 3, 4), (8, 2, 2)]  # at the third kT > d


def reduced(truth: GroundTruth, seed: int = 0) -> Reduction:
    return reduce_to_span(np.random.default_rng(seed), truth.W_retraining, truth.k)


def complement(Q: np.ndarray) -> np.ndarray:
    return np.linalg.qr(Q, mode="complete")[0][:, Q.shape[1] :]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["generic", "asymmetric"])
def test_the_objective_splits_as_stated(size: tuple[int, int, int], kind: str) -> None:
    rng = np.random.default_rng(1)
    truth = zoo.KINDS[kind](rng, *size)
    d, k, T = size
    found = reduced(truth)
    m = found.Q.shape[1]
    assert m == min(d, k * T)
    assert found.outside < 1e-13
    assert pytest.approx(np.eye(m), abs=1e-13) == found.Q.T @ found.Q
    X, Y = rng.standard_normal((T, m, k)), rng.standard_normal((T, d - m, k))

    def spread(M: np.ndarray) -> float:
        return float(np.sum((M - M.mean(axis=0)) ** 2))

    whole = ProjectedLoRAML(population(truth.W_retraining, sigma_x=2.0))
    part = ProjectedLoRAML(population(found.W, sigma_x=2.0))
    U = found.lift(X) + complement(found.Q) @ Y
    outside = 4 * spread(X @ np.swapaxes(Y, -1, -2)) + 2 * spread(Y @ np.swapaxes(Y, -1, -2))
    expected = float(part.value(Parameters(U=X))) + outside
    assert float(whole.value(Parameters(U=U))) == pytest.approx(expected, rel=1e-12)
    inside = Parameters(U=found.lift(X))
    assert whole.base(inside) == pytest.approx(found.base(X), abs=1e-12)
    norms = [float(gradient_norm(o, o.gradient(p))) for o, p in ((whole, inside), (part, Parameters(U=X)))]
    assert norms[0] == pytest.approx(norms[1], rel=1e-10)


def test_the_basis_depends_on_the_generator_and_the_problem_does_not() -> None:
    truth = zoo.generic(np.random.default_rng(2), 9, 2, 3)
    one, other = reduced(truth, 0), reduced(truth, 1)
    assert pytest.approx(other.Q @ other.Q.T, abs=1e-12) == one.Q @ one.Q.T
    assert np.linalg.eigvalsh(one.W) == pytest.approx(np.linalg.eigvalsh(other.W), abs=1e-11)


def test_minimisers_of_two_tasks_lie_in_the_span() -> None:
    truth = zoo.generic(np.random.default_rng(3), 10, 2, 2)
    found = reduced(truth)
    A, U = two_task_orbit(truth, boost(np.array([0.4, 1.0])))
    X = found.Q.T @ U
    assert found.lift(X) == pytest.approx(U, abs=1e-12)
    assert found.base(X) == pytest.approx(A, abs=1e-12)


def test_where_all_tasks_are_one_some_minimisers_leave_the_span() -> None:
    """Statement 3 is sharp: the span is 0-dimensional, and any common factor explains the tasks."""
    truth = zoo.generic(np.random.default_rng(4), 6, 1, 2)
    same = GroundTruth(truth.A_star, truth.U_star[[0, 0, 2]])
    U = np.ones((2, 6, 1))
    value = ProjectedLoRAML(population(same.W_retraining)).value(Parameters(U=U))
    assert float(value) == pytest.approx(0, abs=1e-25)
    assert np.linalg.norm(reduced(same).W) < 1e-13


def test_a_spurious_minimum_is_found_reduced_and_stays_one() -> None:
    truth = zoo.spurious(np.random.default_rng(0), 8, 1, 3)
    found = reduced(truth)
    assert found.W.shape == (3, 3, 3)
    objective = ProjectedLoRAML(population(found.W))
    starts = np.random.default_rng(5).standard_normal((60, 3, 3, 1))
    ends = newton(objective, Parameters(U=starts))
    trapped = np.flatnonzero(ends.converged & (ends.value > 1e-6))
    assert ends.value[trapped] == pytest.approx(0.0973459, abs=1e-6)
    assert trapped.size > 0
    X = ends.parameters.U[trapped[0]]
    whole, at = ProjectedLoRAML(population(truth.W_retraining)), Parameters(U=found.lift(X))
    assert float(gradient_norm(whole, whole.gradient(at))) < 1e-11
    assert curvature(whole, at)[0] > 1e-3


def test_what_the_span_misses_is_measured() -> None:
    rng = np.random.default_rng(6)
    truth = zoo.generic(rng, 9, 1, 3)
    noisy = truth.W_retraining + 1e-3 * rng.standard_normal((3, 9, 9))
    assert 1e-5 < float(reduce_to_span(rng, noisy, 1).outside) < 1e-2


@pytest.mark.parametrize("k", [0, 10])
def test_a_rank_out_of_range_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match="expected 1 <= k <= d = 9"):
        reduce_to_span(np.random.default_rng(0), np.zeros((3, 9, 9)), k)


def test_a_large_structure_is_recovered_in_the_span() -> None:
    truth = zoo.generic(np.random.default_rng(7), 256, 4, 5)
    found = reduced(truth)
    spectral = found.base(spectral_recovery(found.W, truth.k).U)
    assert np.linalg.norm(spectral - truth.A_star) < 1e-10 * np.linalg.norm(truth.A_star)
    start = 0.1 * np.random.default_rng(8).standard_normal((5, *found.W.shape[-2:-1], 4))
    end = newton(ProjectedLoRAML(population(found.W)), Parameters(U=start), relative_tolerance=1e-13)
    assert bool(end.converged)
    assert np.linalg.norm(found.base(end.parameters.U) - truth.A_star) < 1e-9 * np.linalg.norm(truth.A_star)
