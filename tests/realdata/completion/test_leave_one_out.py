"""The comparison as a whole, on tasks whose structure is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from realdata.completion.leave_one_out import Settings, compare
from realdata.completion.ridge import Validation, cross_validate
from realdata.completion.tasks import Task

SMALL = Settings(
    splits=10,
    ranks=(1,),
    samples=(12,),
    ridges=(0.01, 0.1, 1.0),
    validation_ranks=(1,),
    validation_splits=3,
    validation_reach=1,
)


def make_tasks(parameter: Callable[[np.random.Generator], Any], *, count: int = 6, seed: int = 0) -> list[Task]:
    """Tasks with 8 inputs, of which the last is constant, and 6 outputs: ``parameter`` draws the maps."""
    rng = np.random.default_rng(seed)
    tasks = []
    for t in range(count):
        X = np.concatenate([rng.standard_normal((7, 60)), np.ones((1, 60))])
        tasks.append(Task(str(t), X, parameter(rng) @ X + 0.1 * rng.standard_normal((6, 60))))
    return tasks


def low_rank_shifts() -> Callable[[np.random.Generator], Any]:
    shared = 3 * np.random.default_rng(100).standard_normal((6, 8))
    return lambda rng: shared + rng.standard_normal((6, 1)) @ rng.standard_normal((1, 8))


def run(tasks: list[Task], settings: Settings = SMALL, *, seed: int = 0) -> dict[str, Any]:
    return compare(tasks, settings, seed=seed, progress=lambda _: None)


def overall(found: dict[str, Any], choice: str = "cross-validated") -> dict[str, Any]:
    record: dict[str, Any] = next(o for o in found["overall"] if o["ridge_choice"] == choice)
    return record


def test_lora_ml_wins_where_its_structure_holds() -> None:
    found = overall(run(make_tasks(low_rank_shifts())))
    assert found["difference_percent"] < -50
    assert found["ci_high"] < 0
    assert found["classes_lower"] == 6


def test_standard_retraining_wins_where_no_structure_is_shared() -> None:
    """Independent maps of full rank: adapters of rank 1 only blur the mean."""
    found = overall(run(make_tasks(lambda rng: rng.standard_normal((6, 8)))))
    assert found["ci_low"] > 0
    assert found["classes_lower"] == 0


@pytest.mark.long
def test_neither_wins_where_the_tasks_are_one() -> None:
    same = np.random.default_rng(101).standard_normal((6, 8))
    found = overall(run(make_tasks(lambda _: same)))
    assert found["ci_low"] < 0 < found["ci_high"]


@pytest.mark.long
def test_the_same_seed_gives_the_same_result_and_another_other_splits() -> None:
    tasks = make_tasks(low_rank_shifts(), count=4)
    first, again, other = (json.dumps(run(tasks, seed=seed)) for seed in (5, 5, 6))
    assert first == again
    assert first != other


def validate(tasks: list[Task]) -> Validation:
    return cross_validate(
        tasks, SMALL.ridges, ranks=(1,), samples=(12,), splits=2, reach=None, seed=0, progress=lambda _: None
    )


@pytest.mark.long
def test_nothing_of_the_held_out_task_enters_its_ridge_or_its_bases() -> None:
    tasks, c = make_tasks(low_rank_shifts(), count=4), 2
    rng = np.random.default_rng(9)
    other = Task("2", 5 * rng.standard_normal(tasks[c].X.shape), 7 * rng.standard_normal(tasks[c].Y.shape))
    changed = [other if t == c else task for t, task in enumerate(tasks)]
    before, after = validate(tasks), validate(changed)
    assert np.array_equal(before.errors[c], after.errors[c])
    assert before.chosen[c] == after.chosen[c]
    assert all(not np.array_equal(before.errors[t], after.errors[t]) for t in range(4) if t != c)
    first, second = ([entry for entry in run(each)["retraining"] if entry["class"] == "2"] for each in (tasks, changed))
    assert first == second


def test_the_reach_of_the_validation_is_a_ring() -> None:
    tasks = make_tasks(low_rank_shifts(), count=5)
    near = cross_validate(tasks, (0.1,), ranks=(1,), samples=(12,), splits=2, reach=1, seed=0, progress=lambda _: None)
    assert near.statuses == {"converged": 5}  # the pairs 01, 12, 23, 34, 40
    assert near.errors.shape == (5, 1, 2)


def test_records_say_what_was_compared() -> None:
    found = run(make_tasks(low_rank_shifts(), count=4), replace(SMALL, ranks=(1, 2), samples=(6, 12)))
    assert len(found["rows"]) == 4 * 2 * 2 * 2
    assert len(found["overall"]) == 2 * 2 * 2
    assert len(found["retraining"]) == 4 * 2 * 2
    row = found["rows"][0]
    assert row["ci_low"] <= row["difference_percent"] <= row["ci_high"]
    assert row["difference_percent"] == pytest.approx(100 * (row["error_lora_ml"] / row["error_sr"] - 1))
    assert {(row["n"], row["test_images"]) for row in found["rows"]} == {(6, 54), (12, 48)}
    for group in found["overall"]:
        members = [
            row["difference_percent"]
            for row in found["rows"]
            if all(row[name] == group[name] for name in ("ridge_choice", "k", "n"))
        ]
        assert group["difference_percent"] == pytest.approx(np.mean(members))


def test_what_did_not_converge_is_said() -> None:
    found = run(make_tasks(low_rank_shifts(), count=4), replace(SMALL, stop_without_ridge=1))
    free = [entry for entry in found["retraining"] if entry["ridge_choice"] == "zero"]
    assert {entry["status"] for entry in free} == {"max_iterations"}
    assert all(entry["gradient_norm"] > entry["tolerance"] for entry in free)
    assert overall(found, "zero")["not_converged"] == 4
    assert overall(found)["not_converged"] == 0


def test_without_a_ridge_inputs_that_never_vary_are_no_obstacle() -> None:
    tasks = make_tasks(low_rank_shifts(), count=4)
    padded = [Task(t.name, np.concatenate([t.X, np.zeros((3, t.N))]), t.Y) for t in tasks]
    plain, more = run(tasks), run(padded)
    for row, other in zip(plain["rows"], more["rows"], strict=True):
        assert other["error_sr"] == pytest.approx(row["error_sr"], rel=1e-6)
        assert other["error_lora_ml"] == pytest.approx(row["error_lora_ml"], rel=1e-6)
