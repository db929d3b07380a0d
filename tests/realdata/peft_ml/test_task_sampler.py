from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraml_theory.harness.errors import InputError
from realdata.peft_ml.stream import shares
from realdata.peft_ml.task_sampler import Batches, StepSize, TaskSampler


def sampler(
    sizes: tuple[int, ...], size: StepSize, batches: Batches = "mixed", *, epoch: int = 0, seed: int = 0
) -> tuple[TaskSampler, list[str]]:
    """Return a sampler of rows of which each names its task, the tasks' rows in turn."""
    left, tasks = dict(enumerate(sizes)), list[str]()
    while any(left.values()):
        for task in (t for t, count in left.items() if count):
            tasks.append(f"task {task}")
            left[task] -= 1
    rows = {f"task {t}": [row for row, task in enumerate(tasks) if task == f"task {t}"] for t in range(len(sizes))}
    return TaskSampler(rows, size=size, batches=batches, seed=seed, epoch=lambda: epoch), tasks


def batches_of(found: TaskSampler, tasks: list[str], size: int) -> list[Counter[str]]:
    rows = list(found)
    assert len(rows) == len(found)
    return [Counter(tasks[row] for row in rows[start : start + size]) for start in range(0, len(rows), size)]


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=5).map(tuple),
    batch=st.integers(1, 8),
    number=st.integers(1, 5),
    epoch=st.integers(0, 3),
)
def test_a_step_has_equal_shares_and_its_batches_as_many_tasks_as_they_can(
    sizes: tuple[int, ...], batch: int, number: int, epoch: int
) -> None:
    size = StepSize(batch, number)
    if size.rows < len(sizes):
        with pytest.raises(InputError, match=f"^per_device_train_batch_size: got steps of {size.rows} rows"):
            sampler(sizes, size)
        return
    found, tasks = sampler(sizes, size, epoch=epoch)
    counts = batches_of(found, tasks, batch)
    assert len(counts) == found.steps * number
    assert found.steps == -(-sum(sizes) // size.rows)
    for step in range(found.steps):
        parts = counts[step * number : (step + 1) * number]
        total = sum(parts, Counter[str]())
        expected = shares(size.rows, len(sizes), step=epoch * found.steps + step)
        assert [total[f"task {t}"] for t in range(len(sizes))] == list(expected)
        for part in parts:
            assert len(part) >= min(batch, sum(share >= number for share in expected))


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=5).map(tuple),
    batch=st.integers(1, 8),
    number=st.integers(1, 5),
    epoch=st.integers(0, 3),
)
def test_blocks_are_of_one_task_each_and_the_tasks_come_in_turn(
    sizes: tuple[int, ...], batch: int, number: int, epoch: int
) -> None:
    found, tasks = sampler(sizes, StepSize(batch, number), "blocks", epoch=epoch)
    first = epoch * found.steps * number
    for place, block in enumerate(batches_of(found, tasks, batch)):
        assert block == Counter({f"task {(first + place) % len(sizes)}": batch})


@pytest.mark.parametrize("batches", ["mixed", "blocks"])
def test_every_row_comes_once_where_the_sizes_fit(batches: Batches) -> None:
    found, _ = sampler((12, 12, 12), StepSize(4, 3), batches)
    assert sorted(found) == list(range(36))


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    size = StepSize(4, 3)
    first = list(sampler((12, 12, 12), size)[0])
    assert list(sampler((12, 12, 12), size)[0]) == first
    assert list(sampler((12, 12, 12), size, epoch=1)[0]) != first
    assert list(sampler((12, 12, 12), size, seed=1)[0]) != first
