"""What reptile and fomaml share: inner loops on one task each, and evaluation after one.

All parameters are adapted. Buffers, such as running statistics, belong to neither θ nor its gradient: training passes
update them as they go and the outer step leaves them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from loraml_theory.harness.seeds import generator
from realdata.peft_ml.budget import Budget
from realdata.peft_ml.checkpoint import restore, snapshot
from realdata.peft_ml.data import Task
from realdata.peft_ml.optimisation import Descent, Gradient, Group, Schedule, trainable, trained_copy
from realdata.peft_ml.seeding import torch_seeded
from realdata.peft_ml.stream import TaskStream
from realdata.peft_ml.training import Training
from realdata.peft_ml.training_setup import Forward, RetrainingSetup


class Loop(NamedTuple):
    """The gradient steps that lead to one outer step.

    Parameters
    ----------
    at
        Number of the outer step, from 0, over all epochs.
    task
        Whose batches.
    steps
        Gradient steps.
    """

    at: int
    task: Task
    steps: int


def loop_lengths(steps: int, *, length: int, least: int) -> list[int]:
    """Split an epoch's steps into loops of nearly equal lengths, as near to `length` as that allows.

    Examples
    --------
    >>> loop_lengths(80, length=20, least=1), loop_lengths(50, length=20, least=1), loop_lengths(3, length=2, least=2)
    ([20, 20, 20, 20], [17, 17, 16], [3])
    """
    if steps < least:
        raise ValueError(f"an epoch must have at least {least} gradient steps for this method, got {steps}")
    loops = min(max(1, int(steps / length + 0.5)), steps // least)
    return [steps // loops + int(loop < steps % loops) for loop in range(loops)]


class InnerLoops(Training):
    """A model, its inner loops, and the outer optimizer.

    Parameters
    ----------
    setup
        What to train on.
    query_steps
        Gradient steps of a loop after the inner ones.
    scaled_outer
        Whether the outer gradient is that of a loss, and so bears a gradient scaler's factor.
    """

    setup: RetrainingSetup

    def __init__(self, setup: RetrainingSetup, *, query_steps: int, scaled_outer: bool) -> None:
        """Copy the model to its device and make the outer optimizer."""
        meta = setup.settings.meta
        model = trained_copy(setup.model, setup.accelerator.device)
        self.parameters = trainable(model)
        self.forward: Forward = setup.forward(model, setup.names)
        self._lengths = loop_lengths(setup.steps, length=meta.inner_steps + query_steps, least=1 + query_steps)
        self.outer = Descent(
            [Group(self.parameters, meta.outer_learning_rate)],
            optimizer="sgd" if meta.outer_optimizer == "interpolate" else meta.outer_optimizer,
            weight_decay=meta.outer_weight_decay,
            schedule=Schedule(meta.outer_schedule, steps=setup.settings.epochs * len(self._lengths)),
            accelerator=setup.accelerator,
            scaled=scaled_outer,
        )
        super().__init__(setup, model, {"outer": self.outer}, steps_to_move=self._lengths[0])

    def train(self, epoch: int) -> Tensor:
        """Take the epoch's loops and outer steps; return the mean loss over gradient steps."""
        total = torch.zeros((), device=self.setup.accelerator.device)
        for loop, stream in self.epoch(epoch):
            total += self.outer_step(stream, loop.steps, at=loop.at)
        return total / self.setup.steps

    @abstractmethod
    def outer_step(self, stream: TaskStream, steps: int, *, at: int) -> Tensor:
        """Take a loop's gradient steps and the outer step number `at`; return the sum of the losses."""

    def epoch(self, epoch: int) -> Iterator[tuple[Loop, TaskStream]]:
        """Yield the loops of an epoch, each with its task's stream: all tasks in turn, in an order drawn each round."""
        setup = self.setup
        streams = {task.name: TaskStream(task, seed=setup.seed, epoch=epoch) for task in setup.tasks}
        for number, steps in enumerate(self._lengths):
            at = (epoch - 1) * len(self._lengths) + number
            rounds, place = divmod(at, len(setup.tasks))
            task = setup.tasks[generator(setup.seed, "tasks", rounds).permutation(len(setup.tasks))[place]]
            yield Loop(at, task, steps), streams[task.name]

    def adapt(self, stream: TaskStream, steps: int, *, gradient: Gradient) -> Tensor:
        """Take inner steps from the model as it is, with a fresh inner optimizer; return the sum of the losses."""
        meta = self.setup.settings.meta
        inner = Descent(
            [Group(self.parameters, meta.inner_learning_rate)],
            optimizer=meta.inner_optimizer,
            weight_decay=0.0,
            schedule=Schedule("constant", steps=steps),
            accelerator=self.setup.accelerator,
        )
        total = torch.zeros((), device=self.setup.accelerator.device)
        for step in range(steps):
            total += gradient(self.forward, stream.take(self.setup.settings.batch_size))
            inner.step(step)
        return total

    def copied(self) -> list[Tensor]:
        """Return a copy of θ."""
        return [parameter.detach().clone() for parameter in self.parameters]

    @contextmanager
    def used_by(self, task: Task) -> Iterator[Forward]:
        """Give the model after `inner_steps` inner steps on the task's training examples.

        These steps, the same at every call from the same θ, are evaluation and not part of the budget.
        """
        setup = self.setup
        kept, training = snapshot(self.model), self.model.training
        apart = Gradient(setup.problem, accelerator=setup.accelerator, budget=Budget())
        stream = TaskStream(task, seed=setup.seed, epoch="evaluation")
        try:
            self.model.train()
            with torch.enable_grad(), torch_seeded(setup.seed, "evaluation", task.name):
                self.adapt(stream, setup.settings.meta.inner_steps, gradient=apart)
            yield self.forward
        finally:
            self.model.train(training)
            restore(self.model, kept)
