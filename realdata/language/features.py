"""Features of a frozen encoder: the inputs of its head, computed once for every row."""

from __future__ import annotations

import copy
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from realdata.language.examples import TurnExamples, shown_candidates
from realdata.peft_ml.by_length import outputs_of
from realdata.peft_ml.data import Batch
from realdata.peft_ml.digests import tensor_digest
from realdata.peft_ml.evaluation import evaluating


class FeatureExamples:
    """Turns whose rows are features of a frozen encoder, to train a head alone; otherwise like the original turns.

    Parameters
    ----------
    examples
        The turns.
    features
        Inputs of the head, ``(turns, candidates, ...)``.
    """

    def __init__(self, examples: TurnExamples, features: Tensor) -> None:
        self.examples = examples
        self.features = features

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the turns' and of all features."""
        return hashlib.sha256(f"{self.examples.fingerprint} {tensor_digest(self.features)}".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.examples)

    def batch(self, indices: NDArray[np.int64], rng: np.random.Generator | None = None) -> Batch:
        """Return the features of turns' rows, with the candidates that `TurnExamples.batch` would show."""
        shown, targets = shown_candidates(self.examples, indices, rng)
        rows = self.features[torch.from_numpy(np.asarray(indices))[:, None], torch.from_numpy(shown)]
        return Batch(rows.flatten(0, 1), torch.from_numpy(targets))


def frozen_features(model: nn.Module, examples: TurnExamples, *, head: str, rows: int) -> FeatureExamples:
    """Compute the inputs of a model's head for all candidates of all turns, in batches of similar length.

    The model is in evaluation mode meanwhile, so the head is trained without the dropout before it.

    Parameters
    ----------
    model
        Called with named tensors; returns logits, or an object that has them.
    head
        Name of its last layer. Of an input ``(rows, tokens, width)`` the first token is kept.
    rows
        Rows at once.

    Raises
    ------
    ValueError
        If the model has no such module, or the module's outputs from the features differ from the model's.
    """
    device = next(model.parameters()).device
    flat = examples.row_lengths.ravel()
    order = np.argsort(-flat, kind="stable")  # longest first, so that memory runs out at the start or not at all
    found: Tensor | None = None
    with _last_input(model, head) as last_input, evaluating(model):
        for start in range(0, len(order), rows):
            some = order[start : start + rows]
            pairs = [examples.pair(*map(int, divmod(row, examples.candidates))) for row in some]
            inputs = {name: tensor.to(device) for name, tensor in examples.pairs.rows(pairs).items()}
            outputs, features = outputs_of(model, inputs), last_input()
            if found is None:
                _check_head(_named(model, head), features, outputs, name=head)
                found = torch.empty((len(flat), *features.shape[1:]), dtype=features.dtype)
            found[torch.from_numpy(some)] = features.cpu()
    assert found is not None  # there is at least one turn
    return FeatureExamples(examples, found.view(len(examples), examples.candidates, *found.shape[1:]))


def check_head(model: nn.Module, inputs: Mapping[str, Tensor], *, head: str) -> Tensor:
    """Return a model's outputs if its head makes them from the features of `frozen_features`.

    Raises
    ------
    ValueError
        If not, or if the model has no such module.
    """
    with _last_input(model, head) as last_input, evaluating(model):
        outputs = outputs_of(model, inputs)
        _check_head(_named(model, head), last_input(), outputs, name=head)
    return outputs


def head_only(model: nn.Module, *, head: str) -> nn.Module:
    """Return a copy of a model's head, under its own name, as a model of features.

    Raises
    ------
    ValueError
        If the model has no such module, or it is inside another.
    """
    if "." in head:
        raise ValueError(f"head: got {head!r}; expected a module of the model itself, not one inside another")
    return nn.Sequential(OrderedDict([(head, copy.deepcopy(_named(model, head)))]))


def _named(model: nn.Module, head: str) -> nn.Module:
    modules = dict(model.named_modules())
    if not head or head not in modules:
        raise ValueError(f"head: the model has no module {head!r}; expected the name of its last layer")
    return modules[head]


@contextmanager
def _last_input(model: nn.Module, head: str) -> Iterator[Callable[[], Tensor]]:
    """Yield a function that returns the last input of the head."""
    given: list[Tensor] = []

    def keep(_module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        given[:] = [arguments[0] if arguments[0].ndim == 2 else arguments[0][:, :1].clone()]

    handle = _named(model, head).register_forward_pre_hook(keep)
    try:
        yield lambda: given[0]
    finally:
        handle.remove()


def _check_head(head: nn.Module, features: Tensor, outputs: Tensor, *, name: str) -> None:
    """Refuse a head that needs more than these features."""
    made = head(features)
    if made.shape != outputs.shape or not torch.allclose(made, outputs, rtol=1e-4, atol=1e-5, equal_nan=True):
        raise ValueError(
            f"head: {name!r} does not reproduce the model's outputs from its kept input; it is not the last "
            "layer of an encoder, on its first token"
        )
