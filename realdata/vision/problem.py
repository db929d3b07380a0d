"""Binary classification: cross-entropy and accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from realdata.peft_ml.data import Batch, Inputs


class Classification:
    """One row of logits per example, ``(examples, classes)``, against its class, int64 ``(examples,)``."""

    score_names: tuple[str, ...] = ("accuracy",)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy of each example in nats, in float32, ``(examples,)``."""
        return cross_entropy(outputs.float(), targets, reduction="none")

    def scores(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return 1 where the largest logit is the target's and 0 elsewhere, ``(examples, 1)``.

        The first of equal logits counts as the largest. An example with a logit that is not finite is wrong.
        """
        right = (outputs.argmax(dim=1) == targets) & outputs.isfinite().all(dim=1)
        return right.float()[:, None]

    def join(self, batches: Sequence[Batch]) -> Batch:
        """Return one batch of the examples of several batches, in order."""
        return Batch(
            torch.cat([_tensor(batch.inputs) for batch in batches]), torch.cat([batch.targets for batch in batches])
        )


def _tensor(inputs: Inputs) -> Tensor:
    if not isinstance(inputs, Tensor):
        raise TypeError(f"inputs: got {type(inputs).__name__}, expected a tensor of images")
    return inputs
