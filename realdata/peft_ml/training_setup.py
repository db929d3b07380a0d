"""What one training is given: made once by `retrain` or `fine_tune`, and handed whole to every layer beneath."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple, TypeAlias, get_args

from torch import Tensor, nn

from realdata.peft_ml.adapter_config import check_head
from realdata.peft_ml.base_model import check_model
from realdata.peft_ml.budget import Budget, Count
from realdata.peft_ml.by_length import adapted_outputs, outputs_of
from realdata.peft_ml.data import Inputs, Problem, Task
from realdata.peft_ml.evaluation import Evaluation
from realdata.peft_ml.meta_model import MetaPeftModel
from realdata.peft_ml.optimisation import Descent, Gradient, Group, Schedule
from realdata.peft_ml.settings import (
    ADAPTED,
    FineTune,
    FineTuningSettings,
    RetrainingSettings,
    SelectOn,
    TrainingSettings,
)
from realdata.peft_ml.stream import steps_per_epoch

if TYPE_CHECKING:
    from accelerate import Accelerator
    from peft import PeftConfig

Forward: TypeAlias = Callable[[Inputs], Tensor]
_PURPOSE = {"train": "train on", "validation": "select on", "test": "test on"}


class EpochProgress(NamedTuple):
    """How far a training is.

    Attributes
    ----------
    epoch, epochs
        Epochs finished, and in all.
    row
        The latest row of the curve, by column.
    earlier
        Seconds of the calls that ended before they were done, up to the checkpoint from which this one goes on.
    """

    epoch: int
    epochs: int
    row: Mapping[str, float]
    earlier: float = 0.0


class StepProgress(NamedTuple):
    """Where in an epoch a training is.

    Attributes
    ----------
    epoch
        Epochs finished.
    step, steps
        Gradient steps taken in the next one, and all of it.
    loss
        Of the latest batch.
    """

    epoch: int
    step: int
    steps: int
    loss: float


@dataclass(frozen=True, kw_only=True)
class TrainingSetup(ABC):
    """What retraining and fine-tuning are both given.

    Parameters
    ----------
    model
        The plain model to begin with; only copies of it are changed.
    tasks
        To train on.
    settings
        Of the training.
    budget
        Where gradients are counted.
    problem, head, seed, accelerator, adapter, rows_at_once, checkpoint, progress, on_step, say, select_on
        As in `realdata.peft_ml.retraining.retrain`.

    Raises
    ------
    TypeError, ValueError
        If the settings are of another kind, or tasks or `select_on` cannot be used.
    """

    phase: ClassVar[str]
    settings_type: ClassVar[type[TrainingSettings]]

    model: nn.Module
    tasks: tuple[Task, ...]
    problem: Problem
    settings: TrainingSettings
    head: str
    seed: int
    accelerator: Accelerator
    adapter: PeftConfig | None = None
    rows_at_once: int | None = None
    checkpoint: Path | None = None
    progress: Callable[[EpochProgress], None] = lambda _: None
    on_step: Callable[[StepProgress], None] = lambda _: None
    say: Callable[[str], None] = print
    select_on: SelectOn = "validation"
    budget: Budget = field(default_factory=Budget)

    def __post_init__(self) -> None:
        """Check model, head, settings, part and tasks."""
        check_model(self.model)
        check_head(self.model, self.head)
        if not isinstance(self.settings, self.settings_type):
            raise TypeError(f"settings must be {self.settings_type.__name__}, got {type(self.settings).__name__}")
        if self.select_on not in get_args(SelectOn):
            raise ValueError(f"select_on must be validation or test, got {self.select_on!r}")
        if not self.tasks:
            raise ValueError("tasks must be at least one, got none")
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"tasks must have different names, got {', '.join(self.names)}")
        for task in self.tasks:
            for part in ("train", *self.measured):
                if not len(getattr(task, part)):
                    raise ValueError(f"task {task.name} must have examples to {_PURPOSE[part]}, got none")

    @property
    @abstractmethod
    def name(self) -> str:
        """What is trained by, for errors."""

    @property
    @abstractmethod
    def per_epoch(self) -> Count:
        """What every epoch must spend."""

    @property
    @abstractmethod
    def own_marks(self) -> dict[str, object]:
        """What the results follow from that the other kind of training does not have, by name."""

    @property
    def measured(self) -> tuple[SelectOn, ...]:
        """The parts of every task whose scores are in the curve."""
        return get_args(SelectOn)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the tasks."""
        return tuple(task.name for task in self.tasks)

    @property
    def steps(self) -> int:
        """Gradient steps of an epoch."""
        return self.per_epoch.gradient_steps

    @property
    def select_by(self) -> str:
        """The column of which the largest value, and the first such, selects the epoch; the start is not eligible."""
        return f"{self.select_on}_{self.problem.score_names[0]}"

    @property
    def lora(self) -> PeftConfig:
        """The settings of peft that were given, or LoRA by the settings."""
        return self.settings.lora() if self.adapter is None else self.adapter

    @cached_property
    def gradient(self) -> Gradient:
        """What takes gradients and counts them in the budget."""
        return Gradient(self.problem, accelerator=self.accelerator, budget=self.budget, report=self._report)

    def _report(self, loss: float) -> None:
        """Say where in its epoch the training is; at the end of one `progress` does."""
        epoch, step = divmod(self.budget.spent.gradient_steps, self.steps)
        if step:
            self.on_step(StepProgress(epoch, step, self.steps, loss))

    @cached_property
    def evaluation(self) -> Evaluation:
        """How examples are evaluated."""
        return Evaluation(self.problem, self.accelerator, self.settings.evaluation_batch_size)

    def descent(self, *groups: Group) -> Descent:
        """Return the optimizer of the settings, with a schedule over all steps."""
        settings = self.settings
        return Descent(
            groups,
            optimizer=settings.optimizer,
            weight_decay=settings.weight_decay,
            schedule=Schedule(settings.schedule, steps=settings.epochs * self.steps, warmup=settings.warmup),
            accelerator=self.accelerator,
        )

    def forward(self, model: nn.Module, task: str | Sequence[str]) -> Forward:
        """Return what gives outputs of a model: with adapters, for one task or for one per row."""
        if isinstance(model, MetaPeftModel):
            return partial(adapted_outputs, model, task=task, rows_at_once=self.rows_at_once)
        return partial(outputs_of, model, rows_at_once=self.rows_at_once)


