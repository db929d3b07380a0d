"""What methods add to the loss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from realdata.continual.factors import Pairs
from realdata.continual.settings import FactorName


def overlap(earlier: Pairs, new: Pairs, *, factor: FactorName) -> Tensor:
    r"""Return O-LoRA's penalty ``Σ_layers Σ_ij |A_earlier A_newᵀ|_ij``, or with lora_B ``Σ |B_earlierᵀ B_new|``.

    It is not a function of the update: ``(c A, B / c)`` has the same product and c times the penalty of the first kind.

    Parameters
    ----------
    earlier, new
        Factors by layer; earlier ones may stand side by side.
    factor
        ``down``: lora_A, as released; ``up``: lora_B.
    """
    sums = [
        (earlier[name].A @ pair.A.T if factor == "down" else earlier[name].B.T @ pair.B).abs().sum()
        for name, pair in new.items()
    ]
    return torch.stack(sums).sum()


def frobenius_norms(new: Pairs) -> Tensor:
    """Return the sum of the Frobenius norms of all factors."""
    return torch.stack([torch.linalg.vector_norm(factor) for pair in new.values() for factor in pair]).sum()


def powers(parameters: Iterable[Tensor], exponent: float, *, around: float = 0.0) -> Tensor:
    """Return ``Σ |x − around|^exponent`` over all entries, ``‖·‖_p^p`` of eq. 12."""
    return torch.stack([((each - around).abs() ** exponent).sum() for each in parameters]).sum()


def anchored(now: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> Tensor:
    """Return ``½ Σ F (x − x_kept)²``, the penalty of elastic weight consolidation.

    Parameters
    ----------
    now
        Parameters by name.
    kept
        For each name its value after the last task, under ``value.``, and the sum of the tasks' diagonal Fisher
        information, under ``fisher.``.
    """
    sums = [(kept[f"fisher.{name}"] * (x - kept[f"value.{name}"]) ** 2).sum() for name, x in now.items()]
    return torch.stack(sums).sum() / 2
