"""Settings of peft made ready for several tasks: which layers get an adapter, which a copy per task."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

from loraml_theory.harness.errors import InputError
from realdata.peft_ml.base_model import check_model, check_plain

if TYPE_CHECKING:
    from peft import PeftConfig

NO_MODULES = "dummy-target-modules"  # peft's own word for an adapter that consists of copied modules only


def prepared(model: nn.Module, adapter: PeftConfig | None, *, head: str | None) -> PeftConfig:
    """Return a copy of peft's settings for adapters of `model`, one per task.

    The pattern ``all-linear`` becomes the names of all linear layers, the output layer included, but not those
    of `head`, of which every task gets a copy. The type of task is dropped: with it peft would copy what it takes
    for the head. Modules to copy are given by their full names: a full name means that module alone, another text, as
    with peft, all modules whose names end so.

    Raises
    ------
    TypeError
        If `model` is not a module of torch, or `adapter` is not settings of peft.
    ValueError
        If the model has no values or has adapters already, both `adapter` and `head` are None, a module to copy is not
        there or has nothing to train, the adapter learns prompts or biases of the base, or there are no linear layers.
    """
    from peft import LoraConfig, PeftConfig

    check_model(model)
    check_plain(model)
    if adapter is None:
        if head is None:
            raise ValueError("adapter and head: both are None, so a task would have no parameters of its own")
        adapter = LoraConfig(target_modules=NO_MODULES)
    if not isinstance(adapter, PeftConfig):
        raise TypeError(f"adapter: got {type(adapter).__name__}, expected settings of peft such as LoraConfig")
    if adapter.is_prompt_learning:
        raise ValueError(f"adapter: {type(adapter).__name__} learns prompts, expected adapters of layers, such as LoRA")
    if (bias := getattr(adapter, "bias", "none")) != "none":
        raise ValueError(f"adapter: bias={bias!r} trains biases of the base, which all tasks share; expected 'none'")
    config: Any = copy.deepcopy(adapter)  # which fields there are depends on the kind of adapter
    config.task_type = None
    config.inference_mode = False
    config.base_model_name_or_path = None
    if getattr(config, "target_modules", None) == "all-linear":
        config.target_modules = all_linear(model, head=head)
    copied = _copied(model, getattr(config, "modules_to_save", None) or (), head=head)
    config.modules_to_save = None
    if copied:
        if getattr(config, "ensure_weight_tying", False):
            raise InputError("adapter: ensure_weight_tying is for one adapter, got it with modules that tasks copy")
        _leave_out(config, model, copied)
        config.modules_to_save = copied
    return config


def all_linear(model: nn.Module, *, head: str | None = None) -> str:
    """Return a pattern that matches the names of all linear layers of `model` outside `head` and nothing else.

    Left out is the output projection of torch's own attention, which reads its weight and never calls the layer.
    """
    from transformers.pytorch_utils import Conv1D

    outside = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
        and name
        and not (head is not None and f"{name}.".startswith(f"{head}."))
        and not isinstance(model.get_submodule(name.rpartition(".")[0]), nn.MultiheadAttention)
    ]
    if not outside:
        raise ValueError(
            f"target_modules: 'all-linear' matches nothing in {type(model).__name__}, which has no linear layer "
            f"{f'outside its head {head!r}' if head else 'inside'}"
        )
    return "|".join(re.escape(name) for name in outside)


def check_head(model: nn.Module, head: str) -> None:
    """Raise InputError unless a model has a module of this name, and with parameters."""
    names = [name for name, _ in model.named_modules() if name]
    if head not in names:
        raise InputError(f"head: got {head!r}, expected a module of {type(model).__name__}: {_some(names)}")
    if not any(True for _ in model.get_submodule(head).parameters()):
        raise InputError(f"head: {head!r} has no parameters, expected the last layer with some")


def _copied(model: nn.Module, ends: Iterable[str], *, head: str | None) -> list[str]:
    """Return the names of the modules that each task gets a copy of: the head, and those with names that end so."""
    names = [name for name, _ in model.named_modules() if name]
    found = set()
    for end in ends:
        if not (so := [end] if end in names else [name for name in names if name.endswith(end)]):
            raise InputError(
                f"modules_to_save: got {end!r}, expected modules of {type(model).__name__}: {_some(names)}"
            )
        found.update(so)
    if head is not None:
        check_head(model, head)
        found.add(head)
    for name in sorted(found):
        _check_copied(model.get_submodule(name), "head" if name == head else "modules_to_save", name)
        if within := next((other for other in found if name.startswith(f"{other}.")), None):
            raise InputError(f"head or modules_to_save: {name!r} is part of {within!r}, of which tasks get copies too")
    return sorted(found)


def _check_copied(module: nn.Module, field: str, name: str) -> None:
    parameters = list(module.parameters())
    if not parameters:
        raise InputError(f"{field}: {name!r} has no parameters, so tasks would share all of it")
    if not any(parameter.requires_grad for parameter in parameters):
        raise InputError(f"{field}: {name!r} has requires_grad off, so no task could train its copy")
    if isinstance(module, nn.ModuleList | nn.ModuleDict):
        raise InputError(f"{field}: {name!r} is a {type(module).__name__}, which a model never calls as a whole")


def _leave_out(config: Any, model: nn.Module, copied: Sequence[str]) -> None:
    """Let no adapter reach what is copied; peft would by itself, but for the full names."""
    from peft.tuners.tuners_utils import check_target_module_exists

    inside = "|".join(rf"{re.escape(name)}(\..*)?" for name in copied)
    names = [name for name, _ in model.named_modules() if re.fullmatch(inside, name)]
    targets = getattr(config, "target_modules", None)
    if targets == NO_MODULES or (targets and not any(check_target_module_exists(config, name) for name in names)):
        return
    if hasattr(config, "exclude_modules"):
        theirs = config.exclude_modules or ()
        if not isinstance(theirs, str):
            theirs = "|".join(rf"(.*\.)?{re.escape(name)}" for name in sorted(theirs))
        config.exclude_modules = f"{inside}|{theirs}" if theirs else inside
    elif targets:
        raise InputError(f"target_modules: got {targets!r}, which reach {_some(names)}, of which each task gets a copy")


def _some(names: list[str], most: int = 8) -> str:
    few = ", ".join(names[-most:]) or "it has none"
    return few if len(names) <= most else f"…, {few}"
