"""The order in which a Trainer sees the rows of several tasks: every gradient step has rows of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from torch.utils.data import Sampler

from loraml_theory.harness.errors import InputError
from realdata.peft_ml.stream import TaskOrder, shares, steps_per_epoch

Batches: TypeAlias = Literal["mixed", "blocks"]
TASK = "task"  # the column that names a row's task


class StepSize(NamedTuple):
    """How many rows one gradient step takes.

    Parameters
    ----------
    batch
        Rows of a batch.
    batches
        Batches of a step, over accumulation and processes.
    """

    batch: int
    batches: int

    @property
    def rows(self) -> int:
        """Rows of a step."""
        return self.batch * self.batches


class TaskSampler(Sampler[int]):
    """Rows of all tasks, batch after batch, in whole gradient steps.

    The rows of a step are those of `retrain`: equal shares of all tasks, each from a permutation of its own that the
    seed, the epoch and the task's name determine. They are dealt out to the step's batches, so that each of these holds
    as many tasks as it can. In blocks each batch holds one task instead, the tasks in turn.

    Parameters
    ----------
    rows
        Which rows are of which task.
    size
        Of a step.
    batches
        ``mixed`` or ``blocks``.
    seed
        Root of the permutations.
    epoch
        Called at the start of every pass; returns the epochs done before it.

    Raises
    ------
    InputError
        If mixed steps cannot hold a row of every task.
    """

    def __init__(
        self,
        rows: Mapping[str, Sequence[int]],
        *,
        size: StepSize,
        batches: Batches,
        seed: int,
        epoch: Callable[[], int],
    ) -> None:
        """Check that a step can hold a row of every task."""
        if batches == "mixed" and size.rows < len(rows):
            raise InputError(
                f"per_device_train_batch_size: got steps of {size.rows} rows, expected at least {len(rows)}, one for "
                "each task"
            )
        self._rows = {task: np.asarray(own, dtype=np.int64) for task, own in rows.items()}
        self._size, self._batches, self._seed, self._epoch = size, batches, seed, epoch
        self._steps = steps_per_epoch([len(own) for own in rows.values()], size.rows)

    def __len__(self) -> int:
        """Return the number of rows of an epoch, those that come twice included."""
        return self._steps * self._size.rows

    @property
    def steps(self) -> int:
        """Gradient steps of an epoch."""
        return self._steps

    def __iter__(self) -> Iterator[int]:
        """Yield the rows of one epoch."""
        epoch = self._epoch()
        orders = {
            task: TaskOrder(len(own), task=task, seed=self._seed, epoch=epoch + 1) for task, own in self._rows.items()
        }
        batches = self._mixed if self._batches == "mixed" else self._blocks
        for at in range(epoch * self._steps, (epoch + 1) * self._steps):
            for batch in batches(orders, at):
                yield from batch

    def _mixed(self, orders: Mapping[str, TaskOrder], at: int) -> Iterator[list[int]]:
        counts = shares(self._size.rows, len(orders), step=at)
        taken = [self._taken(task, order, count) for (task, order), count in zip(orders.items(), counts, strict=True)]
        step = np.concatenate(taken)
        for part in range(self._size.batches):
            yield step[part :: self._size.batches].tolist()

    def _blocks(self, orders: Mapping[str, TaskOrder], at: int) -> Iterator[list[int]]:
        tasks = list(orders)
        for number in range(at * self._size.batches, (at + 1) * self._size.batches):
            task = tasks[number % len(tasks)]
            yield self._taken(task, orders[task], self._size.batch).tolist()

    def _taken(self, task: str, order: TaskOrder, count: int) -> Any:
        return self._rows[task][order.take(count)]


def rows_of_tasks(dataset: Any, tasks: Sequence[str], *, called: str, all_of_them: bool) -> dict[str, list[int]]:
    """Return the rows of each task in a dataset, tasks in the order given.

    Parameters
    ----------
    dataset
        With a length; rows, or a dataset of Hugging Face, that name their task in the column ``task``.
    tasks
        That are known.
    called
        The dataset's name, for errors.
    all_of_them
        Whether each task must have rows.

    Raises
    ------
    InputError
        If rows name no task or another, or a task has no rows.
    """
    if not hasattr(dataset, "__len__"):
        raise InputError(f"{called}: got {type(dataset).__name__} without a length, expected rows by number")
    rows: dict[str, list[int]] = {task: [] for task in tasks}
    for place, task in enumerate(_named_tasks(dataset, called=called)):
        if task not in rows:
            raise InputError(f"{called}: row {place} has the task {task!r}, expected one of {', '.join(tasks)}")
        rows[task].append(place)
    if all_of_them and (missing := [task for task, own in rows.items() if not own]):
        raise InputError(f"{called}: got no rows of {', '.join(missing)}, expected rows of every task")
    return {task: own for task, own in rows.items() if own}


def _named_tasks(dataset: Any, *, called: str) -> list[Any]:
    columns = getattr(dataset, "column_names", None)
    if columns is None and len(dataset):
        columns = list(dataset[0])
    if columns is not None and TASK not in columns:
        raise InputError(f"{called}: got the columns {', '.join(map(str, columns))}, expected one named {TASK}")
    if hasattr(dataset, "column_names"):
        return list(dataset[TASK])
    return [dataset[place][TASK] for place in range(len(dataset))]