@dataclass(frozen=True, kw_only=True)
class RetrainingSetup(TrainingSetup):
    """What retraining is given.

    Parameters
    ----------
    method, head_per_task
        As in `realdata.peft_ml.retraining.retrain`.
    """

    phase = "retraining"
    settings_type = RetrainingSettings

    settings: RetrainingSettings
    method: str
    head_per_task: bool = False

    def __post_init__(self) -> None:
        """Check also that adapters are asked only of a method that has them to choose."""
        super().__post_init__()
        for name, asked in (("adapter", self.adapter is not None), ("head_per_task", self.head_per_task)):
            if asked and self.method not in ADAPTED:
                raise ValueError(f"{name} is for {', '.join(ADAPTED)}, got it with {self.method}")

    @property
    def name(self) -> str:
        """The method."""
        return self.method

    @cached_property
    def per_epoch(self) -> Count:
        """What every epoch must spend, the same for every method."""
        size = self.settings.batch_size
        steps = self.settings.steps_per_epoch or steps_per_epoch([len(task.train) for task in self.tasks], size)
        return Count(steps, steps * size)

    @property
    def own_marks(self) -> dict[str, object]:
        """Method and heads."""
        return {"method": self.method, "head": self.head, "head_per_task": self.head_per_task}

    @property
    def measured(self) -> tuple[SelectOn, ...]:
        """Validation examples, and test examples if the epoch is selected on them."""
        return get_args(SelectOn) if self.select_on == "test" else ("validation",)


@dataclass(frozen=True, kw_only=True)
class FineTuningSetup(TrainingSetup):
    """What fine-tuning on the one task is given.

    Parameters
    ----------
    finetune, fresh_head, start_from
        As in `realdata.peft_ml.fine_tuning.fine_tune`.
    """

    phase = "fine-tuning"
    settings_type = FineTuningSettings

    finetune: FineTune
    fresh_head: bool = False
    start_from: MetaPeftModel | None = None

    def __post_init__(self) -> None:
        """Check also the kind of fine-tuning."""
        if self.finetune not in get_args(FineTune):
            raise ValueError(f"finetune must be one of {', '.join(get_args(FineTune))}, got {self.finetune!r}")
        super().__post_init__()
        if self.finetune != "lora" and (self.adapter is not None or self.fresh_head):
            raise ValueError(f"adapter and fresh_head are for lora, got them with {self.finetune}")

    @property
    def name(self) -> str:
        """The kind of fine-tuning."""
        return f"fine-tuning ({self.finetune})"

    @cached_property
    def per_epoch(self) -> Count:
        """Every training example once."""
        size = len(self.tasks[0].train)
        return Count(steps_per_epoch([size], self.settings.batch_size), size)

    @property
    def own_marks(self) -> dict[str, object]:
        """The kind of fine-tuning; the model at the start tells heads apart."""
        return {"finetune": self.finetune}
