"""What a retraining leads to as stock transformers and peft read it.

::

    METHOD/seed-S/base             the base with its tokenizer and a card, without a head where every task has its own
    METHOD/seed-S/adapters/NAME    the adapter and the head of a task to retrain on, where the method has them
    base, adapters                 links to those of the first method and seed
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from loraml_theory.harness.folders import FolderError
from realdata.experiments.folder import opened
from realdata.experiments.grid import RetrainingKey
from realdata.text.card import card

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import Tensor, nn

    from realdata.experiments.retrained import Stored
    from realdata.text.experiment import TextExperiment

HEADS_ALONE = ("standard",)
"""Methods whose tasks share everything but their rows of the head; reptile and fomaml have not settled on a task's."""


class Adapter(NamedTuple):
    """A task's adapter: its settings of peft and its tensors by peft's names."""

    config: PeftConfig
    state: Mapping[str, Tensor]


def export(out: Path, experiment: TextExperiment, keys: Sequence[RetrainingKey], *, results: str, command: str) -> Path:
    """Write base and adapters of every retraining, and return where the base of the first is.

    Parameters
    ----------
    out
        Folder of the experiment, in which all these retrainings are complete.
    experiment
        Whose they are.
    keys
        The retrainings, the first one first.
    results
        Tables for the cards.
    command
        For the cards.

    Raises
    ------
    InputError
        If a retraining is damaged, or something else is in the place of a link.
    OSError
        If something cannot be written.
    """
    from realdata.experiments.retrained import load
    from realdata.peft_ml.whole_folder import replacing_folder

    with opened(out) as folder:
        for key in keys:
            stored = load(folder.retraining / key.id, key, experiment.retraining(key).model)
            adapters = task_adapters(experiment, key, stored)
            place = out / place_of(key)
            with replacing_folder(place) as new:
                _write_base(experiment, key, stored.base, new / "base")
                for name, adapter in adapters.items():
                    _write_adapter(adapter, new / "adapters" / _file_name(name), base=place / "base")
                text = card(experiment, key, adapters=list(adapters), place=place, results=results, command=command)
                (new / "base" / "README.md").write_text(text, "utf-8")
        first = place_of(keys[0])
        for name in ("base", "adapters"):
            _link(out / name, first / name, there=(out / first / name).exists())
    return out / "base"


def place_of(key: RetrainingKey) -> Path:
    """Return where a retraining is in the folder of its experiment."""
    return Path(key.method, f"seed-{key.seed}")


def task_adapters(experiment: TextExperiment, key: RetrainingKey, stored: Stored) -> dict[str, Adapter]:
    """Return the adapter of each task to retrain on, with the task's own rows of the head."""
    from peft import LoraConfig

    from realdata.peft_ml.adapter_config import NO_MODULES

    found = {}
    for task in experiment.retraining_tasks:
        if stored.meta_model is not None and task.name in stored.meta_model.tasks:  # not adapters of groups
            adapter = Adapter(stored.meta_model.config_of(task.name), stored.meta_model.adapter_state(task.name))
        elif experiment.head_per_task and key.method in HEADS_ALONE:
            named = {f"base_model.model.{name}": value for name, value in stored.base.state_dict().items()}
            heads = {name: value for name, value in named.items() if experiment.in_head(_plain(name))}
            adapter = Adapter(LoraConfig(target_modules=NO_MODULES, modules_to_save=[experiment.head]), heads)
        else:
            continue
        found[task.name] = _of_task(experiment, task.name, adapter)
    return found


def _of_task(experiment: TextExperiment, name: str, adapter: Adapter) -> Adapter:
    """Return an adapter whose head has the rows of one task alone."""
    state = {key: experiment.own_rows(_plain(key), value, name) for key, value in adapter.state.items()}
    config: Any = copy.deepcopy(adapter.config)
    config.task_type, config.inference_mode = experiment.task_type, True
    return Adapter(config, state)


def _write_base(experiment: TextExperiment, key: RetrainingKey, base: nn.Module, folder: Path) -> None:
    """Write a base as transformers does, without a head where every task has its own."""
    from realdata.language.encoders import quiet

    model: Any = experiment.for_task(base, key.seed, None)
    body = {name: tensor for name, tensor in model.state_dict().items() if not experiment.in_head(name)}
    with quiet():
        model.save_pretrained(folder, state_dict=body)
    experiment.tokenizer.save_pretrained(folder)


def _write_adapter(adapter: Adapter, folder: Path, *, base: Path) -> None:
    """Write an adapter as peft does."""
    from safetensors.torch import save_file

    from realdata.peft_ml.manifest import WEIGHTS

    config: Any = adapter.config
    config.base_model_name_or_path = os.path.abspath(base)
    for name, value in vars(config).items():
        if isinstance(value, set):  # its order differs from process to process
            setattr(config, name, sorted(value))
    config.save_pretrained(str(folder))
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in adapter.state.items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def _link(path: Path, target: Path, *, there: bool) -> None:
    """Let a link of the folder lead to a part of it, in the place of an older link."""
    if path.exists() and not path.is_symlink():
        raise FolderError(f"{path}: is not a link of this command, use another folder")
    path.unlink(missing_ok=True)
    if there:
        path.symlink_to(target, target_is_directory=True)


def _plain(name: str) -> str:
    """Return the plain model's name for a tensor of an adapter."""
    return name.removeprefix("base_model.model.")


def _file_name(task: str) -> str:
    from realdata.peft_ml.task_adapters import file_name

    return file_name(task)
