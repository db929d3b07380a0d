"""The plain model inside a model with adapters: its modules, its parameters, and a copy without adapters."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.jit import ScriptModule
from torch.nn.parameter import UninitializedParameter

from loraml_theory.harness.errors import InputError


def check_model(model: object) -> None:
    """Raise unless a model is a module whose parameters have values, and which can be copied and changed.

    Raises
    ------
    TypeError
        If it is not a module of torch.
    InputError
        If it is TorchScript, or a parameter is on the meta device or not yet initialised.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: got {type(model).__name__}, expected a torch module")
    if isinstance(model, ScriptModule):
        raise InputError("model: got TorchScript, expected the module that it was made from")
    for name, parameter in model.named_parameters():
        if isinstance(parameter, UninitializedParameter) or parameter.is_meta:
            raise InputError(f"model: its parameter {name} has no values, expected a model that is loaded or drawn")


def check_plain(model: nn.Module) -> None:
    """Raise InputError if a model has adapters of peft already."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in model.named_modules():
        if isinstance(module, BaseTunerLayer):
            raise InputError(
                f"model: has an adapter of peft at {name}, expected a model without; merge it or remove it"
            )


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the module of the plain model that peft wrapped, or the module itself."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    while isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper):
        module = module.get_base_layer() if isinstance(module, BaseTunerLayer) else module.original_module
    return module


class PlainModule(NamedTuple):
    """A module of the plain model, its name before peft wrapped it, and whether tasks have copies of it instead."""

    name: str
    module: nn.Module
    copied: bool


def plain_modules(module: nn.Module, name: str = "", *, copied: bool = False) -> Iterator[PlainModule]:
    """Yield every module of the plain model."""
    from peft.utils.other import ModulesToSaveWrapper

    copied = copied or isinstance(module, ModulesToSaveWrapper)
    module = unwrapped(module)
    yield PlainModule(name, module, copied)
    for child_name, child in module._modules.items():  # under each of its names, if it has several
        if child is not None:
            yield from plain_modules(child, f"{name}.{child_name}" if name else child_name, copied=copied)


def plain_parameters(model: nn.Module, *, copied: bool) -> dict[str, nn.Parameter]:
    """Return the parameters of the plain model that tasks have copies of, or those that they share; tied ones once."""
    named, seen = {}, set[int]()
    for prefix, module, is_copied in plain_modules(model):
        for name, parameter in module._parameters.items():
            if is_copied == copied and parameter is not None and id(parameter) not in seen:
                seen.add(id(parameter))
                named[f"{prefix}.{name}" if prefix else name] = parameter
    return named


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the plain model's state under the names of its ``state_dict``, the tensors themselves and not copies.

    Raises
    ------
    TypeError
        If part of the state is no tensor.
    """
    state: dict[str, Any] = {}
    for prefix, module, _ in plain_modules(model):
        module._save_to_state_dict(state, f"{prefix}." if prefix else "", True)  # one module's part of state_dict
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"model: its state has {name} of {type(value).__name__}, expected tensors only")
    return state


def deep_copy(model: nn.Module, *, shared: Sequence[object] = ()) -> nn.Module:
    """Return a deep copy of a model, without the gradients and graphs of the one that is copied.

    torch itself refuses to copy a tensor that a module has computed and kept, as ``torch.nn.utils.weight_norm`` does.

    Parameters
    ----------
    model
        What is copied.
    shared
        Objects that the copy refers to as the model does.

    Raises
    ------
    InputError
        If it still cannot be copied.
    """
    kept = [value for module in model.modules() for value in vars(module).values() if isinstance(value, Tensor)]
    memo: dict[int, Any] = {id(tensor): tensor.detach().clone() for tensor in kept if not tensor.is_leaf}
    memo |= {id(each): each for each in shared}
    try:
        copied = copy.deepcopy(model, memo)
    except Exception as error:  # whatever a part of the model raises in its own copying
        raise InputError(f"model: {type(model).__name__} cannot be copied: {error}") from error
    for parameter in copied.parameters():
        parameter.grad = None
    return copied


def frozen_names(model: nn.Module) -> frozenset[str]:
    """Return the names of a plain model's parameters that require no gradient; tied ones under each of their names."""
    named = model.named_parameters(remove_duplicate=False)
    return frozenset(name for name, parameter in named if not parameter.requires_grad)


def without_adapters(model: nn.Module, *, frozen: Collection[str], hooked: object = None) -> nn.Module:
    """Return a deep copy of the plain model with no trace of peft.

    Parameters
    ----------
    model
        A model that peft's tuner has changed in place (``tuner.model``).
    frozen
        Names of the plain model's parameters that require no gradient; all others do.
    hooked
        What the adapters' layers call before each forward. It leads back to the model, and a part made by
        ``torch.compile`` cannot be copied where it is reached within its own copy.
    """
    model = unwrapped(deep_copy(model, shared=[hooked]))
    for module in list(model.modules()):
        for name, child in list(module._modules.items()):
            if child is not None and (plain := unwrapped(child)) is not child:
                setattr(module, name, plain)
    if hasattr(model, "peft_config"):  # peft leaves its settings there and takes them for a second wrapping
        del model.peft_config
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)
    return model
