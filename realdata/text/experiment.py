"""Retraining on tasks of texts for `realdata.experiments`."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from loraml_theory.harness.errors import InputError
from realdata.experiments.experiment import Cost, FineTuningPlan, RetrainingPlan, Score
from realdata.experiments.grid import NoSwitches, RetrainingKey, Work
from realdata.text.files import Source
from realdata.text.settings import TextSettings
from realdata.text.splits import PARTS

if TYPE_CHECKING:
    from torch import nn

    from realdata.language.encoders import Encoder
    from realdata.peft_ml.data import Problem

FORWARD_AND_BACKWARD = 3  # cost of a training row relative to an evaluated one


@dataclass(frozen=True)
class TextSpec:
    """Tasks to retrain on, and others to adapt to, which there may be none of."""

    settings: TextSettings
    retraining: tuple[Source, ...]
    tests: tuple[Source, ...] = ()

    @property
    def name(self) -> str:
        """The experiment's name."""
        return "retraining"

    @property
    def switches(self) -> Mapping[str, tuple[str, str]]:
        """Switches of the reference code: none."""
        return {}

    @property
    def relevance(self) -> NoSwitches:
        """The switches that have an effect: none."""
        return NoSwitches()

    def document(self) -> dict[str, Any]:
        """Return the settings in JSON's types, without the grid."""
        return self.settings.document()

    def open(self) -> TextExperiment:
        """Read the tasks and the model.

        Raises
        ------
        InputError
            If they cannot be used.
        """
        return TextExperiment(self)


class TextExperiment:
    """The tasks of a spec and its model, whose head has a row for each label of each task to retrain on.

    Raises
    ------
    InputError
        If a file, the model or its tokenizer cannot be used.
    """

    unit = "task"

    def __init__(self, spec: TextSpec) -> None:
        from realdata.text.label_problem import LabelProblem
        from realdata.text.tasks import fill_of, read_task, tokenised

        self.settings = spec.settings
        self._sources = {source.name: source for source in (*spec.retraining, *spec.tests)}
        if len(self._sources) < len(spec.retraining) + len(spec.tests):
            raise InputError("--task, --test: got a name twice, expected tasks with different names")
        if spec.settings.retraining.batch_size < len(spec.retraining):
            size = spec.settings.retraining.batch_size
            raise InputError(f"--batch-size: got {size}, expected an example of each of {len(spec.retraining)} tasks")
        given = self.settings.data
        read = [read_task(source, given, option="--task") for source in spec.retraining]
        tested = [read_task(source, given, option="--test") for source in spec.tests]
        first = [0, *accumulate(len(task.labels) for task in read)]
        self.labels = first.pop()
        self.outputs = {task.name: (at, at + len(task.labels)) for task, at in zip(read, first, strict=True)}
        encoder = self.encoder(0, self.labels)
        length, tokenizer = given.max_length, encoder.tokenizer
        self.retraining_tasks = tuple(
            tokenised(task, tokenizer, max_length=length, first=at) for task, at in zip(read, first, strict=True)
        )
        self.test_tasks = {task.name: tokenised(task, tokenizer, max_length=length) for task in tested}
        self._labels = {task.name: task.labels for task in (*read, *tested)}
        self.problem: Problem = LabelProblem(fill_of(tokenizer))
        self.head = encoder.head
        self.tests: tuple[str, ...] = tuple(self.test_tasks)
        guesses = [1 / len(task.labels) for task in self.test_tasks.values()]
        self.scores: Mapping[str, Score] = {"accuracy": Score("accuracy", sum(guesses) / max(1, len(guesses)))}

    def data(self) -> dict[str, Any]:
        """Return the model's hash, and of every task its role, its labels, and hashes of its files and parts."""
        from realdata.peft_ml.checkpoint import examples_digest, model_digest
        from realdata.text.files import digests

        trained = [task.name for task in self.retraining_tasks]
        tasks = (*self.retraining_tasks, *self.test_tasks.values())
        return {
            "source": " and ".join(filter(None, [", ".join(trained[:-1]), trained[-1]])),
            "model": model_digest(self.encoder(0, self.labels).model)[:16],
            "tasks": {
                task.name: {
                    "role": "retraining" if task.name in trained else "test",
                    "files": digests(self._sources[task.name]),
                    "labels": [str(label) for label in task.labels],
                    **{part: [len(own := getattr(task, part)), examples_digest(own)[:16]] for part in PARTS},
                }
                for task in tasks
            },
        }

    def retraining(self, key: RetrainingKey) -> RetrainingPlan:
        """Return the plan of a retraining; in lora-ml every task has its own head beside its adapter."""
        meta = self.settings.fomaml if key.method == "fomaml" else self.settings.reptile
        return RetrainingPlan(
            copy.deepcopy(self.encoder(key.seed, self.labels).model),
            self.retraining_tasks,
            replace(self.settings.retraining, rank=max(1, key.rank), meta=meta),
            "validation",
            head_per_task=key.method == "lora-ml",
            rows_at_once=self.settings.model.rows_at_once,
        )

    def fine_tuning(self, work: Work, base: nn.Module) -> FineTuningPlan:
        """Return the plan of a fine-tuning, with a new head for the task's labels."""
        task = self.test_tasks[work.task]
        settings = replace(self.settings.fine_tuning, rank=max(1, work.rank))
        if work.finetune == "last-layer":
            settings = replace(settings, learning_rate=self.settings.last_layer.learning_rate)
        return FineTuningPlan(
            self.with_head(base, work.retraining.seed, len(task.labels)),
            task,
            settings,
            "validation",
            warm=False,
            fresh_head=work.finetune == "lora",
            rows_at_once=self.settings.model.rows_at_once,
        )

    def cost(self, work: Work | None) -> Cost:
        """Return the epochs of a job, and the rows of each, a training row counted three times."""
        if work is None:
            sizes = [FORWARD_AND_BACKWARD * len(task.train) + len(task.validation) for task in self.retraining_tasks]
            return Cost(self.settings.retraining.epochs, sum(sizes))
        task = self.test_tasks[work.task]
        evaluated = len(task.validation) + len(task.test)
        return Cost(self.settings.fine_tuning.epochs, FORWARD_AND_BACKWARD * len(task.train) + evaluated)

    def with_head(self, base: nn.Module, seed: int, labels: int) -> nn.Module:
        """Return a copy of a base whose head is new, and has as many outputs as a task has labels."""
        model = copy.deepcopy(self.encoder(seed, labels).model)
        body = {name: value for name, value in base.state_dict().items() if not self.in_head(name)}
        model.load_state_dict({**model.state_dict(), **body})
        return model.to(next(base.parameters()).device)

    def labels_of(self, name: str) -> tuple[str | int, ...]:
        """Return the labels of a task."""
        return self._labels[name]

    def in_head(self, name: str) -> bool:
        """Return whether a tensor of the plain model is part of its head."""
        return name.startswith(f"{self.head}.")

    @lru_cache(maxsize=4)  # noqa: B019  (an experiment lives as long as its process)
    def encoder(self, seed: int, labels: int) -> Encoder:
        """Return the model as it is with a head for so many labels, which no one may change, and its tokenizer."""
        from realdata.language.encoders import load_encoder

        return load_encoder(self.settings.model.name, labels=labels, seed=seed)
