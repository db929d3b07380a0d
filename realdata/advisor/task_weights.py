"""One task's weights: a checkpoint, or an adapter on a base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from loraml_theory.harness.errors import InputError
from realdata.advisor.lora_adapter import LoraAdapter
from realdata.advisor.tensor_files import LARGEST, Described, View, as_matrix


@dataclass(frozen=True, eq=False)
class TaskWeights:
    """One task's weights.

    Parameters
    ----------
    name
        The user's name for it.
    weights
        The checkpoint, or the adapter's base; None if unknown.
    adapter
        The adapter, if there is one.
    """

    name: str
    weights: View | None
    adapter: LoraAdapter | None

    def described(self) -> Mapping[str, Described]:
        """Return shapes and dtypes of all known weights, the adapter's included."""
        found = dict(self.weights.tensors) if self.weights is not None else {}
        if self.adapter is not None:
            for weight in self.adapter.adapted:
                found.setdefault(weight, self.adapter.dtype(weight))
            for weight, key in self.adapter.saved.items():
                found[weight] = self.adapter.file.tensors[key]
        return found

    def has_factors(self, weight: str) -> bool:
        """Return whether the task has an adapter's factors for a weight."""
        return self.adapter is not None and weight in self.adapter.adapted

    def has_saved(self, weight: str) -> bool:
        """Return whether the task has its own tensor instead of the base's."""
        return self.adapter is not None and weight in self.adapter.saved

    def has_plain(self, weight: str) -> bool:
        """Return whether the base of the factors is known."""
        return self.has_saved(weight) or (self.weights is not None and weight in self.weights.tensors)

    def rows(self, weight: str, rows: slice) -> np.ndarray:
        """Return rows of a weight as a matrix, adapter included.

        Raises
        ------
        InputError
            If they hold NaN or infinity.
        """
        array = as_matrix(self.plain(weight, rows))
        if self.adapter is not None and weight in self.adapter.adapted:
            U, V = self.adapter.factors(weight)
            with np.errstate(invalid="ignore", over="ignore"):  # non-finite numbers are refused below
                array = array + U[rows] @ V.T
        if not np.all(np.isfinite(array)):
            raise InputError(f"{self.name}: {weight} holds NaN or infinity, expected finite numbers")
        if array.size and np.max(np.abs(array)) > LARGEST:
            raise InputError(f"{self.name}: {weight} holds numbers beyond {LARGEST:g}")
        return array

    def plain(self, weight: str, rows: slice | None = None) -> Tensor:
        """Return rows of the checkpoint's tensor, or of the adapter's replacement."""
        if self.adapter is not None and weight in self.adapter.saved:
            return self.adapter.file.read(self.adapter.saved[weight], rows)
        if self.weights is None or weight not in self.weights.tensors:
            raise InputError(f"{self.name}: {weight} is an adapter's, and its base was not given")
        return self.weights.read(weight, rows)

    def factors(self, weight: str, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Return the adapter's factors of a weight, empty ones where it has none."""
        if self.adapter is not None and self.has_factors(weight):
            return self.adapter.factors(weight)
        return np.zeros((shape[0], 1)), np.zeros((shape[1], 1))
