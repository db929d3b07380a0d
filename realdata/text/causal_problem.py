"""Losses and scores of a causal language model on passages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from realdata.peft_ml.data import Batch
from realdata.text.examples import stacked
from realdata.text.passages import IGNORED


@dataclass(frozen=True)
class CausalProblem:
    """The prediction of each token of a passage that has a loss, from the tokens before it.

    The loss of a passage is the mean over these tokens, and its score the log-likelihood, the loss with its sign
    changed. From their mean over passages follow the loss and the perplexity exp(loss).

    Parameters
    ----------
    fill
        What each input is padded with.
    """

    fill: Mapping[str, int]
    score_names: tuple[str, ...] = ("log_likelihood",)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy of the tokens of each passage, ``(passages,)``, in nats."""
        wanted = targets[:, 1 : outputs.shape[1]]
        each = functional.cross_entropy(outputs[:, :-1].transpose(1, 2), wanted, ignore_index=IGNORED, reduction="none")
        return each.sum(dim=1) / (wanted != IGNORED).sum(dim=1)

    def scores(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean log-likelihood of the tokens of each passage, ``(passages, 1)``."""
        return -self.losses(outputs, targets)[:, None]

    def derived(self, means: Mapping[str, float]) -> dict[str, float]:
        """Return loss and perplexity.

        Examples
        --------
        >>> CausalProblem({}).derived({"log_likelihood": 0.0})
        {'loss': -0.0, 'perplexity': 1.0}
        """
        loss = -means["log_likelihood"]
        return {"loss": loss, "perplexity": float(torch.tensor(loss, dtype=torch.float64).exp())}

    def join(self, batches: Sequence[Batch]) -> Batch:
        """Return one batch of several, padded to the longest passage."""
        inputs = {
            name: stacked([batch.inputs[name] for batch in batches if isinstance(batch.inputs, Mapping)], value)
            for name, value in self.fill.items()
        }
        return Batch(inputs, stacked([batch.targets for batch in batches], IGNORED))
