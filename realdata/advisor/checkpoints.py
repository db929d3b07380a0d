"""Checkpoints on disk: one file, a folder that holds one, or shards that an index lists."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from loraml_theory.harness.errors import InputError, reason
from loraml_theory.harness.input_files import open_input, read_json
from realdata.advisor.safetensors_file import SafetensorsFile
from realdata.advisor.tensor_files import Rows, TensorFile
from realdata.advisor.torch_file import TorchFile

INDEX = ".index.json"
SINGLE = ("model.safetensors", "*.safetensors", "pytorch_model.bin")
EXPECTED = "a checkpoint: a safetensors file or a torch state dict"
MAGIC = {b"GGUF": "GGUF", b"\x89HDF": "HDF5 (Keras)", b"\x93NUM": "NumPy"}
SUFFIXES = {
    ".gguf": "GGUF",
    ".h5": "HDF5 (Keras)",
    ".keras": "Keras",
    ".msgpack": "Flax",
    ".onnx": "ONNX",
    ".npz": "NumPy",
    ".ckpt.index": "TensorFlow",
    ".distcp": "torch.distributed.checkpoint",
}
"""Unsupported formats of weights, by file name."""


class Shards:
    """Several files of tensors that an index lists.

    Parameters
    ----------
    path
        Path of the index.
    listed
        The file of each tensor.

    Raises
    ------
    InputError
        If a file is missing or damaged, or lacks a tensor that the index lists.
    """

    def __init__(self, path: Path, listed: Mapping[str, Path]) -> None:
        opened = {file: open_tensors(file) for file in dict.fromkeys(listed.values())}
        for name, file in listed.items():
            if name not in opened[file].tensors:
                raise InputError(f"{path}: the index lists {name!r} in {file.name}, which lacks it")
        self.path, self.files = path, tuple(opened)
        self._of = {name: opened[file] for name, file in listed.items()}
        self.tensors = {name: file.tensors[name] for name, file in self._of.items()}

    def read(self, name: str, rows: Rows = None) -> Tensor:
        """Return a tensor, or some rows of it."""
        return self._of[name].read(name, rows)


def is_folder(path: Path) -> bool:
    """Return whether an existing path is a folder.

    Raises
    ------
    InputError
        If the path does not exist or cannot be examined: a loop of links, a name that is too long.
    """
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except FileNotFoundError:
        raise InputError(f"{path}: does not exist, expected a file or folder") from None
    except (OSError, ValueError) as problem:
        raise InputError(f"{path}: cannot be read ({reason(problem)}), expected {EXPECTED}") from None


def is_there(path: Path) -> bool:
    """Return whether anything, even a pipe or a loop of links, has this name in a folder."""
    return os.path.lexists(path)


def open_checkpoint(path: Path) -> TensorFile:
    """Open a file of tensors, an index of shards, or a folder that holds one of them.

    Raises
    ------
    InputError
        If there is none, or it cannot be read.
    """
    if not is_folder(path):
        return _shards(path) if path.name.endswith(INDEX) else open_tensors(path)
    indices = sorted(path.glob(f"*.safetensors{INDEX}")) or sorted(path.glob(f"*.bin{INDEX}"))
    if indices:
        return _shards(indices[0])
    for pattern in SINGLE:
        found = sorted(path.glob(pattern))
        if len(found) == 1:
            return open_tensors(found[0])
    foreign = [(file.name, form) for end, form in SUFFIXES.items() for file in sorted(path.glob(f"*{end}"))]
    got = f"holds {foreign[0][0]}, a file of {foreign[0][1]}; " if foreign else ""
    raise InputError(f"{path}: {got}expected one safetensors file in it, shards with an index, or pytorch_model.bin")


def open_tensors(path: Path) -> TensorFile:
    """Open one file of tensors, whose format is found from its first bytes.

    Raises
    ------
    InputError
        If it cannot be read, or has another format.
    """
    with open_input(path, expected=EXPECTED) as file:
        start = file.read(10)
    foreign = MAGIC.get(start[:4]) or next((form for end, form in SUFFIXES.items() if path.name.endswith(end)), None)
    if foreign is not None:
        raise InputError(f"{path}: is a file of {foreign}, expected {EXPECTED}")
    safe = path.suffix == ".safetensors" or start[8:9] == b"{"  # eight bytes of length, then JSON
    return SafetensorsFile(path) if safe else TorchFile(path)


def _shards(index: Path) -> Shards:
    found = read_json(index, expected="an index of shards")
    listed = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(listed, dict) or not all(isinstance(file, str) for file in listed.values()):
        raise InputError(f"{index}: is damaged, expected a JSON object with a weight_map")
    for file in dict.fromkeys(listed.values()):
        if file != os.path.basename(file) or file in ("", ".", "..") or "\\" in file or "\0" in file:
            raise InputError(f"{index}: lists the file {file!r}, expected names of files in the same folder")
    return Shards(index.parent, {name: index.parent / file for name, file in listed.items()})
