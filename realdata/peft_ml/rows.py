"""Rows of a batch and the tasks they belong to: counted, chosen, and put back in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from realdata.peft_ml.data import Inputs


def row_count(inputs: Inputs) -> int:
    """Return the number of rows, the length of the first axis of every tensor.

    Raises
    ------
    TypeError
        If the inputs are neither a tensor nor named tensors.
    ValueError
        If there are no tensors or no rows, or the tensors differ in the number of rows.
    """
    named = inputs if isinstance(inputs, Mapping) else {"inputs": inputs}
    if not named:
        raise ValueError("inputs: got no tensors, expected at least one")
    for name, tensor in named.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"inputs: {name} is {type(tensor).__name__}, expected a tensor or a mapping of tensors")
        if tensor.ndim == 0:
            raise ValueError(f"inputs: {name} has no axis, expected rows along the first")
    counts = {name: len(tensor) for name, tensor in named.items()}
    if len(set(counts.values())) != 1:
        raise ValueError(f"inputs: got rows {counts}, expected tensors with the same number of rows")
    if (count := next(iter(counts.values()))) == 0:
        raise ValueError("inputs: got no rows, expected at least one")
    return count


def chosen_rows(inputs: Inputs, rows: Tensor) -> Inputs:
    """Return the rows at these indices of every tensor."""
    if isinstance(inputs, Mapping):
        return {name: tensor[rows.to(tensor.device)] for name, tensor in inputs.items()}
    return inputs[rows.to(inputs.device)]


def rows_by_task(task_of_row: Sequence[str]) -> dict[str, Tensor]:
    """Return the indices of each task's rows, tasks in the order in which they come first."""
    rows: dict[str, list[int]] = {}
    for row, task in enumerate(task_of_row):
        rows.setdefault(task, []).append(row)
    return {task: torch.tensor(indices) for task, indices in rows.items()}


def is_in_order(places: Tensor) -> bool:
    """Say whether the indices are 0, 1, 2 and so on."""
    return torch.equal(places, torch.arange(len(places)))


def in_order(outputs: Sequence[Tensor], rows: Sequence[Tensor]) -> Tensor:
    """Join outputs of chosen rows so that each row is where it was before it was chosen.

    Raises
    ------
    ValueError
        If an output does not have its rows along the first axis.
    """
    for output, indices in zip(outputs, rows, strict=True):
        if output.ndim == 0 or len(output) != len(indices):
            raise ValueError(f"model: got outputs of shape {tuple(output.shape)}, expected {len(indices)} rows first")
    joined, places = torch.cat(list(outputs)), torch.cat(list(rows))
    return joined if is_in_order(places) else joined[torch.argsort(places).to(joined.device)]
