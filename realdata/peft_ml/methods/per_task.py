"""Descent on a shared base θ and on parameters φ_t of each task, jointly or in turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from loraml_theory.harness.errors import InputError
from realdata.peft_ml.by_length import adapted_outputs
from realdata.peft_ml.data import Task
from realdata.peft_ml.meta_model import MetaPeftModel
from realdata.peft_ml.methods.method import Forward, Setup
from realdata.peft_ml.methods.mixed_batches import MixedBatches
from realdata.peft_ml.optimisation import Descent, Group, Schedule


class PerTask:
    """Descent on ``min_θ Σ_t min_φt L_t(f(θ, φ_t))``, equation 5 of arXiv 2410.22264.

    Every gradient step is on a batch of equal shares of all tasks, and on Σ_t of the tasks' mean losses. In the joint
    scheme a step moves θ and all φ_t. In the alternating scheme `inner_steps` steps move all φ_t and no θ, then one
    step moves θ and no φ_t, over and over, across the ends of epochs; each has a batch and counts as one step.

    Parameters
    ----------
    setup
        What to train on.
    model
        The base with the adapters.
    """

    def __init__(self, setup: Setup, model: MetaPeftModel) -> None:
        """Put the model on its device and make the two optimizers."""
        self._setup = setup
        self._batches = MixedBatches(setup)
        self.model: nn.Module = model.to(setup.accelerator.device)
        self.meta_model = model
        settings = setup.settings
        alternating = settings.scheme == "alternating"
        self.steps_to_move = settings.inner_steps + 1 if alternating else 1
        adapters = [p for adapter in model.all_adapter_parameters().values() for p in adapter.values()]
        if alternating and not any(parameter.requires_grad for parameter in model.base_parameters().values()):
            raise InputError("model: all of its base has requires_grad off, expected some of it for steps on the base")
        self._parts = {"base": list(model.base_parameters().values()), "adapters": adapters}
        rate = settings.learning_rate if settings.adapter_learning_rate is None else settings.adapter_learning_rate
        self._descent = Descent(
            [Group(self._parts["base"], settings.learning_rate), Group(adapters, rate)],
            optimizer=settings.optimizer,
            weight_decay=settings.weight_decay,
            schedule=Schedule(settings.schedule, steps=settings.epochs * setup.steps, warmup=settings.warmup),
            accelerator=setup.accelerator,
        )
        self.descents: Mapping[str, Descent] = {"base and adapters": self._descent}

    def train(self, epoch: int) -> Tensor:
        """Take the epoch's gradient steps; return the mean loss over tasks and steps."""
        total = torch.zeros((), device=self._setup.accelerator.device)
        for at, batch, weights, rows in self._batches.epoch(epoch):
            with self._only(self._moved_at(at)):
                total += self._setup.gradient(self._forward(rows), batch, weights=weights)
                self._descent.step(at)
        return total / (self._setup.steps * len(self._setup.tasks))

    @contextmanager
    def used_by(self, task: Task) -> Iterator[Forward]:
        """Give the base with the task's own parameters."""
        yield self._forward(task.name)

    def base(self) -> nn.Module:
        """Return a copy of the plain model, without what tasks have of their own."""
        return self.meta_model.base()

    def _forward(self, task: str | Sequence[str]) -> Forward:
        return partial(adapted_outputs, self.meta_model, task=task, rows_at_once=self._setup.rows_at_once)

    def _moved_at(self, at: int) -> str | None:
        """Return the part that a step moves, None for both."""
        settings = self._setup.settings
        if settings.scheme == "joint":
            return None
        return "base" if at % (settings.inner_steps + 1) == settings.inner_steps else "adapters"

    @contextmanager
    def _only(self, moved: str | None) -> Iterator[None]:
        """Let only one part have gradients; optimizers leave alone, state and all, what has none."""
        frozen = [p for part, own in self._parts.items() for p in own if moved not in (None, part) and p.requires_grad]
        for parameter in frozen:
            parameter.requires_grad_(False)
        yield
        for parameter in frozen:
            parameter.requires_grad_(True)
