"""Descent on the sum of all tasks' losses, in batches of equal shares of all of them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from realdata.peft_ml.methods.mixed_batches import MixedBatches
from realdata.peft_ml.optimisation import Group
from realdata.peft_ml.training import Training
from realdata.peft_ml.training_setup import RetrainingSetup


class AllTasks(Training):
    """A model that each gradient step moves by Σ_t of the tasks' mean losses.

    Parameters
    ----------
    setup
        What to train on.
    model
        On the accelerator's device.
    groups
        What is optimised.
    called
        The optimizer's name in checkpoints.
    steps_to_move
        As in `Training`.
    """

    def __init__(
        self, setup: RetrainingSetup, model: nn.Module, *groups: Group, called: str, steps_to_move: int = 1
    ) -> None:
        """Make the optimizer."""
        self._batches = MixedBatches(setup)
        self._descent = setup.descent(*groups)
        super().__init__(setup, model, {called: self._descent}, steps_to_move=steps_to_move)

    def train(self, epoch: int) -> Tensor:
        """Take the epoch's gradient steps; return the mean loss over tasks and steps."""
        setup = self.setup
        total = torch.zeros((), device=setup.accelerator.device)
        for at, batch, weights, rows in self._batches.epoch(epoch):
            with self.moving(at):
                total += setup.gradient(setup.forward(self.model, rows), batch, weights=weights)
                self._descent.step(at)
        return total / (setup.steps * len(setup.tasks))

    def moving(self, at: int) -> AbstractContextManager[None]:  # noqa: ARG002  (every step moves everything here)
        """Let the gradient step number `at`, from 0, move what it should."""
        return nullcontext()
