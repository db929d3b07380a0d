"""Rows of similar length together, so that little is padding: orders of examples, and passes over parts of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

POOL = 16
"""Batches that are drawn at random together and sorted by length among themselves."""


def evaluation_order(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the examples by length, longest first, equal lengths in their order.

    Longest first, so that memory runs out at once or not at all. Results computed in this order are put back with
    ``results[order] = computed``.
    """
    return np.argsort(-np.asarray(lengths), kind="stable").astype(np.int64)


def training_order(
    rng: np.random.Generator, lengths: NDArray[np.int64], *, batch_size: int, pool: int = POOL
) -> NDArray[np.int64]:
    """Return a random order of all examples in which consecutive batches have examples of similar length.

    The examples are shuffled and cut into pools of `pool` batches; each pool is sorted by length and cut into batches;
    then the full batches are shuffled. What is left over comes last. With ``pool=1`` batches are as without buckets.

    Raises
    ------
    ValueError
        If `batch_size` or `pool` is below 1.
    """
    return training_orders(rng, [lengths], batch_size=batch_size, pool=pool)[0]


def training_orders(
    rng: np.random.Generator, lengths: Sequence[NDArray[np.int64]], *, batch_size: int, pool: int = POOL
) -> tuple[NDArray[np.int64], ...]:
    """Return one order for each of several sets, as `training_order` does, for steps that take a batch of each.

    The batches are shuffled in the same way in all sets, so that the i-th batches have the same place among the
    lengths of their pools, and batches of similar length are joined.
    """
    if batch_size < 1 or pool < 1:
        raise ValueError(f"batch_size, pool: got {batch_size}, {pool}; expected at least 1")
    most = max((len(one) // batch_size for one in lengths), default=0)
    shuffled = rng.permutation(most)  # of batches; a set with fewer leaves out those that it has not
    orders = []
    for own in lengths:
        examples = _sorted_pools(rng, np.asarray(own), size=batch_size * pool)
        full = len(own) // batch_size
        batches = examples[: full * batch_size].reshape(full, batch_size)
        orders.append(np.concatenate([batches[shuffled[shuffled < full]].ravel(), examples[full * batch_size :]]))
    return tuple(orders)


def _sorted_pools(rng: np.random.Generator, lengths: NDArray[np.int64], *, size: int) -> NDArray[np.int64]:
    """Return a random order of all examples that is sorted by length within each `size` of them."""
    order = rng.permutation(len(lengths)).astype(np.int64)
    for start in range(0, len(order), size):
        pool = order[start : start + size]
        order[start : start + size] = pool[np.argsort(lengths[pool], kind="stable")]
    return order


def forward_by_length(
    forward: Callable[[Mapping[str, Tensor], Tensor], Tensor], inputs: Mapping[str, Tensor], *, rows: int
) -> Tensor:
    """Return a model's outputs for rows of any lengths, computed for a few rows of similar length at a time.

    The outputs and their gradients are those of one pass over all rows, in the given order; dropout aside, which draws
    in another order. So the batches of a method need not be changed for little of them to be padding.

    Parameters
    ----------
    forward
        Called with inputs cut to their longest row, and which rows they are; returns their outputs, rows first.
    inputs
        Named tensors ``(rows, tokens)`` filled up on the right; ``attention_mask`` says how long the rows are.
    rows
        How many at a time.

    Raises
    ------
    ValueError
        If `rows` is below 1 or there is no ``attention_mask``.
    """
    if rows < 1 or "attention_mask" not in inputs:
        raise ValueError(f"rows: got {rows} of inputs {sorted(inputs)}; expected at least 1, and an attention_mask")
    lengths = inputs["attention_mask"].sum(dim=1)
    order = torch.argsort(lengths, descending=True, stable=True)
    outputs = []
    for part in torch.split(order, rows):
        width = int(lengths[part[0]])
        outputs.append(forward({name: tensor[part, :width] for name, tensor in inputs.items()}, part))
    return torch.cat(outputs)[torch.argsort(order)]
