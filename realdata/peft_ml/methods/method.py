"""What every retraining method is given, and what it must offer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, TypeAlias

from torch import Tensor, nn

from realdata.peft_ml.budget import Budget
from realdata.peft_ml.data import Inputs, Problem, Task
from realdata.peft_ml.meta_model import MetaPeftModel
from realdata.peft_ml.optimisation import Descent, Gradient
from realdata.peft_ml.settings import RetrainingSettings
from realdata.peft_ml.stream import steps_per_epoch

if TYPE_CHECKING:
    from accelerate import Accelerator
    from peft import PeftConfig

Forward: TypeAlias = Callable[[Inputs], Tensor]


@dataclass(frozen=True)
class Setup:
    """What a method retrains, on what, and how.

    Parameters
    ----------
    model
        The plain model to begin with; a method changes only copies of it.
    tasks
        To retrain on.
    problem
        Losses of outputs.
    settings
        Of retraining.
    head
        Name of the last layer.
    seed
        Root of everything that is drawn.
    accelerator
        Device and precision.
    budget
        Where gradients are counted.
    adapter
        Settings of peft for lora-ml instead of LoRA by `settings`.
    head_per_task
        Whether lora-ml gives each task a head of its own.
    rows_at_once
        Rows of a forward, see `realdata.peft_ml.by_length`.
    """

    model: nn.Module
    tasks: tuple[Task, ...]
    problem: Problem
    settings: RetrainingSettings
    head: str
    seed: int
    accelerator: Accelerator
    budget: Budget
    adapter: PeftConfig | None = None
    head_per_task: bool = False
    rows_at_once: int | None = None

    @cached_property
    def steps(self) -> int:
        """Gradient steps of an epoch, the same for every method."""
        sizes = [len(task.train) for task in self.tasks]
        return self.settings.steps_per_epoch or steps_per_epoch(sizes, self.settings.batch_size)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the tasks."""
        return tuple(task.name for task in self.tasks)

    @cached_property
    def gradient(self) -> Gradient:
        """What takes gradients and counts them in the budget."""
        return Gradient(self.problem, accelerator=self.accelerator, budget=self.budget)

    def without_adapters(self, method: str) -> None:
        """Raise ValueError if adapters are asked of a method that has none to choose."""
        if self.adapter is not None:
            raise ValueError(f"adapter is for lora-ml, got it with {method}")
        if self.head_per_task:
            raise ValueError(f"head_per_task is for lora-ml, got it with {method}")


class Method(Protocol):
    """A model being retrained.

    Parameters
    ----------
    model
        All that is trained, on the accelerator's device.
    descents
        The optimizers whose state lasts from epoch to epoch, by name.
    steps_to_move
        Gradient steps after which every trained part must have changed.
    """

    model: nn.Module
    descents: Mapping[str, Descent]
    steps_to_move: int

    def train(self, epoch: int) -> Tensor:
        """Take the epoch's gradient steps, epochs counted from 1; return the mean loss over tasks and steps."""
        ...

    def used_by(self, task: Task) -> AbstractContextManager[Forward]:
        """Give the model as the task uses it; it is as before afterwards."""
        ...

    def base(self) -> nn.Module:
        """Return a copy of the plain model as it is now."""
        ...

    @property
    def meta_model(self) -> MetaPeftModel | None:
        """The model with its adapters, if it has any."""
        ...
