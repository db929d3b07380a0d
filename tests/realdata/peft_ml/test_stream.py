from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from realdata.peft_ml.data import Task
from realdata.peft_ml.stream import TaskStream, epoch_batches, shares, steps_per_epoch
from tests.realdata.peft_ml import toy


def numbered(size: int, name: str = "a", noise: float = 0.0) -> tuple[Task, list[int]]:
    """Return a task and the list into which the indices go that are asked of its training examples."""
    seen: list[int] = []
    x, y = torch.zeros(size, toy.DIMENSION), torch.arange(size)
    examples = toy.Points(x, y, noise, seen=lambda indices: seen.extend(indices.tolist()))
    return Task(name, examples, examples, examples), seen


def indices_of(size: int, counts: list[int], **where: Any) -> list[int]:
    task, seen = numbered(size, where.pop("name", "a"))
    stream = TaskStream(task, **{"seed": 0, "epoch": 1, **where})
    for count in counts:
        assert len(stream.take(count).targets) == count
    return seen


@given(size=st.integers(1, 40), counts=st.lists(st.integers(1, 25), min_size=1, max_size=8))
def test_every_pass_is_a_permutation(size: int, counts: list[int]) -> None:
    """Also where a batch is larger than the task."""
    seen = indices_of(size, counts)
    assert len(seen) == sum(counts)
    for start in range(0, len(seen), size):
        one_pass = seen[start : start + size]
        assert len(set(one_pass)) == len(one_pass)
        assert set(one_pass) <= set(range(size))


def test_passes_are_different_permutations() -> None:
    seen = indices_of(32, [96])
    assert len({tuple(seen[start : start + 32]) for start in (0, 32, 64)}) == 3


@pytest.mark.parametrize("other", [{"seed": 1}, {"epoch": 2}, {"epoch": "evaluation"}, {"name": "b"}])
def test_order_depends_on_seed_epoch_and_task(other: dict[str, Any]) -> None:
    assert indices_of(32, [32], **other) != indices_of(32, [32])


def test_order_depends_on_nothing_else() -> None:
    first = indices_of(32, [5, 6, 7])
    np.random.seed(3)
    torch.manual_seed(3)
    indices_of(32, [32], name="b")
    assert indices_of(32, [9, 9]) == first


def test_augmentation_is_seeded_apart_from_the_order() -> None:
    def inputs(**where: Any) -> torch.Tensor:
        task, _ = numbered(8, noise=1.0)
        batch = TaskStream(task, **{"seed": 0, "epoch": 1, **where}).take(8)
        assert isinstance(batch.inputs, torch.Tensor)
        return batch.inputs

    assert torch.equal(inputs(), inputs())
    assert not torch.equal(inputs(), inputs(epoch=2))
    assert not torch.equal(inputs(), torch.zeros(8, toy.DIMENSION))


@given(tasks=st.integers(1, 9), more=st.integers(0, 30), step=st.integers(0, 10_000))
def test_shares_are_equal_up_to_one_and_fill_the_batch(tasks: int, more: int, step: int) -> None:
    counts = shares(tasks + more, tasks, step=step)
    assert sum(counts) == tasks + more
    assert len(counts) == tasks
    assert 1 <= min(counts) <= max(counts) <= min(counts) + 1


@given(tasks=st.integers(1, 9), more=st.integers(0, 30), start=st.integers(0, 1000))
def test_shares_are_equal_over_as_many_steps_as_tasks(tasks: int, more: int, start: int) -> None:
    totals = np.sum([shares(tasks + more, tasks, step=start + step) for step in range(tasks)], axis=0)
    assert totals.tolist() == [tasks + more] * tasks


@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=5), batch_size=st.integers(1, 60))
def test_an_epoch_has_the_least_steps_that_hold_all_examples(sizes: list[int], batch_size: int) -> None:
    steps = steps_per_epoch(sizes, batch_size)
    assert (steps - 1) * batch_size < sum(sizes) <= steps * batch_size


@given(size=st.integers(1, 40), batch_size=st.integers(1, 50))
def test_fine_tuning_takes_every_example_once(size: int, batch_size: int) -> None:
    task, seen = numbered(size)
    sizes = [len(batch.targets) for batch in epoch_batches(task, batch_size=batch_size, seed=0, epoch=1)]
    assert sorted(seen) == list(range(size))
    assert all(one == batch_size for one in sizes[:-1])
    assert len(sizes) == steps_per_epoch([size], batch_size)


def test_fine_tuning_has_another_order_each_epoch() -> None:
    def orders() -> Iterator[tuple[int, ...]]:
        for epoch in (1, 2, 1):
            task, seen = numbered(32)
            list(epoch_batches(task, batch_size=10, seed=0, epoch=epoch))
            yield tuple(seen)

    first, second, again = orders()
    assert first == again != second
