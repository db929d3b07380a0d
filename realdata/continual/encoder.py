"""Tasks of texts for an encoder: adapted itself, or frozen, with the features that it computes once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from realdata.continual.features import FeatureTask
from realdata.continual.problem import SimilarityProblem
from realdata.peft_ml.checkpoint import examples_digest, model_digest
from realdata.text.examples import TokenExamples
from realdata.text.splits import PARTS, Part
from realdata.text.tasks import fill_of, token_rows

if TYPE_CHECKING:
    from realdata.continual.benchmark import TextTask
    from realdata.language.encoders import Encoder


class EncoderProblem(SimilarityProblem):
    """Tasks of texts, whose embedding is the mean of the last layer's outputs over the tokens.

    Parameters
    ----------
    encoder
        The model and its tokenizer.
    tasks
        By name.
    temperature, orders
        As for `SimilarityProblem`.
    max_length
        Tokens of the longest text.
    rows_at_once
        Rows of a pass in evaluation, where rows of similar length are together.
    """

    def __init__(
        self,
        encoder: Encoder,
        tasks: Mapping[str, TextTask],
        *,
        temperature: float,
        orders: Sequence[int],
        max_length: int,
        rows_at_once: int,
    ) -> None:
        super().__init__({name: task.labels for name, task in tasks.items()}, temperature=temperature, orders=orders)
        self.plain = encoder.model
        self.rows_at_once = rows_at_once
        fill = fill_of(encoder.tokenizer)

        def examples(texts: Sequence[tuple[str, ...]], right: Sequence[int]) -> TokenExamples:
            rows = token_rows(encoder.tokenizer, texts, max_length=max_length)
            return TokenExamples(rows, torch.tensor(right), fill=fill)

        self._labels, self._sentences, self._right = {}, {}, {}
        for name, task in tasks.items():
            numbers = {text: number for number, text in enumerate(task.labels)}
            self._labels[name] = examples([(text,) for text in task.labels], range(len(task.labels)))
            for part in PARTS:
                right = [numbers[str(row.label)] for row in task.parts[part]]
                self._sentences[name, part] = examples([row.texts for row in task.parts[part]], right)
                self._right[name, part] = torch.tensor(right)

    def size(self, task: str, part: Part) -> int:
        """Return the number of rows."""
        return len(self._right[task, part])

    def sentences(self, model: nn.Module, task: str, part: Part, rows: NDArray[np.int64] | None = None) -> Tensor:
        """Return the embeddings."""
        examples = self._sentences[task, part]
        if rows is not None:
            return embedded(model, examples, rows)
        by_length = np.argsort(examples.lengths, kind="stable")
        groups = np.array_split(by_length, -(-len(examples) // self.rows_at_once))
        found = torch.cat([embedded(model, examples, group) for group in groups])
        return found[torch.from_numpy(np.argsort(by_length, kind="stable")).to(found.device)]

    def label_texts(self, model: nn.Module, tasks: Sequence[str]) -> list[Tensor]:
        """Return the embeddings of labels."""
        return [embedded(model, self._labels[task], np.arange(len(self._labels[task]))) for task in tasks]

    def right(self, task: str, part: Part) -> Tensor:
        """Return the numbers of the right labels."""
        return self._right[task, part]

    def document(self, tasks: Sequence[str]) -> dict[str, Any]:
        """Return the model's hash, and of each task sizes, labels and hashes."""
        return {
            "model": model_digest(self.plain)[:16],
            **{
                task: {
                    "labels": list(self.labels[task]),
                    **{part: [len(own := self._sentences[task, part]), examples_digest(own)[:16]] for part in PARTS},
                }
                for task in tasks
            },
        }

    def features(self) -> dict[str, FeatureTask]:
        """Return what the plain model makes of all texts."""
        self.plain.eval()
        with torch.no_grad():
            return {
                task: FeatureTask(
                    self.labels[task],
                    self.label_texts(self.plain, [task])[0].cpu(),
                    {part: self.sentences(self.plain, task, part).cpu() for part in PARTS},
                    {part: self._right[task, part] for part in PARTS},
                )
                for task in self.labels
            }


def embedded(model: nn.Module, examples: TokenExamples, rows: NDArray[np.int64]) -> Tensor:
    """Return the mean of the last layer's outputs over each text's tokens, ``(rows, width)``."""
    inputs: Any = examples.batch(rows).inputs
    device = next(model.parameters()).device
    on_device = {name: tensor.to(device) for name, tensor in inputs.items()}
    outputs = model(**on_device).last_hidden_state
    mask = on_device["attention_mask"][..., None].to(outputs.dtype)
    return (outputs * mask).sum(dim=1) / mask.sum(dim=1)
