"""Standard retraining: one model for all tasks, as if they were one.

    min_θ Σ_t L_t(θ),

all of θ shared, the head too; L_t is the mean loss of task t. Each gradient step is on a batch of equal shares of all
tasks. It is the baseline SR of arXiv 2410.22264.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from realdata.peft_ml.base_model import deep_copy
from realdata.peft_ml.by_length import outputs_of
from realdata.peft_ml.data import Task
from realdata.peft_ml.methods.method import Forward, Method, Setup
from realdata.peft_ml.methods.mixed_batches import MixedBatches
from realdata.peft_ml.optimisation import Descent, Group, Schedule, trainable, trained_copy


def standard(setup: Setup) -> Method:
    """Return standard retraining of a copy of the model."""
    setup.without_adapters("standard")
    return _Standard(setup)


class _Standard:
    meta_model = None
    steps_to_move = 1

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._batches = MixedBatches(setup)
        self.model: nn.Module = trained_copy(setup.model, setup.accelerator.device)
        settings = setup.settings
        descent = Descent(
            [Group(trainable(self.model), settings.learning_rate)],
            optimizer=settings.optimizer,
            weight_decay=settings.weight_decay,
            schedule=Schedule(settings.schedule, steps=settings.epochs * setup.steps, warmup=settings.warmup),
            accelerator=setup.accelerator,
        )
        self.descents: Mapping[str, Descent] = {"base": descent}

    def train(self, epoch: int) -> Tensor:
        forward = partial(outputs_of, self.model, rows_at_once=self._setup.rows_at_once)
        total = torch.zeros((), device=self._setup.accelerator.device)
        for at, batch, weights, _ in self._batches.epoch(epoch):
            total += self._setup.gradient(forward, batch, weights=weights)
            self.descents["base"].step(at)
        return total / (self._setup.steps * len(self._setup.tasks))

    @contextmanager
    def used_by(self, task: Task) -> Iterator[Forward]:  # noqa: ARG002  (the same for all tasks)
        yield partial(outputs_of, self.model, rows_at_once=self._setup.rows_at_once)

    def base(self) -> nn.Module:
        return deep_copy(self.model)
