"""LoRA-ML on groups that were dealt by chance instead of on tasks: its capacity without its idea.

    min_θ Σ_g min_φg L_g(f(θ, φ_g)),

L_g the mean loss of group g, which has a share of every task's examples. There are as many groups as tasks, so that
parameters, their starts, the size of batches, learning rates and the cost of a step are those of LoRA-ML; an adapter
sees the same examples throughout, and is thrown away at the end. What differs is that no adapter belongs to a task. One
adapter for each task, trained with the base and thrown away, would be LoRA-ML itself; trained after the base, it would
leave that of standard retraining.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from loraml_theory.harness.seeds import generator
from realdata.peft_ml.data import Batch, Examples, Problem, Task
from realdata.peft_ml.methods.lora_ml import lora_ml
from realdata.peft_ml.methods.per_task import PerTask
from realdata.peft_ml.rows import chosen_rows, row_count
from realdata.peft_ml.training_setup import RetrainingSetup


def grouped_lora(setup: RetrainingSetup) -> PerTask:
    """Return training of a copy of the model with an adapter for each group of examples."""
    return lora_ml(replace(setup, tasks=groups(setup.tasks, setup.problem, seed=setup.seed)))


@dataclass(frozen=True, eq=False)
class Dealt:
    """Examples of several tasks; see `realdata.peft_ml.data.Examples`.

    Parameters
    ----------
    parts
        The tasks' examples, and which of each.
    problem
        Joins their batches.
    """

    parts: tuple[tuple[Examples, NDArray[np.int64]], ...]
    problem: Problem

    def __len__(self) -> int:
        """Return the number of examples."""
        return sum(len(rows) for _, rows in self.parts)

    def batch(self, indices: NDArray[np.int64], rng: np.random.Generator | None = None) -> Batch:
        """Return the examples at `indices`, in this order; those of one task are augmented together."""
        ends = np.cumsum([len(rows) for _, rows in self.parts])
        part_of = np.searchsorted(ends, indices, side="right")
        taken, places = [], []
        for number, (examples, rows) in enumerate(self.parts):
            here = np.flatnonzero(part_of == number)
            if len(here):
                taken.append(examples.batch(rows[indices[here] - (ends[number] - len(rows))], rng))
                places.append(here)
        joined = self.problem.join(taken)
        order = torch.from_numpy(np.argsort(np.concatenate(places)))
        each = row_count(joined.inputs) // len(joined.targets)
        rows_in_order = (order[:, None] * each + torch.arange(each)).flatten()
        return Batch(chosen_rows(joined.inputs, rows_in_order), joined.targets[order.to(joined.targets.device)])


def groups(tasks: Sequence[Task], problem: Problem, *, seed: int) -> tuple[Task, ...]:
    """Deal every part of every task's examples into as many groups as there are tasks, of equal sizes up to one."""
    parts = {part: _dealt(tasks, part, problem, seed=seed) for part in ("train", "validation", "test")}
    return tuple(
        Task(f"group {number + 1}", **{part: dealt[number] for part, dealt in parts.items()})
        for number in range(len(tasks))
    )


def _dealt(tasks: Sequence[Task], part: str, problem: Problem, *, seed: int) -> list[Dealt]:
    count = len(tasks)
    hands: list[list[tuple[Examples, NDArray[np.int64]]]] = [[] for _ in tasks]
    given = 0
    for task in tasks:
        examples: Examples = getattr(task, part)
        order = generator(seed, "groups", part, task.name).permutation(len(examples))
        for number in range(count):
            hands[number].append((examples, order[(number - given) % count :: count]))
        given += len(examples)  # the next task goes on where this one ended
    return [Dealt(tuple(hand), problem) for hand in hands]
