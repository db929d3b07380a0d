"""Tasks of passages for a causal language model, which share all of its head."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from loraml_theory.harness.errors import InputError
from realdata.experiments.experiment import Score
from realdata.language.encoders import load_causal
from realdata.peft_ml.data import Task
from realdata.text.causal_problem import CausalProblem
from realdata.text.examples import TokenExamples
from realdata.text.experiment import TextExperiment, TextSpec
from realdata.text.passages import Passage, passages, targets
from realdata.text.splits import PARTS
from realdata.text.tasks import TextTask, read_task

if TYPE_CHECKING:
    from torch import nn

    from realdata.language.encoders import Encoder
    from realdata.text.files import Source


class CausalExperiment(TextExperiment):
    """The passages of a spec and its language model."""

    task_type = "CAUSAL_LM"
    model_class = "ForCausalLM"
    head_per_task = False
    rows_at_once = None  # outputs have a row for each token, so rows of several lengths are in one pass

    def __init__(self, spec: TextSpec) -> None:
        super().__init__(spec)
        encoder = self._loaded()
        self.tokenizer, self.head = encoder.tokenizer, encoder.head
        end = self.tokenizer.eos_token_id
        if end is None:
            raise InputError(f"model {spec.settings.model.name}: its tokenizer has no token for the end of a text")
        padding = self.tokenizer.pad_token_id
        self._fill = {"input_ids": end if padding is None else padding, "attention_mask": 0}
        self.retraining_tasks = tuple(self._task(source, "--task") for source in spec.retraining)
        self.test_tasks = {source.name: self._task(source, "--test") for source in spec.tests}
        self.problem = CausalProblem(self._fill)
        size = len(self.tokenizer)
        self.scores = {
            "log_likelihood": Score("log-likelihood of a token, minus the loss", -math.log(size), "nats"),
            "perplexity": Score("perplexity", size, "tokens"),
        }

    def model(self, seed: int) -> nn.Module:  # noqa: ARG002  (nothing in it is drawn)
        """Return the model as it is."""
        return self._loaded().model

    def for_task(self, base: nn.Module, seed: int, task: str | None) -> nn.Module:  # noqa: ARG002
        """Return a copy of a base; no task needs more."""
        return copy.deepcopy(base)

    def labels_of(self, name: str) -> tuple[str | int, ...]:  # noqa: ARG002
        """Return no labels."""
        return ()

    def _task(self, source: Source, option: str) -> Task:
        data = self.settings.data
        longest = min(data.max_length, self.tokenizer.model_max_length)
        read = read_task(
            source,
            data,
            lambda rows: passages(rows, self.tokenizer, fields=data.text, max_length=longest),
            option=option,
        )
        return self._tokenised(read)

    def _tokenised(self, task: TextTask[Passage]) -> Task:
        return Task(task.name, *(self._examples(task.parts[part]) for part in PARTS))

    def _examples(self, found: Sequence[Passage]) -> TokenExamples:
        rows = [{"input_ids": one.tokens, "attention_mask": [1] * len(one.tokens)} for one in found]
        wanted = torch.tensor(list(targets(found, max(len(one.tokens) for one in found))))
        return TokenExamples(rows, wanted, fill=self._fill)

    @lru_cache(maxsize=1)  # noqa: B019  (an experiment lives as long as its process)
    def _loaded(self) -> Encoder:
        return load_causal(self.settings.model.name)
