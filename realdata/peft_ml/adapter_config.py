"""Settings of peft made ready for several tasks: which layers get an adapter, which a copy per task."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from peft import PeftConfig

NO_MODULES = "dummy-target-modules"  # peft's own word for an adapter that consists of copied modules only


def prepared(model: nn.Module, adapter: PeftConfig | None, *, head: str | None) -> PeftConfig:
    """Return a copy of peft's settings for adapters of `model`, one per task.

    The pattern ``all-linear`` becomes the names of all linear layers, the output layer included, but not those
    of `head`, of which every task gets a copy. The type of task is dropped: with it peft would copy what it takes
    for the head.

    Raises
    ------
    TypeError
        If `model` is no module of torch, or `adapter` no settings of peft.
    ValueError
        If both `adapter` and `head` are None, the head is not there or not the only module that peft would copy
        for this name, the adapter learns prompts or biases of the base, or there are no linear layers.
    """
    from peft import LoraConfig, PeftConfig

    if not isinstance(model, nn.Module):
        raise TypeError(f"model: got {type(model).__name__}, expected a torch module")
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
    if head is not None:
        _check_head(model, head)
        config.modules_to_save = sorted({*(getattr(config, "modules_to_save", None) or ()), head})
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


def _check_head(model: nn.Module, head: str) -> None:
    names = [name for name, _ in model.named_modules() if name]
    if head not in names:
        raise ValueError(f"head: got {head!r}, expected a module of {type(model).__name__}: {_some(names)}")
    if not any(True for _ in model.get_submodule(head).parameters()):
        raise ValueError(f"head: {head!r} has no parameters, so tasks would share all of it")
    if also := [name for name in names if name != head and name.endswith(head)]:
        raise ValueError(f"head: the name {head!r} also ends that of {_some(also)}, which peft would copy as well")


def _some(names: list[str], most: int = 8) -> str:
    few = ", ".join(names[-most:])
    return few if len(names) <= most else f"…, {few}"
