"""What a bundle says of itself: what is in it, what it was made with, and the hashes that everything must have."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from torch import nn

from loraml_theory.harness.errors import InputError
from loraml_theory.harness.input_files import InputFileError, open_input, read_json
from loraml_theory.harness.versions import versions
from realdata.peft_ml.task_adapters import file_name
from realdata.peft_ml.whole_folder import present

SCHEMA = "loraml-theory/peft-ml-bundle/1"
BASE, CONFIG, WEIGHTS, MANIFEST = (
    "base.safetensors",
    "adapter_config.json",
    "adapter_model.safetensors",
    "manifest.json",
)
_LONGEST_NAME = 200  # in bytes; file systems end at 255
_KINDS: Mapping[str, tuple[type, ...]] = {
    "tasks": (list,),
    "head": (str, type(None)),
    "seed": (int,),
    "train_base": (bool,),
    "model": (str,),
    "base_sha256": (str,),
    "files": (dict,),
    "versions": (dict,),
    "provenance": (dict,),
}


class BundleError(InputError):
    """A bundle that is damaged, or does not fit the model; the text is one line."""


class Manifest(NamedTuple):
    """What a bundle says of itself.

    Parameters
    ----------
    tasks, head, seed, train_base
        As `MetaPeftModel` was made with.
    model
        The plain model's class.
    base_sha256
        Of the names, dtypes, shapes and bits of the base's tensors.
    files
        SHA-256 of every other file, by its path in the bundle.
    versions
        Of Python and of the libraries that wrote it.
    provenance
        What the caller gave.
    """

    tasks: tuple[str, ...]
    head: str | None
    seed: int
    train_base: bool
    model: str
    base_sha256: str
    files: Mapping[str, str]
    versions: Mapping[str, str]
    provenance: Mapping[str, Any]

    def to_json(self) -> str:
        """Return the text of the file."""
        return json.dumps({"schema": SCHEMA, **self._asdict()}, indent=1) + "\n"

    @staticmethod
    def paths(tasks: Sequence[str]) -> list[PurePosixPath]:
        """Return the paths of all files that a bundle of these tasks consists of, but for the manifest."""
        return [PurePosixPath(BASE), *(adapter_folder(task) / name for task in tasks for name in (CONFIG, WEIGHTS))]


def adapter_folder(task: str) -> PurePosixPath:
    """Return where a task's adapter is in a bundle.

    Raises
    ------
    ValueError
        If the task's name is too long to name a folder.
    """
    name = file_name(task)
    if len(name) > _LONGEST_NAME:
        raise ValueError(f"task: {task[:20]!r}… is too long to name a folder, expected {_LONGEST_NAME} bytes at most")
    return PurePosixPath("adapters", name)


def read_manifest(folder: str | os.PathLike[str]) -> Manifest:
    """Read a bundle's manifest.

    Raises
    ------
    BundleError
        If there is none, or it is damaged or of an unknown form.
    """
    path = Path(present(folder), MANIFEST)
    try:
        found = read_json(path, expected="the JSON of a bundle")
    except InputFileError as error:
        raise BundleError(str(error)) from None
    schema = found.pop("schema", None) if isinstance(found, dict) else None
    if schema != SCHEMA:
        raise BundleError(f"{folder}: {MANIFEST} has the schema {schema!r}, expected {SCHEMA!r}")
    for name, kinds in _KINDS.items():
        if name not in found or type(found[name]) not in kinds:
            got = type(found[name]).__name__ if name in found else "nothing"
            raise BundleError(f"{folder}: {MANIFEST} is damaged, {name} is {got}, expected {kinds[0].__name__}")
    return _checked(Manifest(**{name: found[name] for name in _KINDS}), folder)


def _checked(manifest: Manifest, folder: str | os.PathLike[str]) -> Manifest:
    """Return the manifest with its tasks as a tuple, if its files are those of its tasks and no others."""
    tasks = tuple(manifest.tasks)
    if not tasks or not all(isinstance(task, str) and task for task in tasks) or len(set(tasks)) != len(tasks):
        raise BundleError(f"{folder}: {MANIFEST} is damaged, tasks are {list(tasks)!r}, expected different names")
    try:
        expected = {path.as_posix() for path in Manifest.paths(tasks)}
    except ValueError as error:
        raise BundleError(f"{folder}: {MANIFEST} is damaged, {error}") from None
    if strange := sorted(expected ^ set(manifest.files)):
        state = "is not listed" if strange[0] in expected else "is listed, but belongs to no task"
        raise BundleError(f"{folder}: {MANIFEST} is damaged, {strange[0]} {state}")
    return manifest._replace(tasks=tasks)


def made_with(model: nn.Module) -> dict[str, str]:
    """Return the versions of Python and of the libraries that a model depends on."""
    used = ["torch", "peft", "safetensors"]
    if any(kind.__module__.partition(".")[0] == "transformers" for kind in type(model).__mro__):
        used.append("transformers")
    return versions(*used)


def check_files(manifest: Manifest, where: Path) -> None:
    """Raise BundleError unless every file in a bundle has the hash that the manifest says."""
    for path, digest in manifest.files.items():
        try:
            found = file_digest(where / path)
        except InputFileError as error:
            raise BundleError(str(error)) from None
        if found != digest:
            raise BundleError(f"{where}: {path} is damaged, its SHA-256 is not that of the manifest")


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file of a bundle.

    Raises
    ------
    InputFileError
        If it is not a regular file, or cannot be read.
    """
    with open_input(path, expected="a file of a bundle") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
