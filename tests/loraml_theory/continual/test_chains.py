from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given

from loraml_theory import zoo
from loraml_theory.adapters import Parameters, shift
from loraml_theory.continual.chains import (
    descent,
    forgotten,
    incremental,
    joint,
    loss_matrix,
    minimum_norm,
    orthogonal,
    outside,
    pooled,
    sequential,
)
from loraml_theory.continual.descents import factor_descent, shift_descent
from loraml_theory.moments import Moments, draw, from_samples, population
from loraml_theory.objectives import FineTuning, StandardRetraining, task_losses
from loraml_theory.solvers import gradient_descent
from loraml_theory.testing import seeds
from tests.loraml_theory.conftest import Backend

D, K, T = 7, 1, 3


def tasks(seed: int, n: int = 40) -> tuple[Moments, np.ndarray]:
    """Draw moments of three tasks, all regular and unequal, and a base."""
    truth = zoo.asymmetric(np.random.default_rng(seed), D, K, T)
    return draw(np.random.default_rng(seed + 1), truth.W_retraining, n, sigma=0.1), truth.A_star


def apart() -> tuple[Moments, np.ndarray]:
    """Draw tasks whose shifts and their differences have singular values far apart, so that descent is quick."""
    truth = zoo.orthogonal(np.random.default_rng(0), D, K, T)
    U = truth.U_retraining * np.array([1.0, 1.4, 1.8])[:, None, None]
    W = truth.A_star + U @ U.swapaxes(-1, -2)
    return draw(np.random.default_rng(1), W, 400, sigma=0.01), truth.A_star


def stacked(*some: Moments) -> Moments:
    """Return moments with a new first axis."""
    S, W, noise = (np.stack([getattr(each, name) for each in some]) for name in ("S", "W", "noise"))
    return Moments(S, W, noise, some[0].n)


def after(moments: Moments, base: np.ndarray) -> dict[str, np.ndarray]:
    """Return the shifts of every method."""
    return {
        "sequential": sequential(moments, base, K),
        "incremental": incremental(moments, base, K),
        "orthogonal": orthogonal(moments, base, K),
        "descent": descent(moments, base, step_size=0.1, steps=5),
        "descent with orthogonal rows": descent(moments, base, step_size=0.1, steps=5, orthogonal_rows=True),
        "minimum norm": minimum_norm(moments, base),
        "joint": joint(moments, base, 2 * K),
    }


@pytest.mark.parametrize("method", ["sequential", "incremental", "orthogonal"])
def test_closed_forms_are_where_descent_on_the_factors_ends(method: Any) -> None:
    moments, base = apart()
    # the pairs of `orthogonal` occupy whole rows of A, and here the updates have the full rank of the pairs
    start = np.random.default_rng(2).standard_normal((T, D, K)) / 2
    found = factor_descent(
        moments, base, Parameters(U=np.zeros((T, D, K)), V=start), method=method, step_size=0.1, steps=1500
    )
    assert found == pytest.approx(after(moments, base)[method], abs=1e-9)


@pytest.mark.parametrize("orthogonal_rows", [False, True])
@given(seeds())
def test_descent_on_the_shift_is_taken_step_by_step(orthogonal_rows: bool, seed: int) -> None:
    moments, base = tasks(seed)
    closed, walked = (
        take(moments, base, step_size=0.07, steps=4, orthogonal_rows=orthogonal_rows)
        for take in (descent, shift_descent)
    )
    assert closed == pytest.approx(walked, abs=1e-10)


def test_descent_on_the_shift_is_gradient_descent() -> None:
    moments, base = tasks(0)
    at, expected = base, shift_descent(moments, base, step_size=0.07, steps=4)
    for t in range(T):
        one = Moments(moments.S[t : t + 1], moments.W[t : t + 1], moments.noise[t : t + 1], moments.n)
        at = gradient_descent(StandardRetraining(one), Parameters(A=at), steps=4, step_size=0.07).parameters.A
        assert expected[t] == pytest.approx(at - base, abs=1e-11)


def test_descent_tends_to_the_step_of_least_norm_also_on_singular_inputs() -> None:
    rng = np.random.default_rng(0)
    moments = from_samples(rng.standard_normal((T, D, 3)), rng.standard_normal((T, 4, 3)))
    base = rng.standard_normal((4, D))
    assert descent(moments, base, step_size=0.3, steps=4000) == pytest.approx(minimum_norm(moments, base), abs=1e-9)
    assert forgotten(loss_matrix(moments, base, minimum_norm(moments, base))).shape == (T - 1,)


@given(seeds())
def test_orthogonal_updates_have_orthogonal_rows_and_no_better_one_exists(seed: int) -> None:
    moments, base = tasks(seed)
    shifts = orthogonal(moments, base, K)
    updates = np.diff(shifts, axis=0, prepend=0 * shifts[:1])
    size = float(np.max(np.abs(updates))) ** 2
    assert updates[0] @ updates[1].T == pytest.approx(0, abs=1e-11 * size)
    assert updates[:2] @ updates[2].T == pytest.approx(0, abs=1e-11 * size)
    rows = np.linalg.svd(np.concatenate(updates[:2]))[2]
    rng = np.random.default_rng(seed + 2)
    at = loss_matrix(moments, base, shifts)[T, T - 1]
    for scale in (1.0, 1e-2):
        left, right = rng.standard_normal((2, D)) * scale
        update = updates[2] + np.outer(left, right @ rows[2:].T @ rows[2:])
        u, s, v = np.linalg.svd(update)
        nearby = shifts[1] + s[0] * np.outer(u[:, 0], v[0])
        assert task_losses(moments.task(2), base + nearby) >= at * (1 - 1e-12)


