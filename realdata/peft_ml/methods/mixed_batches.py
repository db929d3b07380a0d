"""Batches of all tasks at once, for the methods that descend on the sum of the tasks' losses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from realdata.peft_ml.data import Batch
from realdata.peft_ml.rows import row_count
from realdata.peft_ml.stream import TaskStream, shares
from realdata.peft_ml.training_setup import RetrainingSetup


class MixedBatch(NamedTuple):
    """One batch of all tasks.

    Parameters
    ----------
    at
        Number of the gradient step, from 0, over all epochs.
    batch
        The examples, task by task.
    weights
        The reciprocal of its task's share for every example, so that the weighted sum of losses is Σ_t of means.
    rows
        The task of every row.
    """

    at: int
    batch: Batch
    weights: Tensor
    rows: tuple[str, ...]


class MixedBatches:
    """The mixed batches of every epoch.

    Raises
    ------
    ValueError
        If a batch cannot hold an example of each task.
    """

    def __init__(self, setup: RetrainingSetup) -> None:
        """Check that a batch can hold an example of each task."""
        if setup.settings.batch_size < len(setup.tasks):
            raise ValueError(
                f"batch_size must be at least {len(setup.tasks)}, the number of tasks, since each batch holds examples "
                f"of all, got {setup.settings.batch_size}"
            )
        self._setup = setup
        self._weights: dict[tuple[int, ...], Tensor] = {}
        self._rows: dict[tuple[tuple[int, ...], int], tuple[str, ...]] = {}

    def epoch(self, epoch: int) -> Iterator[MixedBatch]:
        """Yield the batches of one epoch."""
        setup = self._setup
        streams = [TaskStream(task, seed=setup.seed, epoch=epoch) for task in setup.tasks]
        for at in range((epoch - 1) * setup.steps, epoch * setup.steps):
            counts = shares(setup.settings.batch_size, len(streams), step=at)
            parts = [stream.take(count) for stream, count in zip(streams, counts, strict=True)]
            batch = setup.problem.join(parts)
            rows_each = row_count(batch.inputs) // len(batch.targets)
            yield MixedBatch(at, batch, self._weights_of(counts), self._rows_of(counts, rows_each))

    def _weights_of(self, counts: tuple[int, ...]) -> Tensor:
        if counts not in self._weights:
            weights = [1 / count for count in counts for _ in range(count)]
            self._weights[counts] = torch.tensor(weights, device=self._setup.accelerator.device)
        return self._weights[counts]

    def _rows_of(self, counts: tuple[int, ...], rows_each: int) -> tuple[str, ...]:
        key = (counts, rows_each)
        if key not in self._rows:
            tasks = zip(self._setup.names, counts, strict=True)
            self._rows[key] = tuple(name for name, count in tasks for _ in range(count * rows_each))
        return self._rows[key]
