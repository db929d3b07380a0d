"""Rows of tokens as examples, of any lengths, and batches of them padded on the right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from realdata.peft_ml.data import Batch

Row = Mapping[str, Sequence[int]]
"""The named token sequences of one example, all of one length."""


class TokenExamples:
    """Texts that are tokenised once, padded for each batch to its longest.

    Parameters
    ----------
    rows
        The model's inputs.
    targets
        ``(examples, ...)``.
    fill
        What each input is padded with.
    """

    def __init__(self, rows: Sequence[Row], targets: Tensor, *, fill: Mapping[str, int]) -> None:
        self._rows = rows
        self._targets = targets
        self._fill = fill

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def lengths(self) -> list[int]:
        """Tokens of every row."""
        return [len(next(iter(row.values()))) for row in self._rows]

    @property
    def longest(self) -> int:
        """Tokens of the longest row."""
        return max(self.lengths)

    def batch(self, indices: NDArray[np.int64], rng: np.random.Generator | None = None) -> Batch:  # noqa: ARG002
        """Return examples; nothing is augmented."""
        chosen = [self._rows[index] for index in indices]
        inputs = {name: padded([row[name] for row in chosen], value) for name, value in self._fill.items()}
        return Batch(inputs, self._targets[torch.from_numpy(np.asarray(indices))])


def padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """Return rows of any lengths as one tensor, padded on the right.

    Examples
    --------
    >>> padded([[1, 2, 3], [4]], 0).tolist()
    [[1, 2, 3], [4, 0, 0]]
    """
    width = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])


def stacked(parts: Sequence[Tensor], value: int) -> Tensor:
    """Return tensors of rows as one, padded on the right to the widest.

    Examples
    --------
    >>> stacked([torch.tensor([[1, 2]]), torch.tensor([[3]])], 0).tolist()
    [[1, 2], [3, 0]]
    """
    width = max(part.shape[1] for part in parts)
    return torch.cat([functional.pad(part, (0, width - part.shape[1]), value=value) for part in parts])
