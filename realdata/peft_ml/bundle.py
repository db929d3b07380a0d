"""A base and its adapters in one folder: what it holds is hashed, and a wrong or damaged part is refused.

base.safetensors                           the plain model's state_dict, a tied tensor under each of its names
adapters/TASK/adapter_config.json          a task's adapter as stock peft writes and loads it
adapters/TASK/adapter_model.safetensors
manifest.json                              tasks, head, seed, SHA-256 of all files and of the base, versions
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from loraml_theory.harness.input_files import check_regular, read_json
from realdata.peft_ml.base_model import plain_state
from realdata.peft_ml.digests import tensors_digest
from realdata.peft_ml.manifest import (
    BASE,
    CONFIG,
    MANIFEST,
    WEIGHTS,
    BundleError,
    Manifest,
    adapter_folder,
    check_files,
    file_digest,
    made_with,
    read_manifest,
)
from realdata.peft_ml.meta_model import MetaPeftModel
from realdata.peft_ml.sharding import whole, writes
from realdata.peft_ml.whole_folder import present, replacing_folder

if TYPE_CHECKING:
    from peft import PeftConfig

__all__ = ["BundleError", "Manifest", "load", "read_manifest", "save"]


def save(
    meta_model: MetaPeftModel, folder: str | os.PathLike[str], *, provenance: Mapping[str, Any] | None = None
) -> None:
    """Write a model as a bundle, which takes the place of an older one when it is complete.

    All processes of a model that ``fully_shard`` has divided among them have to call it; the first one writes.

    Parameters
    ----------
    meta_model
        The base and the adapters.
    folder
        Where the bundle goes. What is there must be a bundle, or empty.
    provenance
        Anything that JSON holds, such as the data and the command.

    Raises
    ------
    TypeError
        If JSON does not hold the provenance, or part of the model's state is no tensor.
    ValueError
        If a task's name is too long to name a folder.
    OSError
        If the folder cannot be written, the disk is full, or something else is there. An older bundle stays.
    """
    _check_replaceable(folder)
    for task in meta_model.tasks:
        adapter_folder(task)
    given = json.loads(json.dumps(dict(provenance or {}), allow_nan=False))
    plain = meta_model.peft.get_base_model()
    base = {name: _on_cpu(tensor) for name, tensor in plain_state(plain).items()}
    adapters = {task: {n: _on_cpu(t) for n, t in meta_model.adapter_state(task).items()} for task in meta_model.tasks}
    if not writes(meta_model):
        return
    with replacing_folder(folder) as new:
        _write_tensors(new / BASE, base)
        for task, adapter in adapters.items():
            _write_adapter(meta_model.config_of(task), adapter, new / adapter_folder(task))
        manifest = Manifest(
            tasks=meta_model.tasks,
            head=meta_model.head,
            seed=meta_model.seed,
            train_base=meta_model.train_base,
            model=f"{type(plain).__module__}.{type(plain).__qualname__}",
            base_sha256=tensors_digest(base),
            files={path.as_posix(): file_digest(new / path) for path in Manifest.paths(meta_model.tasks)},
            versions=made_with(plain),
            provenance=given,
        )
        (new / MANIFEST).write_text(manifest.to_json(), "utf-8")


def load(model: nn.Module, folder: str | os.PathLike[str], *, keep_base: bool = False) -> MetaPeftModel:
    """Read a bundle.

    Parameters
    ----------
    model
        A plain model of the same architecture; it is left as it was.
    folder
        Where `save` wrote it.
    keep_base
        Whether the model has the base already: it is then compared instead of read, and another base is refused.

    Raises
    ------
    BundleError
        If a file is missing, damaged or of an unknown form, or if the base or the adapters belong to another model.
    """
    manifest, where = read_manifest(folder), present(folder)
    check_files(manifest, where)
    if keep_base:
        if tensors_digest(plain_state(model)) != manifest.base_sha256:
            raise BundleError(f"{folder}: its adapters belong to another base than the one that the model has")
        base: Mapping[str, Tensor] = {}
    else:
        base = _read_base(where, plain_state(model), folder=folder)
    try:
        loaded = MetaPeftModel(
            model,
            manifest.tasks,
            adapter=_config(where / adapter_folder(manifest.tasks[0])),
            head=manifest.head,
            seed=manifest.seed,
            train_base=manifest.train_base,
        )
    except (TypeError, ValueError) as error:
        raise BundleError(f"{folder}: its adapters do not fit the model: {error}") from error
    _fill(loaded, base, where, folder=folder)
    return loaded


def restore(meta_model: MetaPeftModel, folder: str | os.PathLike[str]) -> None:
    """Put what a bundle holds into a model with adapters, in place.

    Parameters
    ----------
    meta_model
        With the tasks, the head and the architecture of the one that was saved.
    folder
        Where `save` wrote it.

    Raises
    ------
    BundleError
        As `load` does, or if the model has other tasks or another head.
    """
    manifest, where = read_manifest(folder), present(folder)
    check_files(manifest, where)
    for name in ("tasks", "head"):
        if (theirs := getattr(manifest, name)) != (ours := getattr(meta_model, name)):
            raise BundleError(f"{folder}: its {name} is {theirs!r}, the model's is {ours!r}")
    base = _read_base(where, plain_state(meta_model.peft.get_base_model()), folder=folder)
    _fill(meta_model, base, where, folder=folder)


def _read_base(where: Path, expected: Mapping[str, Tensor], *, folder: str | os.PathLike[str]) -> Mapping[str, Tensor]:
    base = _read_tensors(where / BASE)
    _check_same(expected, base, folder=folder, part="base")
    return base


@torch.no_grad()
def _fill(
    meta_model: MetaPeftModel, base: Mapping[str, Tensor], where: Path, *, folder: str | os.PathLike[str]
) -> None:
    """Put the base's tensors into a model, and the adapters of all its tasks."""
    state = plain_state(meta_model.peft.get_base_model())
    for name, tensor in base.items():
        state[name].copy_(tensor)
    for task in meta_model.tasks:
        _read_adapter(meta_model, task, where / adapter_folder(task), folder=folder)


