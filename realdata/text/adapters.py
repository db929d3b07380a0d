"""A task's adapter as stock peft writes and reads it."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from loraml_theory.harness.errors import InputError

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import Tensor, nn

    from realdata.peft_ml.meta_model import MetaPeftModel

PREFIX = "base_model.model."
"""What peft puts before a plain model's names."""
STOCK_HEADS = ("classifier", "score")
"""Ends of the names of modules that peft copies for every adapter of the type of task SEQ_CLS."""


class Adapter(NamedTuple):
    """A task's adapter: its settings of peft and its tensors by peft's names."""

    config: PeftConfig
    state: Mapping[str, Tensor]


def of_task(meta_model: MetaPeftModel, task: str, *, head: str | None) -> Adapter:
    """Return the adapter of a task, for stock peft.

    Parameters
    ----------
    meta_model
        The base with the adapters.
    task
        One of its tasks.
    head
        The last layer where every task has its own, else None.
    """
    from realdata.peft_ml.task_adapters import adapter_name

    found = Adapter(meta_model.config_of(task), meta_model.adapter_state(task))
    if head is None:
        return found
    return _with_what_peft_copies(found, meta_model.peft.get_base_model(), head=head, own=adapter_name(task))


def of_head(base: nn.Module, *, head: str) -> Adapter:
    """Return an adapter, for stock peft, that is the last layer of a plain model alone."""
    from peft import LoraConfig

    from realdata.peft_ml.adapter_config import NO_MODULES

    state = {f"{PREFIX}{name}": value for name, value in base.state_dict().items() if name.startswith(f"{head}.")}
    config = LoraConfig(target_modules=NO_MODULES, modules_to_save=[head])
    return _with_what_peft_copies(Adapter(config, state), base, head=head, own="")


def plain_name(name: str) -> str:
    """Return the plain model's name for a tensor of an adapter."""
    return name.removeprefix(PREFIX)


def write(adapter: Adapter, folder: Path, *, base: Path | None, task_type: str) -> None:
    """Write an adapter as peft does.

    Parameters
    ----------
    adapter
        What to write.
    folder
        Where to; it is made.
    base
        Folder of the base, by whose absolute path the adapter names it; None for an adapter that names none.
    task_type
        Of peft.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    from safetensors.torch import save as encoded

    from realdata.peft_ml.manifest import WEIGHTS

    config: Any = copy.deepcopy(adapter.config)
    config.task_type, config.inference_mode = task_type, True
    config.base_model_name_or_path = None if base is None else os.path.abspath(base)
    for name, value in vars(config).items():
        if isinstance(value, set):  # its order differs from process to process
            setattr(config, name, sorted(value))
    config.save_pretrained(str(folder))
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in adapter.state.items()}
    # its own writer gives a full disk no OSError
    (folder / WEIGHTS).write_bytes(encoded(tensors, metadata={"format": "pt"}))


def read(folder: Path) -> Adapter:
    """Read what `write` has written.

    Raises
    ------
    InputError
        If a file is missing or damaged.
    """
    from peft import PeftConfig
    from safetensors.torch import load_file

    from loraml_theory.harness.input_files import check_regular, read_json
    from realdata.peft_ml.manifest import CONFIG, WEIGHTS

    read_json(folder / CONFIG, expected="the JSON of an adapter; remove its folder")
    check_regular(folder / WEIGHTS, expected="a safetensors file; remove its folder")
    try:
        return Adapter(PeftConfig.from_pretrained(str(folder)), load_file(folder / WEIGHTS))
    except Exception as error:  # of peft, safetensors or JSON
        raise InputError(f"{folder}: its adapter is damaged; remove the folder and the run's record") from error


def _with_what_peft_copies(adapter: Adapter, base: nn.Module, *, head: str, own: str) -> Adapter:
    """Add modules that stock peft takes for heads, as they are with their adapters, whose tensors go.

    peft copies every module whose name ends like the head's: beside DistilBERT's ``classifier`` its ``pre_classifier``.
    """
    state, config = dict(adapter.state), copy.deepcopy(adapter.config)
    for name in _also_copied(base, head):
        if merged := [key for key in state if key.startswith(f"{PREFIX}{name}.")]:
            state = {key: value for key, value in state.items() if key not in merged}
            _exclude(config, name)
        state |= {f"{PREFIX}{key}": value for key, value in _adapted(base.get_submodule(name), name, own)}
    return Adapter(config, state)


def _exclude(config: Any, name: str) -> None:
    """Let no adapter reach a module; stock peft ends in an error where it is to copy one that has an adapter."""
    inside = rf"{re.escape(name)}(\..*)?"
    config.exclude_modules = f"{config.exclude_modules}|{inside}" if config.exclude_modules else inside


def _also_copied(base: nn.Module, head: str) -> list[str]:
    """Return the modules beside a head that stock peft copies, by the plain model's names."""
    from realdata.peft_ml.base_model import plain_modules

    found: list[str] = []
    for name, _, _ in plain_modules(base):
        if name.endswith((head, *STOCK_HEADS)) and not f"{name}.".startswith(tuple(f"{at}." for at in (head, *found))):
            found.append(name)
    return found


def _adapted(module: nn.Module, name: str, own: str) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a module by the plain model's names, the shifts of an adapter added."""
    from peft.tuners.lora import LoraLayer

    from realdata.peft_ml.base_model import plain_modules

    layers: list[Any] = [layer for layer in module.modules() if isinstance(layer, LoraLayer)]
    shifts = {id(layer.get_base_layer()): layer.get_delta_weight(own) for layer in layers if own in layer.lora_A}
    for prefix, part, _ in plain_modules(module, name):
        for key, value in (*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)):
            shift = shifts.get(id(part)) if key == "weight" else None
            yield f"{prefix}.{key}", value if shift is None else value + shift
