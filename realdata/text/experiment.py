"""Retraining on tasks of texts for `realdata.experiments`, of whatever kind."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from loraml_theory.harness.errors import InputError
from realdata.experiments.experiment import FORWARD_AND_BACKWARD, Cost, FineTuningPlan, RetrainingPlan, Score, Spec
from realdata.experiments.grid import NO_RETRAINING, RetrainingKey, Work
from realdata.peft_ml.settings import ADAPTED
from realdata.text.files import Source
from realdata.text.settings import TextSettings
from realdata.text.splits import PARTS

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

    from realdata.peft_ml.data import Problem, Task


@dataclass(frozen=True)
class TextSpec(Spec):
    """Tasks to retrain on, and others to adapt to, which there may be none of."""

    name = "retraining"
    reference = NO_RETRAINING  # what a user would take instead

    settings: TextSettings
    retraining: tuple[Source, ...]
    tests: tuple[Source, ...] = ()

    @property
    def inputs(self) -> Sequence[Path]:
        """The files of all tasks, and the model where it is a folder."""
        files = [path for source in (*self.retraining, *self.tests) for path in source.paths]
        return [*files, Path(self.settings.model.name)]

    def open(self) -> TextExperiment:
        """Read the tasks and the model.

        Raises
        ------
        InputError
            If they cannot be used.
        """
        from realdata.text.causal import CausalExperiment
        from realdata.text.classification import ClassificationExperiment

        kinds = {"classification": ClassificationExperiment, "causal-lm": CausalExperiment}
        return kinds[self.settings.model.kind](self)


class TextExperiment(ABC):
    """The tasks of a spec and its model.

    Attributes
    ----------
    task_type
        The type of task of peft, which names the stock class that loads an adapter.
    model_class
        The class of transformers that loads a base.
    retraining_tasks, test_tasks
        Tokenised; the latter by name.
    tokenizer
        The model's.

    Raises
    ------
    InputError
        If a file, the model or its tokenizer cannot be used.
    """

    unit = "task"
    task_type: ClassVar[str]
    model_class: ClassVar[str]

    problem: Problem
    head: str
    scores: Mapping[str, Score]
    tokenizer: PreTrainedTokenizerBase
    retraining_tasks: tuple[Task, ...]
    test_tasks: Mapping[str, Task]

    def __init__(self, spec: TextSpec) -> None:
        self.settings = spec.settings
        self._sources = {source.name: source for source in (*spec.retraining, *spec.tests)}
        if len(self._sources) < len(spec.retraining) + len(spec.tests):
            raise InputError("--task, --test: got a name twice, expected tasks with different names")
        if spec.settings.retraining.batch_size < len(spec.retraining):
            size = spec.settings.retraining.batch_size
            raise InputError(f"--batch-size: got {size}, expected an example of each of {len(spec.retraining)} tasks")
        self.tests: tuple[str, ...] = tuple(source.name for source in spec.tests)

    def data(self) -> dict[str, Any]:
        """Return the model's hash, and of every task its role, what is its own, and hashes of its files and parts."""
        from realdata.peft_ml.checkpoint import examples_digest, model_digest
        from realdata.text.files import digests

        trained = [task.name for task in self.retraining_tasks]
        return {
            "source": " and ".join(filter(None, [", ".join(trained[:-1]), trained[-1]])),
            "model": model_digest(self.model(0))[:16],
            "tasks": {
                task.name: {
                    "role": "retraining" if task.name in trained else "test",
                    "files": digests(self._sources[task.name]),
                    "labels": [str(label) for label in self.labels_of(task.name)],
                    **{part: [len(own := getattr(task, part)), examples_digest(own)[:16]] for part in PARTS},
                }
                for task in (*self.retraining_tasks, *self.test_tasks.values())
            },
        }

    def retraining(self, key: RetrainingKey) -> RetrainingPlan:
        """Return the plan of a retraining."""
        meta = self.settings.fomaml if key.method == "fomaml" else self.settings.reptile
        return RetrainingPlan(
            copy.deepcopy(self.model(key.seed)),
            self.retraining_tasks,
            replace(self.settings.retraining, rank=max(1, key.rank), meta=meta),
            "validation",
            head_per_task=self.head_per_task and key.method in ADAPTED,
            rows_at_once=self.rows_at_once,
        )

    def fine_tuning(self, work: Work, base: nn.Module) -> FineTuningPlan:
        """Return the plan of a fine-tuning, where tasks have labels with a new head for them."""
        from realdata.text.export import keep

        settings = replace(self.settings.fine_tuning, rank=max(1, work.rank))
        if work.finetune == "last-layer":
            settings = replace(settings, learning_rate=self.settings.last_layer.learning_rate)
        return FineTuningPlan(
            self.for_task(base, work.retraining.seed, work.task),
            self.test_tasks[work.task],
            settings,
            "validation",
            warm=False,
            fresh_head=self.head_per_task and work.finetune == "lora",
            rows_at_once=self.rows_at_once,
            keep=partial(keep, self, work),
        )

    def cost(self, work: Work | None) -> Cost:
        """Return the epochs of a job, and the rows of each, a training row counted three times."""
        if work is None:
            sizes = [FORWARD_AND_BACKWARD * len(task.train) + len(task.validation) for task in self.retraining_tasks]
            return Cost(self.settings.retraining.epochs, sum(sizes))
        task = self.test_tasks[work.task]
        evaluated = len(task.validation) + len(task.test)
        return Cost(self.settings.fine_tuning.epochs, FORWARD_AND_BACKWARD * len(task.train) + evaluated)

    def own_rows(self, name: str, value: Tensor, task: str) -> Tensor:  # noqa: ARG002  (of a kind with heads)
        """Return what a task uses of a tensor of its head, or of any other: all of it."""
        return value

    def in_head(self, name: str) -> bool:
        """Return whether a tensor of the plain model is part of a head that each task has its own of."""
        return self.head_per_task and name.startswith(f"{self.head}.")

    @property
    @abstractmethod
    def head_per_task(self) -> bool:
        """Whether every task has a head of its own."""

    @property
    @abstractmethod
    def rows_at_once(self) -> int | None:
        """Rows of a forward pass, of similar length; None for a whole batch."""

    @abstractmethod
    def model(self, seed: int) -> nn.Module:
        """Return the model as it is before retraining, which no one may change."""

    @abstractmethod
    def for_task(self, base: nn.Module, seed: int, task: str | None) -> nn.Module:
        """Return a copy of a base with what it needs for a task, or for None for any."""

    @abstractmethod
    def labels_of(self, name: str) -> tuple[str | int, ...]:
        """Return the labels of a task; none where it has none."""
