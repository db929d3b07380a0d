"""Tasks of texts for a model that writes the label after a prompt: encoder and decoder, or a decoder alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from loraml_theory.harness.errors import InputError
from realdata.continual.problem import Problem, Rows
from realdata.continual.prompts import exact_match, prompt, rouge_1
from realdata.experiments.experiment import Score
from realdata.language.encoders import load_causal, load_seq2seq
from realdata.peft_ml.checkpoint import model_digest
from realdata.text.splits import PARTS, Part, place

if TYPE_CHECKING:
    from realdata.continual.benchmark import TextTask
    from realdata.continual.settings import ContinualSettings

IGNORED = -100


class GenerationProblem(Problem):
    """Answers that a model writes, judged by exact match and ROUGE-1 of their words.

    The loss is the mean cross-entropy over the tokens of a batch's answers. What is written is the most likely token
    each time.

    Raises
    ------
    InputError
        If the model cannot be used, or its tokenizer has no token for the end of a text.
    """

    def __init__(self, settings: ContinualSettings, tasks: Mapping[str, TextTask]) -> None:
        self.settings, self.tasks = settings, tasks
        self.causal = settings.model.kind == "causal-lm"
        loaded = (load_causal if self.causal else load_seq2seq)(settings.model.name)
        self.plain, self.tokenizer = loaded.model, loaded.tokenizer
        end = self.tokenizer.eos_token_id
        if end is None:
            raise InputError(f"model {settings.model.name}: its tokenizer has no token for the end of a text")
        padding = self.tokenizer.pad_token_id
        self._end, self._padding = int(end), int(end if padding is None else padding)
        self.labels = {name: task.labels for name, task in tasks.items()}
        self.scores = {"exact_match": Score("exact match", 0.0), "rouge_1": Score("ROUGE-1 F1", 0.0)}
        self._prompts = {
            (name, part): [self._prompt(task, row.texts) for row in task.parts[part]]
            for name, task in tasks.items()
            for part in PARTS
        }

    def size(self, task: str, part: Part) -> int:
        """Return the number of rows."""
        return len(self.tasks[task].parts[part])

    def loss(self, model: nn.Module, rows: Rows) -> Tensor:
        """Return the mean cross-entropy over the tokens of all answers."""
        chosen = [(task, int(row)) for task, own in rows.items() for row in own]
        prompts = [self._prompts[task, "train"][row] for task, row in chosen]
        answers = [self._answer(str(self.tasks[task].parts["train"][row].label)) for task, row in chosen]
        device = next(model.parameters()).device
        if self.causal:
            whole = [given + answer for given, answer in zip(prompts, answers, strict=True)]
            wanted = [[IGNORED] * len(given) + answer for given, answer in zip(prompts, answers, strict=True)]
            inputs = self._inputs(whole, device)
        else:
            wanted, inputs = answers, self._inputs(prompts, device)
        targets = _filled(wanted, IGNORED).to(device)
        loss: Tensor = model(**inputs, labels=targets).loss
        return loss

    def evaluated(self, model: nn.Module, tasks: Sequence[str], part: Part) -> dict[str, list[float]]:
        """Return the mean exact match and ROUGE-1 of every task."""
        found: dict[str, list[float]] = {name: [] for name in self.scores}
        for task in tasks:
            wanted = [str(row.label) for row in self.tasks[task].parts[part]]
            answers = self._written(model, self._prompts[task, part])
            for name, judge in (("exact_match", exact_match), ("rouge_1", rouge_1)):
                found[name].append(float(np.mean([judge(a, b) for a, b in zip(answers, wanted, strict=True)])))
        return found

    def document(self, tasks: Sequence[str]) -> dict[str, Any]:
        """Return the model's hash, and of each task sizes, labels and hashes."""
        return {
            "model": model_digest(self.plain)[:16],
            **{
                task: {
                    "labels": list(self.labels[task]),
                    "files": list(self.tasks[task].digests),
                    **{part: [self.size(task, part), self._places(task, part)] for part in PARTS},
                }
                for task in tasks
            },
        }

    def _places(self, task: str, part: Part) -> float:
        """Return the sum of the rows' places, which tells whether they are the same."""
        return round(sum(place(row.texts) for row in self.tasks[task].parts[part]), 9)

    def _prompt(self, task: TextTask, texts: Sequence[str]) -> list[int]:
        """Return the tokens of a prompt; a long sentence loses its end, and the instruction stays."""
        longest = min(self.settings.data.max_length, self.tokenizer.model_max_length)
        sentence = "\n".join(texts).strip()
        tokens: list[int] = self.tokenizer(prompt(task.name, task.labels, sentence))["input_ids"]
        while len(tokens) > longest and sentence:
            over = len(tokens) - longest
            own = self.tokenizer(sentence, add_special_tokens=False)["input_ids"]
            sentence = str(self.tokenizer.decode(own[: max(0, len(own) - over)]))
            tokens = self.tokenizer(prompt(task.name, task.labels, sentence))["input_ids"]
            if not own:
                break
        if len(tokens) > longest:
            raise InputError(
                f"data.max_length: got {longest}, expected at least {len(tokens)} tokens for a prompt of {task.name}"
            )
        return tokens[:-1] if self.causal and tokens[-1:] == [self._end] else tokens

    def _answer(self, label: str) -> list[int]:
        own: list[int] = self.tokenizer(f" {label}" if self.causal else label, add_special_tokens=False)["input_ids"]
        return [*own, self._end]

    def _written(self, model: nn.Module, prompts: Sequence[list[int]]) -> list[str]:
        """Return the answers, of prompts of similar length at a time; those of a decoder are filled up on the left."""
        size, device = self.settings.model.rows_at_once, next(model.parameters()).device
        by_length = sorted(range(len(prompts)), key=lambda at: len(prompts[at]))
        found = [""] * len(prompts)
        generate: Any = model
        for first in range(0, len(prompts), size):
            group = by_length[first : first + size]
            inputs = self._inputs([prompts[at] for at in group], device, left=self.causal)
            with torch.no_grad():
                written = generate.generate(
                    **inputs,
                    max_new_tokens=self.settings.model.new_tokens,
                    do_sample=False,
                    num_beams=1,
                    pad_token_id=self._padding,
                    eos_token_id=self._end,
                )
            own = written[:, inputs["input_ids"].shape[1] :] if self.causal else written
            for at, text in zip(group, self.tokenizer.batch_decode(own, skip_special_tokens=True), strict=True):
                found[at] = text
        return found

    def _inputs(self, rows: Sequence[list[int]], device: torch.device, *, left: bool = False) -> dict[str, Tensor]:
        masks = [[1] * len(row) for row in rows]
        return {
            "input_ids": _filled(rows, self._padding, left=left).to(device),
            "attention_mask": _filled(masks, 0, left=left).to(device),
        }


def _filled(rows: Sequence[list[int]], value: int, *, left: bool = False) -> Tensor:
    """Return rows of any lengths as one tensor, filled up on the right or on the left.

    Examples
    --------
    >>> _filled([[1, 2], [3]], 0, left=True).tolist()
    [[1, 2], [0, 3]]
    """
    width = max(map(len, rows))
    fill = [[value] * (width - len(row)) for row in rows]
    return torch.tensor([[*more, *row] if left else [*row, *more] for row, more in zip(rows, fill, strict=True)])
