"""Rows of similar length through a model together, so that little of what it computes is padding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from realdata.peft_ml.data import Inputs
from realdata.peft_ml.meta_model import MetaPeftModel, logits
from realdata.peft_ml.rows import row_count

Part = Callable[[Inputs, Tensor], Tensor]


def outputs_of(model: nn.Module, inputs: Inputs, *, rows_at_once: int | None = None) -> Tensor:
    """Return a model's outputs: the tensor, or the logits of what transformers' models return.

    Parameters
    ----------
    model
        Called with a tensor or with named ones.
    inputs
        Rows first.
    rows_at_once
        See `by_length`.
    """

    def of_part(part: Inputs, _rows: Tensor) -> Tensor:
        return logits(model(part) if isinstance(part, Tensor) else model(**part))

    return by_length(of_part, inputs, rows_at_once=rows_at_once)


def adapted_outputs(
    model: MetaPeftModel, inputs: Inputs, *, task: str | Sequence[str], rows_at_once: int | None = None
) -> Tensor:
    """Return the outputs of a model with adapters, for one task or for one per row.

    Parameters
    ----------
    model, inputs, task
        See `MetaPeftModel.forward`.
    rows_at_once
        See `by_length`.
    """

    def of_part(part: Inputs, rows: Tensor) -> Tensor:
        return model(part, task if isinstance(task, str) else [task[row] for row in rows.tolist()])

    return by_length(of_part, inputs, rows_at_once=rows_at_once)


def by_length(forward: Part, inputs: Inputs, *, rows_at_once: int | None) -> Tensor:
    """Return outputs of rows of any lengths, computed for a few rows of similar length at a time.

    The outputs and their gradients are those of one pass over all rows, in the given order, for a model whose rows do
    not depend on each other; dropout aside, which draws in another order. So batches need not be changed for little of
    them to be padding.

    Parameters
    ----------
    forward
        Called with inputs cut to their longest row, and which rows they are; returns their outputs, rows first.
    inputs
        Rows filled up on the right, with an ``attention_mask`` that says how long they are; without one they are taken
        to be of one length.
    rows_at_once
        How many at a time; all, and in the given order, if None.

    Raises
    ------
    ValueError
        If `rows_at_once` is below 1.
    """
    if rows_at_once is None:
        return forward(inputs, torch.arange(row_count(inputs)))
    if rows_at_once < 1:
        raise ValueError(f"rows_at_once: got {rows_at_once}, expected at least 1")
    mask = inputs.get("attention_mask") if isinstance(inputs, Mapping) else None
    if mask is None:
        parts = torch.split(torch.arange(row_count(inputs)), rows_at_once)
        return torch.cat([forward(_cut(inputs, part, None), part) for part in parts])
    lengths = mask.sum(dim=1).cpu()
    order = torch.argsort(lengths, descending=True, stable=True)
    outputs = [forward(_cut(inputs, part, int(lengths[part[0]])), part) for part in torch.split(order, rows_at_once)]
    joined = torch.cat(outputs)
    return joined[torch.argsort(order).to(joined.device)]


def _cut(inputs: Inputs, rows: Tensor, width: int | None) -> Inputs:
    """Return some rows, and of named tensors the first `width` tokens."""
    if isinstance(inputs, Tensor):
        return inputs[rows.to(inputs.device)]
    return {
        name: tensor[rows.to(tensor.device), slice(None) if width is None else slice(width)]
        for name, tensor in inputs.items()
    }
