"""Losses and scores of texts whose tasks have labels of their own, in one head with a row for every label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from realdata.peft_ml.data import Batch
from realdata.text.examples import stacked


@dataclass(frozen=True)
class LabelProblem:
    """The choice of a text's label among those of its task.

    The model has outputs for the labels of several tasks side by side. A target is ``(label, first, end)``: the
    outputs from `first` to `end` are those of the task. All others count as minus infinity, so their rows of the head
    have no gradient from it: the task has a head of its own size.

    Parameters
    ----------
    fill
        What each input is padded with.
    """

    fill: Mapping[str, int]
    score_names: tuple[str, ...] = ("accuracy",)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy of each text, ``(texts,)``."""
        return functional.cross_entropy(_of_task(outputs, targets), targets[:, 0], reduction="none")

    def scores(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return 1 for each text whose label has the largest output, ``(texts, 1)``; else, and for NaN, 0."""
        own = _of_task(outputs, targets)
        right = (own.argmax(dim=1) == targets[:, 0]) & ~own.isnan().any(dim=1)
        return right.double()[:, None]

    def join(self, batches: Sequence[Batch]) -> Batch:
        """Return one batch of several, padded to the longest row."""
        inputs = {
            name: stacked([batch.inputs[name] for batch in batches if isinstance(batch.inputs, Mapping)], value)
            for name, value in self.fill.items()
        }
        return Batch(inputs, torch.cat([batch.targets for batch in batches]))


def _of_task(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return outputs with those of other tasks at minus infinity."""
    at = torch.arange(outputs.shape[1], device=outputs.device)
    return outputs.masked_fill((at < targets[:, 1:2]) | (at >= targets[:, 2:3]), -torch.inf)
