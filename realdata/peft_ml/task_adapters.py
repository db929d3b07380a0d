"""A model wrapped by peft with one adapter per task, each drawn from a seed and its task's name."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from loraml_theory.harness.errors import InputError
from realdata.peft_ml.base_model import deep_copy, plain_parameters
from realdata.peft_ml.digests import tensor_digest
from realdata.peft_ml.seeding import torch_seeded

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel

_EXPECTED_WARNINGS = (
    ".*is_gradient_checkpointing",  # peft reads a property that transformers has renamed
    "fan_in_fan_out is set to",  # peft corrects it for each layer
    "Model has `tie_word_embeddings=True`",  # a concern when adapters are merged into the base; here they stay apart
)


@contextmanager
def expected_warnings_ignored() -> Iterator[None]:
    """Ignore what peft and transformers say of each other while a model gets its adapters."""
    with warnings.catch_warnings():
        for expected in _EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message=expected)
        yield


def file_name(task: str) -> str:
    """Return a task's name as one that is safe for a file and without dots, different for different tasks.

    Examples
    --------
    >>> file_name("cat-deer"), file_name("../é")
    ('cat-deer', '%2E%2E%2F%C3%A9')
    """
    return quote(task, safe="").replace(".", "%2E")


def adapter_name(task: str) -> str:
    """Return the name of a task's adapter inside peft: no part of another task's, and no module's name."""
    return f"<{file_name(task)}>"


@torch.no_grad()
def redraw(module: nn.Module, *, head: str, frozen: Collection[str]) -> None:
    """Draw all parameters of a head of this name anew from torch's global generator, but for those that are frozen.

    Raises
    ------
    InputError
        If a part of it with parameters has no ``reset_parameters``, or computes what that draws from others.
    """
    kept = [(parameter, parameter.clone()) for name, parameter in module.named_parameters() if name in frozen]
    for name, part in module.named_modules():
        if isinstance(part, parametrize.ParametrizationList):
            continue  # drawn with the module whose tensor it is
        if hasattr(part, "reset_parameters"):
            _draw(part, f"{head}.{name}" if name else head)
        elif any(True for _ in part.parameters(recurse=False)):
            raise InputError(f"head: {head} has a {type(part).__name__} without reset_parameters to draw it anew")
    for parameter, values in kept:
        parameter.copy_(values)


def _draw(part: Any, name: str) -> None:
    hooks = [type(hook).__name__ for hook in part._forward_pre_hooks.values()]
    if any(hook in ("WeightNorm", "SpectralNorm") for hook in hooks):  # they overwrite what is drawn
        raise InputError(f"head: {name} has {hooks[0]} by a hook, expected it from torch.nn.utils.parametrizations")
    with parametrize.cached():
        part.reset_parameters()
        for tensor in getattr(part, "parametrizations", ()):
            setattr(part, tensor, getattr(part, tensor))  # to the parameters that it is computed from


def with_adapters(model: nn.Module, config: PeftConfig, names: Mapping[str, str], *, seed: int) -> PeftModel:
    """Return peft's model of a copy of `model`, with one adapter per task drawn from the seed and the task's name.

    peft copies every module whose name ends like one of ``modules_to_save``, its own ``lora_dropout`` for ``out``. So
    it is not told of them, and the modules of these names are wrapped here.
    """
    from peft import get_peft_model

    wrapped: PeftModel | None = None
    adapter: Any = copy.deepcopy(config)
    copied, adapter.modules_to_save = getattr(config, "modules_to_save", None) or (), None
    for task, name in names.items():
        with torch_seeded(seed, "adapter", task), expected_warnings_ignored():
            if wrapped is None:
                wrapped = get_peft_model(deep_copy(model), copy.deepcopy(adapter), adapter_name=name)
            else:
                wrapped.add_adapter(name, copy.deepcopy(adapter))
            for module in copied:
                _add_copy(wrapped.get_base_model(), module, name)
            made: Any = wrapped.peft_config[name]
            made.modules_to_save = list(copied) or None
    assert wrapped is not None  # there is at least one task
    return wrapped


def _add_copy(model: nn.Module, name: str, adapter: str) -> None:
    """Give an adapter its copy of a module, which the model calls wherever it has it."""
    from peft.utils import other as peft_utils

    wrapper_of: Any = peft_utils.ModulesToSaveWrapper
    module: Any = model.get_submodule(name)
    if isinstance(module, wrapper_of):
        module.update(adapter)
        return
    places = [(parent, own) for parent in model.modules() for own, part in parent._modules.items() if part is module]
    wrapper = wrapper_of(module, adapter)
    for parent, own in places:
        setattr(parent, own, wrapper)


class Switch:
    """Makes one adapter the active one and leaves alone what requires gradients, which peft's own switch changes."""

    def __init__(self, wrapped: PeftModel) -> None:
        """Find the layers with adapters."""
        from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
        from peft.utils.other import AuxiliaryTrainingWrapper, ModulesToSaveWrapper

        self._wrapped: Any = wrapped
        kinds = BaseTunerLayer | AuxiliaryTrainingWrapper
        self.layers: list[Any] = [module for module in wrapped.modules() if isinstance(module, kinds)]
        known = [kind.set_adapter for kind in (BaseTuner, BaseTunerLayer, ModulesToSaveWrapper)]
        self._no_more = all(type(part).set_adapter in known for part in (wrapped.base_model, *self.layers))

    def is_on(self, name: str) -> bool:
        """Say whether the adapter of this name is the active one, for peft's model and for its layers."""
        return bool(self._wrapped.active_adapter == name and self.layers[0].active_adapters == [name])

    def __call__(self, name: str) -> None:
        """Let the layers use the adapter of this name."""
        if self._no_more:  # all that peft does there besides the flags, at a tenth of its cost
            for layer in self.layers:
                layer._active_adapter = [name]
            self._wrapped.active_adapter = self._wrapped.base_model.active_adapter = name
            return
        flags = [(parameter, parameter.requires_grad) for parameter in self._wrapped.parameters()]
        self._wrapped.set_adapter(name)
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def check_reached(wrapped: PeftModel, *, train_base: bool) -> None:
    """Raise InputError if an adapter is where torch's attention takes no notice of it, or keeps it from being trained.

    It reads the weight of its output projection past any adapter. peft's adapter of the whole of it puts the base's
    weights anew into the module in every forward, as parameters that no optimizer has seen and that need no gradient.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    attention = nn.MultiheadAttention
    for name, layer in wrapped.get_base_model().named_modules():
        if not isinstance(layer, BaseTunerLayer):
            continue
        parent = wrapped.get_base_model().get_submodule(name.rpartition(".")[0])
        if isinstance(parent, attention) and not name.endswith("base_layer.out_proj"):
            raise InputError(f"target_modules: {name} is part of torch's own attention, which never calls it")
        if train_base and isinstance(layer.get_base_layer(), attention):
            raise InputError(f"target_modules: {name} is torch's own attention, whose adapter keeps the base untrained")


def check_base_kept(model: nn.Module, wrapped: PeftModel) -> None:
    """Raise ValueError if adding the adapters changed the base, as some of LoRA's starts do (PiSSA, OLoRA)."""
    before = dict(model.named_parameters(remove_duplicate=False))
    kept = wrapped.get_base_model()
    for name, parameter in {**plain_parameters(kept, copied=False), **plain_parameters(kept, copied=True)}.items():
        if name not in before or not _same(before[name], parameter):
            raise ValueError(
                f"adapter: its start changes the base ({name}), which all tasks share; expected one that does not"
            )


def _same(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a, b) or tensor_digest(a) == tensor_digest(b)  # the hash where there are NaN