def _check_replaceable(folder: str | os.PathLike[str]) -> None:
    where = present(folder)
    if not where.exists() or (where.is_dir() and not any(where.iterdir())):
        return
    try:
        read_manifest(folder)
    except BundleError:
        raise FileExistsError(
            None, "is not a bundle, expected a bundle to replace, an empty folder or a new name", os.fspath(folder)
        ) from None


def _check_same(
    expected: Mapping[str, Tensor], stored: Mapping[str, Tensor], *, folder: str | os.PathLike[str], part: str
) -> None:
    """Raise unless two sets of tensors have the same names, shapes and dtypes."""
    for name in sorted({*expected, *stored}):
        theirs, ours = (_shape(tensors.get(name)) for tensors in (stored, expected))
        if theirs != ours:
            raise BundleError(f"{folder}: its {part} has {name} {theirs}, the model has it {ours}")


def _shape(tensor: Tensor | None) -> str:
    return "not at all" if tensor is None else f"as {tuple(tensor.shape)} of {str(tensor.dtype).removeprefix('torch.')}"


def _write_adapter(own: PeftConfig, adapter: Mapping[str, Tensor], folder: Path) -> None:
    folder.mkdir(parents=True)
    config = copy.deepcopy(own)
    config.inference_mode = True
    config.base_model_name_or_path = None  # the base is the bundle's, not the one that the model came with
    for name, value in vars(config).items():
        if isinstance(value, set):  # its order differs from process to process
            setattr(config, name, sorted(value))
    config.save_pretrained(str(folder))
    _write_tensors(folder / WEIGHTS, adapter)


def _read_adapter(loaded: MetaPeftModel, task: str, where: Path, *, folder: str | os.PathLike[str]) -> None:
    stored = _read_tensors(where / WEIGHTS)
    _check_same(loaded.adapter_state(task), stored, folder=folder, part=f"adapter of {task}")
    loaded.load_adapter_state(task, stored)


def _config(folder: Path) -> PeftConfig:
    from peft import PeftConfig

    read_json(folder / CONFIG, expected="the JSON of an adapter")  # peft reads it by name, at any depth
    return PeftConfig.from_pretrained(str(folder))


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    from safetensors.torch import save as encoded

    path.write_bytes(encoded(dict(tensors), metadata={"format": "pt"}))  # its own writer gives a full disk no OSError


def _read_tensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    check_regular(path, expected="a safetensors file")
    return load_file(path)


def _on_cpu(tensor: Tensor) -> Tensor:
    """Return a contiguous copy that shares memory with no other tensor, which safetensors refuses."""
    return whole(tensor.detach()).to("cpu", copy=True, memory_format=torch.contiguous_format)
