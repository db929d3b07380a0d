"""The order in which training sees examples: seeded by epoch and task, the same for every method's budget.

In each epoch of retraining a task's examples are taken from a fresh permutation; when it is used up, as happens to a
task that is smaller than its share of the epoch or than a batch, a next permutation follows. Batches of retraining
therefore always have exactly the size asked for. Fine-tuning takes every example once an epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from loraml_theory.harness.seeds import generator
from realdata.peft_ml.data import Batch, Examples, Task


def steps_per_epoch(sizes: Sequence[int], batch_size: int) -> int:
    """Return the least number of batches that hold as many examples as all tasks have.

    Examples
    --------
    >>> steps_per_epoch([100, 60], 64)
    3
    """
    return -(-sum(sizes) // batch_size)


class TaskOrder:
    """The order of one task's examples in one epoch: a permutation after another, without end.

    Parameters
    ----------
    size
        Number of examples.
    task
        Its name, which with seed and epoch determines the permutations.
    seed, epoch
        As in `TaskStream`.
    """

    def __init__(self, size: int, *, task: str, seed: int, epoch: int | str) -> None:
        """Seed the generator."""
        self._size = size
        self._order = generator(seed, "order", epoch, task)
        self._left: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def take(self, count: int) -> NDArray[np.int64]:
        """Return the indices of the next `count` examples."""
        while len(self._left) < count:
            self._left = np.concatenate([self._left, self._order.permutation(self._size)])
        taken, self._left = self._left[:count], self._left[count:]
        return taken


class TaskStream:
    """The training examples of one task in one epoch, augmented, without end.

    Parameters
    ----------
    task
        Whose training examples.
    seed, epoch
        With the task's name they seed the permutations, and apart from them the augmentation. `epoch` may also name
        another purpose, such as an adaptation for evaluation.
    """

    def __init__(self, task: Task, *, seed: int, epoch: int | str) -> None:
        """Seed the generators."""
        self._examples: Examples = task.train
        self._order = TaskOrder(len(task.train), task=task.name, seed=seed, epoch=epoch)
        self._augmentation = generator(seed, "augmentation", epoch, task.name)

    def take(self, count: int) -> Batch:
        """Return the next `count` examples."""
        return self._examples.batch(self._order.take(count), self._augmentation)


def shares(batch_size: int, tasks: int, *, step: int) -> tuple[int, ...]:
    """Return how many examples of each task the mixed batch of a step holds: equal ones, up to one example.

    What `batch_size` leaves over when divided by the number of tasks goes to one task after another, step by step.

    Examples
    --------
    >>> [shares(8, 3, step=step) for step in range(3)]
    [(3, 3, 2), (3, 2, 3), (2, 3, 3)]
    """
    whole, over = divmod(batch_size, tasks)
    return tuple(whole + int((task - step * over) % tasks < over) for task in range(tasks))


def epoch_batches(task: Task, *, batch_size: int, seed: int, epoch: int) -> Iterator[Batch]:
    """Yield every training example of a task once, in batches of which the last may be smaller."""
    order = generator(seed, "order", epoch, task.name).permutation(len(task.train))
    augmentation = generator(seed, "augmentation", epoch, task.name)
    for start in range(0, len(order), batch_size):
        yield task.train.batch(order[start : start + batch_size], augmentation)
