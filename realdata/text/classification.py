"""Tasks of texts with labels: a head of its own size for each."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from loraml_theory.harness.errors import InputError
from realdata.experiments.experiment import Score
from realdata.language.encoders import load_encoder
from realdata.text.card import DEFAULT_LABELS
from realdata.text.experiment import TextExperiment, TextSpec
from realdata.text.label_problem import LabelProblem
from realdata.text.labelled import Fields, Labelled, labelled, labels_of
from realdata.text.tasks import TextTask, fill_of, read_task, tokenised

if TYPE_CHECKING:
    from torch import Tensor, nn

    from realdata.language.encoders import Encoder
    from realdata.peft_ml.data import Task
    from realdata.text.files import Source


class ClassificationExperiment(TextExperiment):
    """The tasks of a spec and its model, whose head has a row for each label of each task to retrain on.

    Attributes
    ----------
    outputs
        From which number to which the model's outputs are those of a task to retrain on.
    """

    task_type = "SEQ_CLS"
    model_class = "ForSequenceClassification"
    head_per_task = True

    def __init__(self, spec: TextSpec) -> None:
        super().__init__(spec)
        read, tested = self._read(spec)
        self._labels = {
            task.name: _labels(task, option)
            for tasks, option in ((read, "--task"), (tested, "--test"))
            for task in tasks
        }
        ends = [0, *accumulate(len(self._labels[task.name]) for task in read)]
        self.outputs = {task.name: ends[at : at + 2] for at, task in enumerate(read)}
        self._rows = ends[-1]
        encoder = self._encoder(0, self._rows)
        self.tokenizer, self.head = encoder.tokenizer, encoder.head
        self.retraining_tasks = tuple(self._tokenised(task, self.outputs[task.name][0]) for task in read)
        self.test_tasks = {task.name: self._tokenised(task, 0) for task in tested}
        self.problem = LabelProblem(fill_of(self.tokenizer))
        guesses = [1 / len(self._labels[name]) for name in self.tests]
        self.scores = {"accuracy": Score("accuracy", sum(guesses) / max(1, len(guesses)))}

    @property
    def rows_at_once(self) -> int:
        """Rows of a forward pass."""
        return self.settings.model.rows_at_once

    def model(self, seed: int) -> nn.Module:
        """Return the model with a head for all labels."""
        return self._encoder(seed, self._rows).model

    def for_task(self, base: nn.Module, seed: int, task: str | None) -> nn.Module:
        """Return a copy of a base whose head is new, and has as many outputs as the task has labels."""
        labels = DEFAULT_LABELS if task is None else len(self._labels[task])
        model = copy.deepcopy(self._encoder(seed, labels).model)
        body = {name: value for name, value in base.state_dict().items() if not self.in_head(name)}
        model.load_state_dict({**model.state_dict(), **body})
        return model.to(next(base.parameters()).device)

    def own_rows(self, name: str, value: Tensor, task: str) -> Tensor:
        """Return the rows of a task of a tensor of the head that has a row for each label."""
        first, end = self.outputs[task]
        own = self._encoder(0, end - first).model.state_dict()
        return value[first:end] if self.in_head(name) and own[name].shape != value.shape else value

    def labels_of(self, name: str) -> tuple[str | int, ...]:
        """Return the labels of a task."""
        return self._labels[name]

    def _read(self, spec: TextSpec) -> tuple[list[TextTask[Labelled]], list[TextTask[Labelled]]]:
        data = spec.settings.data

        def read(sources: Sequence[Source], option: str) -> list[TextTask[Labelled]]:
            fields = Fields(data.text, data.label)
            return [read_task(source, data, lambda rows: labelled(rows, fields), option=option) for source in sources]

        return read(spec.retraining, "--task"), read(spec.tests, "--test")

    def _tokenised(self, task: TextTask[Labelled], first: int) -> Task:
        return tokenised(
            task, self.tokenizer, self._labels[task.name], max_length=self.settings.data.max_length, first=first
        )

    @lru_cache(maxsize=4)  # noqa: B019  (an experiment lives as long as its process)
    def _encoder(self, seed: int, labels: int) -> Encoder:
        encoder = load_encoder(self.settings.model.name, labels=labels, seed=seed)
        _agree_on_padding(encoder, name=self.settings.model.name)
        return encoder


def _agree_on_padding(encoder: Encoder, *, name: str) -> None:
    """Let tokenizer and model have one token to pad with, after which a decoder looks for the end of a text."""
    model, tokenizer = encoder.model, encoder.tokenizer
    config: Any = model.config
    if tokenizer.pad_token_id is None:
        number = config.pad_token_id if config.pad_token_id is not None else tokenizer.eos_token_id
        if number is None:
            raise InputError(f"model {name}: its tokenizer has no token to pad with, nor one for the end of a text")
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(number)
    config.pad_token_id = tokenizer.pad_token_id


def _labels(task: TextTask[Labelled], option: str) -> tuple[str | int, ...]:
    """Return the labels of a task, which are those of its rows to train on where a user gives these apart."""
    name = f"{option} {task.name}"
    trained = task.given.get("all") or task.given["train"]
    labels = labels_of(name, trained, [row for rows in task.given.values() for row in rows])
    seen = {row.label for row in task.parts["train"]}
    if missing := [label for label in labels if label not in seen]:
        where = next(row.where for row in trained if row.label == missing[0])
        raise InputError(
            f"{name}: none of the {len(task.parts['train'])} rows to train on has the label {missing[0]!r}, as {where} "
            "has, expected some with every label: give more rows with it or none, or another --split"
        )
    return labels