def test_a_task_met_again_takes_no_room() -> None:
    truth = zoo.repeated_task(np.random.default_rng(0), D, K, 5)
    moments = population(truth.W_retraining)
    shifts = orthogonal(moments, truth.A_star, K)
    assert shifts[2:] == pytest.approx(np.stack([shifts[1]] * 3), abs=1e-12)


@given(seeds())
def test_moments_outside_keep_the_loss_and_its_gradient(seed: int) -> None:
    moments, base = tasks(seed)
    task, rng = moments.around(base).task(0), np.random.default_rng(seed)
    rows = np.linalg.qr(rng.standard_normal((D, 2)))[0]
    free = np.eye(D) - rows @ rows.T
    restricted, M = outside(task, rows @ rows.T), rng.standard_normal((D, D)) @ free
    assert float(task_losses(restricted, M)) == pytest.approx(float(task_losses(task, M)), rel=1e-11)
    gradient = (M - restricted.W) @ restricted.S
    assert gradient == pytest.approx((M - task.W) @ task.S @ free, abs=1e-11 * float(np.max(np.abs(task.C))))
    assert restricted.W @ rows == pytest.approx(0, abs=1e-11 * float(np.max(np.abs(task.W))))


def test_pooled_moments_are_those_of_all_samples() -> None:
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((T, D, 20)), rng.standard_normal((T, 4, 20))
    found = pooled(from_samples(X, Y))
    expected = from_samples(np.concatenate(list(X), axis=1), np.concatenate(list(Y), axis=1))
    assert found.n == expected.n
    for name in ("S", "W", "noise"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-13)


def test_pooled_moments_weigh_tasks_by_their_samples() -> None:
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((D, 60)), rng.standard_normal((4, 60))
    one, two = from_samples(X[:, :20], Y[:, :20]), from_samples(X[:, 20:], Y[:, 20:])
    both = replace(stacked(one, two), n=(20.0, 40.0))
    found, expected = pooled(both), from_samples(X, Y)
    assert found.n == 60
    for name in ("S", "W", "noise"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-13)


def test_joint_descent_ends_at_the_joint_shift() -> None:
    moments, base = apart()
    U, V = np.random.default_rng(3).standard_normal((2, D, 2))
    end = gradient_descent(FineTuning(pooled(moments), base), Parameters(U=U, V=V), steps=1500, step_size=0.1)
    assert shift(end.parameters) == pytest.approx(joint(moments, base, 2), abs=1e-9)


def test_loss_matrix_has_the_base_first_and_counts_what_is_lost() -> None:
    moments, base = tasks(0)
    shifts = incremental(moments, base, K)
    losses = loss_matrix(moments, base, shifts)
    for i, M in enumerate([base, *(base + shifts)]):
        assert losses[i] == pytest.approx([float(task_losses(moments.task(j), M)) for j in range(T)], rel=1e-13)
    assert forgotten(losses) == pytest.approx([losses[T, j] - losses[j + 1, j] for j in range(T - 1)])


def test_batches_are_chains_side_by_side() -> None:
    some = [tasks(seed) for seed in (0, 1)]
    batch = stacked(*(m for m, _ in some))
    bases = np.stack([base for _, base in some])
    for name, whole in after(batch, bases).items():
        each = np.stack([after(*one)[name] for one in some])
        assert whole == pytest.approx(each, abs=1e-11), name


@pytest.mark.libraries
def test_every_library_gives_the_same(backend: Backend) -> None:
    moments, base = tasks(0)
    for name, theirs in after(*backend.put((moments, base))).items():
        assert backend.get(theirs) == pytest.approx(after(moments, base)[name], abs=1e-11), name
    shifts = incremental(moments, base, K)
    theirs = forgotten(loss_matrix(*backend.put((moments, base, shifts))))
    assert backend.get(theirs) == pytest.approx(forgotten(loss_matrix(moments, base, shifts)), abs=1e-10)


@pytest.mark.parametrize("method", ["sequential", "incremental", "orthogonal"])
@pytest.mark.libraries
def test_descent_on_factors_runs_on_every_library(backend: Backend, method: Any) -> None:
    moments, base = tasks(0)
    rng = np.random.default_rng(0)
    start = Parameters(U=0.1 * rng.standard_normal((T, D, K)), V=rng.standard_normal((T, D, K)))

    def run(arguments: tuple[Any, ...]) -> Any:
        return factor_descent(*arguments, method=method, step_size=0.01, steps=5)

    given_ = (moments, base, start)
    assert backend.get(run(backend.put(given_))) == pytest.approx(run(given_), abs=1e-11)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, A: sequential(m.task(0), A, 1), "moments, base: got shapes (7, 7) and (7, 7), expected"),
        (lambda m, A: joint(m, A[0], 1), "moments, base: got shapes (3, 7, 7) and (7,), expected"),
        (lambda m, A: descent(m, A, step_size=0.0, steps=1), "step_size: got 0.0, expected a finite number > 0"),
        (lambda m, A: descent(m, A, step_size=0.1, steps=-1), "steps: got -1, expected a whole number >= 0"),
        (
            lambda m, A: factor_descent(m, A, Parameters(U=A, V=A), method=cast(Any, "other"), step_size=0.1, steps=1),
            "method: got 'other', expected one of sequential, incremental, orthogonal",
        ),
        (
            lambda m, A: factor_descent(
                m, A, Parameters(U=np.ones((3, 7, 3)), V=np.ones((3, 7, 3))), method="orthogonal", step_size=1, steps=1
            ),
            "start: got T r = 9 rows, expected at most d_in = 7 for orthogonal pairs",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared
        call(*tasks(0))
    assert message in str(caught.value)
