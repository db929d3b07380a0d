"""Models that ``torch.distributed.fsdp.fully_shard`` has divided among processes: what they need of a batch."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

from loraml_theory.harness.errors import InputError


def check_sharded(model: nn.Module, tasks: Collection[str], names: Collection[str], *, tried: Collection[bool]) -> None:
    """Raise InputError if a sharded model is to do what its processes would not do alike.

    The gradients of a shard are added up in the order in which a process has them, so that one which lacks a task's
    would have them added to another parameter's. Whether tasks share a forward is tried on whole parameters.

    Parameters
    ----------
    model
        Any; one that is not sharded passes.
    tasks
        Of the rows of a batch.
    names
        Of all tasks.
    tried
        The modes in which it was tried if tasks share a forward.
    """
    if not hasattr(model, "unshard"):
        return
    if model.training and torch.is_grad_enabled() and (missing := sorted(set(names) - set(tasks))):
        raise InputError(
            f"task: a sharded model got a batch without {', '.join(missing)}, expected rows of every task in each"
        )
    if len(tasks) > 1 and model.training not in tried:
        raise InputError("model: is sharded, expected a call with rows of several tasks, in the same mode, before that")


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor; one that is sharded is put together, for which all processes have to ask."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def writes(model: nn.Module) -> bool:
    """Say whether this process is the one that writes a model: of those that share a sharded one, the first."""
    return not hasattr(model, "unshard") or torch.distributed.get_rank() == 0
