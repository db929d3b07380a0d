"""Files of named tensors, read a tensor or some of its rows at a time; pickled objects are never loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple, Protocol
from warnings import catch_warnings

import numpy as np
import torch
from torch import Tensor

from realdata.advisor.errors import AdviceError

INDEX = ".index.json"
LARGEST = 1e15
"""What no weight is beyond: squared and summed it stays within float32."""
WRAPPERS = ("state_dict", "model_state_dict", "model")


class Described(NamedTuple):
    """A tensor's shape and dtype, without its numbers."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def floating(self) -> bool:
        """Whether it holds real floating-point numbers."""
        return self.dtype.is_floating_point

    @property
    def matrix(self) -> tuple[int, int]:
        """Rows, and everything else as columns."""
        return self.shape[0], prod(self.shape[1:])


class TensorFile(Protocol):
    """Named tensors, read when asked for."""

    @property
    def path(self) -> Path:
        """Where they are."""
        ...

    @property
    def files(self) -> tuple[Path, ...]:
        """The files themselves."""
        ...

    @property
    def tensors(self) -> Mapping[str, Described]:
        """What there is, in the file's order."""
        ...

    def read(self, name: str, rows: slice | None = None) -> Tensor:
        """Return a tensor, or some rows of it."""
        ...


class SafetensorsFile:
    """A safetensors file, or several that an index lists.

    Parameters
    ----------
    path
        The file, or the folder of the shards.
    files
        Where each tensor is; of one file if not given.

    Raises
    ------
    AdviceError
        If a file is missing or damaged.
    """

    def __init__(self, path: Path, files: Mapping[str, Path] | None = None) -> None:
        """Read the headers."""
        self.path = path
        self._files: dict[str, Path] = {}
        self.tensors: dict[str, Described] = {}
        self.files = (path,) if files is None else tuple(dict.fromkeys(files.values()))
        for file in self.files:
            for name, found in _headers(file).items():
                if files is None or files.get(name) == file:
                    self._files[name], self.tensors[name] = file, found
        for name in files or ():
            if name not in self.tensors:
                raise AdviceError(f"{path}: the index lists {name!r} in {files and files[name].name}, which lacks it")

    def read(self, name: str, rows: slice | None = None) -> Tensor:
        """Return a tensor, or some rows of it; the file is open as long as that takes."""
        from safetensors import safe_open

        with safe_open(self._files[name], framework="pt") as file:
            tensor: Tensor = file.get_tensor(name) if rows is None else file.get_slice(name)[rows]
            return tensor


def _headers(path: Path) -> dict[str, Described]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            found = {}
            for name in file.keys():  # noqa: SIM118 - no mapping
                tensor = file.get_slice(name)
                dtype = str(tensor.get_dtype())
                if dtype not in DTYPES:
                    raise AdviceError(f"{path}: {name!r} is of the dtype {dtype}, expected one of {', '.join(DTYPES)}")
                found[name] = Described(tuple(tensor.get_shape()), DTYPES[dtype])
            return found
    except OSError as problem:
        raise AdviceError(f"{path}: cannot be read ({problem.strerror or problem})") from None
    except SafetensorError as problem:
        raise AdviceError(f"{path}: is no safetensors file, or damaged ({problem})") from None


DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""How safetensors files call them."""


class TorchFile:
    """A torch state dict, loaded with ``weights_only``, mapped into memory where its format allows.

    Raises
    ------
    AdviceError
        If it cannot be read, holds objects other than tensors, or no state dict.
    """

    def __init__(self, path: Path) -> None:
        """Load the state dict."""
        self.path, self.files = path, (path,)
        self._state = _unwrapped(path, _load(path))
        self.tensors = {name: Described(tuple(t.shape), t.dtype) for name, t in self._state.items()}

    def read(self, name: str, rows: slice | None = None) -> Tensor:
        """Return a tensor, or some rows of it."""
        tensor = self._state[name].detach()
        return tensor if rows is None else tensor[rows]


def _load(path: Path) -> Any:
    try:
        with catch_warnings(action="ignore"):  # of formats that torch itself would not have written
            try:
                return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except (RuntimeError, ValueError):  # the format before torch 1.6 cannot be mapped
                return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as problem:
        raise AdviceError(f"{path}: cannot be read ({problem.strerror or problem})") from None
    except UnpicklingError:
        raise AdviceError(
            f"{path}: is no safetensors file and no plain torch state dict; pickled objects are never loaded"
        ) from None
    except Exception as problem:  # a damaged pickle raises anything
        first = str(problem).strip().splitlines() or [type(problem).__name__]
        raise AdviceError(f"{path}: is no tensor file that can be read, or damaged ({first[0][:120]})") from None


def _unwrapped(path: Path, loaded: Any) -> dict[str, Tensor]:
    """Return the state dict, which training scripts like to put under a key of its own."""
    for key in WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not loaded:
        raise AdviceError(f"{path}: got {type(loaded).__name__}, expected a state dict of named tensors")
    state = {}
    for name, value in loaded.items():
        if isinstance(value, Tensor) and isinstance(name, str):
            state[name] = value
        elif not str(name).endswith("_extra_state"):
            raise AdviceError(f"{path}: {name!r} is {type(value).__name__}, expected named tensors only")
    return state


def open_checkpoint(path: Path) -> TensorFile:
    """Open a file of tensors, or a folder that holds one or its shards.

    Raises
    ------
    AdviceError
        If there is none, or it cannot be read.
    """
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(10)
        safe = path.suffix == ".safetensors" or start[8:9] == b"{"  # eight bytes of length, then JSON
        return SafetensorsFile(path) if safe else TorchFile(path)
    if not path.is_dir():
        raise AdviceError(f"{path}: there is no such file or folder")
    indices = sorted(path.glob(f"*.safetensors{INDEX}"))
    if indices:
        return SafetensorsFile(path, _shards(indices[0]))
    for pattern in ("model.safetensors", "*.safetensors", "pytorch_model.bin"):
        found = sorted(path.glob(pattern))
        if len(found) == 1:
            return open_checkpoint(found[0])
    raise AdviceError(f"{path}: expected one safetensors file in it, shards with an index, or pytorch_model.bin")


def _shards(index: Path) -> dict[str, Path]:
    try:
        listed = json.loads(index.read_text("utf-8"))["weight_map"]
        return {name: index.parent / Path(file).name for name, file in listed.items()}
    except OSError as problem:
        raise AdviceError(f"{index}: cannot be read ({problem.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise AdviceError(f"{index}: is damaged, expected a JSON object with a weight_map") from None


def as_matrix(tensor: Tensor) -> np.ndarray:
    """Return a tensor's numbers as a matrix of its rows, in float64 if that is what they are, else float32."""
    wide = tensor.to(torch.float64 if tensor.dtype == torch.float64 else torch.float32)
    array: np.ndarray = wide.reshape(wide.shape[0], prod(wide.shape[1:])).numpy()
    return array
