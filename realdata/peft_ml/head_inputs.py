"""What a head is given for examples to evaluate, kept while everything before it is frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from realdata.peft_ml.data import Batch, Examples
from realdata.peft_ml.evaluation import Evaluation
from realdata.peft_ml.training_setup import Forward

MOST_NUMBERS = 2**26  # of one part's inputs: 256 MiB in float32


@dataclass(frozen=True, eq=False)
class HeadInputs:
    """Examples as a head sees them; see `realdata.peft_ml.data.Examples`.

    Parameters
    ----------
    inputs, targets
        Examples first.
    """

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.targets)

    def batch(self, indices: NDArray[np.int64], rng: np.random.Generator | None = None) -> Batch:  # noqa: ARG002
        """Return the inputs and targets at `indices`."""
        rows = torch.from_numpy(indices).to(self.inputs.device)
        return Batch(self.inputs[rows], self.targets[rows.to(self.targets.device)])


class FrozenBody:
    """Evaluates a model of which only the head is trained: the rest of it once, from then on the head alone.

    Where that is not the same, everything is evaluated each time: if the model has buffers, which training may change,
    if its outputs are not those of one call of the head on one tensor with as many rows, or if there are more than
    `MOST_NUMBERS` to keep.

    Parameters
    ----------
    model
        Whose head is trained.
    head
        The module in it.
    evaluation
        How examples are evaluated.
    """

    def __init__(self, model: nn.Module, head: nn.Module, evaluation: Evaluation) -> None:
        """Keep nothing yet."""
        self._head, self._evaluation = head, evaluation
        self._possible = next(model.buffers(), None) is None
        self._kept: dict[int, tuple[Examples, HeadInputs | None]] = {}  # by identity, with what it is of

    def scores(self, forward: Forward, examples: Examples) -> Tensor:
        """Return the scores of each example, as `Evaluation.scores` does, in evaluation mode."""
        if not self._possible:
            return self._evaluation.scores(forward, examples)
        if id(examples) not in self._kept:
            scores, kept = self._watched(forward, examples)
            self._kept[id(examples)] = examples, kept
            return scores
        _, kept = self._kept[id(examples)]
        return self._evaluation.scores(forward, examples) if kept is None else self._evaluation.scores(self._head, kept)

    def _watched(self, forward: Forward, examples: Examples) -> tuple[Tensor, HeadInputs | None]:
        """Return the scores, and what the head was given on the way."""
        calls: list[tuple[Any, Any]] = []
        inputs: list[Tensor] = []
        whole = True

        def watching(given: Any) -> Tensor:
            nonlocal whole
            calls.clear()
            outputs = forward(given)
            whole = whole and len(calls) == 1 and _is_all(calls[0], outputs)
            if whole:
                inputs.append(calls[0][0][0])
                whole = sum(part.numel() for part in inputs) <= MOST_NUMBERS
            return outputs

        hook = self._head.register_forward_hook(lambda _, given, output: calls.append((given, output)))
        try:
            scores = self._evaluation.scores(watching, examples)
        finally:
            hook.remove()
        if not whole or sum(map(len, inputs)) != len(examples):  # such as a row for each of an example's candidates
            return scores, None
        return scores, HeadInputs(torch.cat(inputs), examples.batch(np.arange(len(examples))).targets)


def _is_all(call: tuple[Any, Any], outputs: Tensor) -> bool:
    """Say whether a call of the head was on one tensor and made a model's outputs."""
    given, output = call
    return (
        len(given) == 1
        and isinstance(given[0], Tensor)
        and isinstance(output, Tensor)
        and len(given[0]) == len(output)
        and torch.equal(output, outputs)
    )
