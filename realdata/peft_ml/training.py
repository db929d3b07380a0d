"""What is trained epoch by epoch, by whatever method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from torch import Tensor, nn

from realdata.peft_ml.base_model import deep_copy
from realdata.peft_ml.data import Examples, Task
from realdata.peft_ml.evaluation import evaluating
from realdata.peft_ml.fingerprint import fingerprint
from realdata.peft_ml.meta_model import MetaPeftModel
from realdata.peft_ml.optimisation import Descent
from realdata.peft_ml.trained import plain_trained
from realdata.peft_ml.training_setup import Forward, TrainingSetup


class Training(ABC):
    """A model being trained.

    Parameters
    ----------
    setup
        What it is trained on.
    model
        All that is trained, on the accelerator's device.
    descents
        The optimizers whose state lasts from epoch to epoch, by name.
    steps_to_move
        Gradient steps after which every trained part must have changed.
    """

    def __init__(
        self, setup: TrainingSetup, model: nn.Module, descents: Mapping[str, Descent], *, steps_to_move: int = 1
    ) -> None:
        """Take down what is trained."""
        self.setup = setup
        self.model = model
        self.descents = descents
        self.steps_to_move = steps_to_move
        self.meta_model = model if isinstance(model, MetaPeftModel) else None
        self.trained = plain_trained(model) if self.meta_model is None else self.meta_model.trained()
        self.last_scores: Tensor | None = None

    @abstractmethod
    def train(self, epoch: int) -> Tensor:
        """Take the epoch's gradient steps, epochs counted from 1; return the mean loss over tasks and steps."""

    @contextmanager
    def used_by(self, task: Task) -> Iterator[Forward]:
        """Give the model as the task uses it; it is as before afterwards."""
        yield self.setup.forward(self.model, task.name)

    def base(self) -> nn.Module:
        """Return a copy of the plain model as it is now, without what tasks have of their own."""
        return deep_copy(self.model) if self.meta_model is None else self.meta_model.base()

    def fingerprint(self) -> dict[str, str]:
        """Return what the results follow from."""
        return fingerprint(self.setup, self.setup.model, adapter=self.setup.adapter)

    def first_loss(self) -> float:
        """Return the mean loss on the training examples as they are, before the first step."""
        losses = []
        for task in self.setup.tasks:
            with self.used_by(task) as forward, evaluating(self.model):
                losses.append(self.setup.evaluation.loss(forward, task.train))
        return float(np.mean(losses))

    def scores(self, forward: Forward, examples: Examples) -> Tensor:
        """Return the scores of each example, in evaluation mode."""
        return self.setup.evaluation.scores(forward, examples)

    def measure(self) -> dict[str, float]:
        """Return the other columns of the curve's row for the model as it is; keep the scores that were last taken."""
        columns: dict[str, list[float]] = {}
        for task in self.setup.tasks:
            with self.used_by(task) as forward, evaluating(self.model):
                for part in self.setup.measured:
                    self.last_scores = self.scores(forward, getattr(task, part))
                    for name, value in self.setup.evaluation.named(self.last_scores).items():
                        columns.setdefault(f"{part}_{name}", []).append(value)
        return {name: float(np.mean(values)) for name, values in columns.items()}
