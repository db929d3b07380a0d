"""Models that ``torch.distributed.fsdp.fully_shard`` divides among processes, and what they need of a batch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from loraml_theory.harness.errors import InputError

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

    from realdata.peft_ml.meta_model import MetaPeftModel


def shard(
    model: MetaPeftModel, batch: Mapping[str, Any], *, layers: type[nn.Module], mesh: DeviceMesh | None = None
) -> MetaPeftModel:
    """Divide a model among processes in place: each of its layers, and the rest.

    Parameters
    ----------
    model
        On the device of this process.
    batch
        Rows of several tasks, as ``model(**batch)`` takes them: whether they share a forward is tried on the whole
        model, with dropout on and off.
    layers
        Whose parameters are put together at once, such as ``BertLayer``.
    mesh
        Of the processes; all of them on the default device if not given.

    Returns
    -------
    model
        The same.

    Raises
    ------
    InputError
        If the batch lacks a task, or the model has no such layer.
    """
    from torch.distributed.fsdp import fully_shard

    if missing := sorted(set(model.tasks) - set(batch["task"])):
        raise InputError(f"batch: got no rows of {', '.join(missing)}, expected rows of every task")
    if not (found := [module for module in model.modules() if isinstance(module, layers)]):
        raise InputError(f"layers: got {layers.__name__}, expected a class of layers that the model has")
    training = model.training
    with torch.no_grad():
        for mode in (False, True):
            model.train(mode)(**batch)
    model.train(training)
    for module in (*found, model):
        fully_shard(module, mesh=mesh)
    return model


def is_sharded(model: nn.Module) -> bool:
    """Say whether ``fully_shard`` has divided a model."""
    return hasattr(model, "unshard")


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
    if not is_sharded(model):
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
    return not is_sharded(model) or torch.distributed.get_rank() == 0
