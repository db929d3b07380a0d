"""A torch state dict, loaded with ``weights_only`` after a check of its declared size and depth."""

from __future__ import annotations

import io
import mmap
import struct
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from warnings import catch_warnings
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import torch
from torch import Tensor

from loraml_theory.harness.errors import InputError, reason
from loraml_theory.harness.input_files import DEPTH, MEBIBYTE, check_regular, open_input
from realdata.advisor.pickle_depth import too_deep
from realdata.advisor.tensor_files import Described, Rows

EXPECTED = "a torch state dict"
WRAPPERS = ("state_dict", "model_state_dict", "model", "module")
"""Keys under which training scripts put the state dict."""
LARGEST_PICKLE = 64 * MEBIBYTE
"""Largest pickle of names and shapes without the numbers: a few hundred bytes per tensor."""
VIEWS = 4
"""How often views may cover a storage: a fused weight with its parts, a matrix with its transpose."""
_PARTS_OF_OLD = 5
"""Pickles before the numbers in the format before torch 1.6: magic number, protocol, system, state dict, keys."""


class TorchFile:
    """A torch state dict, mapped into memory where its format allows.

    Raises
    ------
    InputError
        If it cannot be read, holds objects other than complete tensors of numbers, or is not a state dict.
    """

    def __init__(self, path: Path) -> None:
        size = check_regular(path, expected=EXPECTED)
        self.path, self.files = path, (path,)
        self._state = _unwrapped(path, _load(path, size))
        _check_storages(path, self._state, size)
        self.tensors = {name: Described(tuple(t.shape), t.dtype) for name, t in self._state.items()}

    def read(self, name: str, rows: Rows = None) -> Tensor:
        """Return a tensor, or some rows of it."""
        tensor = self._state[name].detach()
        return tensor if rows is None else tensor[rows]


def _load(path: Path, size: int) -> Any:
    try:
        mapped = _check_archive(path, size)
        with catch_warnings(action="ignore"):  # from formats that torch itself does not write
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except InputError:
        raise
    except OSError as problem:
        raise InputError(f"{path}: cannot be read ({reason(problem)})") from None
    except UnpicklingError:
        raise InputError(
            f"{path}: is not a safetensors file and not a plain torch state dict; pickled objects are never loaded"
        ) from None
    except Exception as problem:  # a damaged pickle may raise anything
        raise InputError(
            f"{path}: is not a tensor file that can be read, or damaged ({reason(problem)[:120]})"
        ) from None


def _check_archive(path: Path, size: int) -> bool:
    """Raise unless the pickle in a file is shallow and its records fit the file; return whether it can be mapped."""
    with open_input(path, expected=EXPECTED) as file:
        if file.read(4) == b"PK\x03\x04":
            _check_zip(path, file, size)
            return True
        if not size:
            raise InputError(f"{path}: is empty, expected {EXPECTED}")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            for _ in range(_PARTS_OF_OLD):
                _check_pickle(path, content)
                if content.tell() == size:
                    break
    return False


def _check_zip(path: Path, file: io.BufferedReader, size: int) -> None:
    try:
        with ZipFile(file) as archive:
            records = archive.infolist()
            if any(each.compress_type != ZIP_STORED for each in records):
                raise InputError(f"{path}: holds compressed records, expected {EXPECTED} from torch.save")
            if sum(each.file_size for each in records) > size:
                raise InputError(f"{path}: claims to hold more than its {size} bytes, expected {EXPECTED}")
            pickled = [each for each in records if each.filename.endswith("data.pkl")]
            if len(pickled) != 1 or pickled[0].file_size > LARGEST_PICKLE:
                raise InputError(f"{path}: has no data.pkl of at most {LARGEST_PICKLE} bytes, expected {EXPECTED}")
            _check_pickle(path, io.BytesIO(archive.read(pickled[0])))
    except (BadZipFile, NotImplementedError, EOFError, OverflowError, struct.error) as problem:
        raise InputError(f"{path}: is not {EXPECTED}, or damaged ({problem})") from None


def _check_pickle(path: Path, stream: io.BytesIO | mmap.mmap) -> None:
    try:
        deep = too_deep(stream)
    except (ValueError, OverflowError):
        raise InputError(f"{path}: is not a safetensors file and not a plain torch state dict, or damaged") from None
    if deep:
        raise InputError(f"{path}: is nested too deeply, expected {EXPECTED} of at most {DEPTH} levels")


def _unwrapped(path: Path, loaded: Any) -> dict[str, Tensor]:
    """Return the state dict, which training scripts often put under a key."""
    for key in WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not loaded:
        raise InputError(f"{path}: got {type(loaded).__name__}, expected a state dict of named tensors")
    state = {}
    for name, value in loaded.items():
        if isinstance(value, Tensor) and isinstance(name, str):
            _check_tensor(path, name, value)
            state[name] = value
        elif not str(name).endswith("_extra_state"):
            raise InputError(f"{path}: {str(name)[:80]!r} is {type(value).__name__}, expected named tensors only")
    return state


def _check_tensor(path: Path, name: str, tensor: Tensor) -> None:
    """Raise unless a tensor holds a number for each of its entries."""
    what = None
    if tensor.is_nested or tensor.layout != torch.strided:
        what = "is sparse or nested, expected a dense tensor (to_dense())"
    elif tensor.is_quantized:
        what = f"is quantised ({tensor.dtype}), expected floating-point numbers (dequantize())"
    elif tensor.device.type != "cpu":
        what = f"is on the device {tensor.device}, without its numbers; expected a loaded tensor"
    elif tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        what = f"has the shape {tuple(tensor.shape)} by repeating fewer numbers, expected a separate tensor (clone())"
    if what is not None:
        raise InputError(f"{path}: {name!r} {what}")


def _check_storages(path: Path, state: Mapping[str, Tensor], size: int) -> None:
    """Raise unless all numbers fit the file, and overlapping tensors do not read a storage many times."""
    storages: dict[int, int] = {}
    views: dict[int, dict[tuple[Any, ...], int]] = {}
    for tensor in state.values():
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        view = (tensor.storage_offset(), tuple(tensor.shape), tensor.stride())
        views.setdefault(storage.data_ptr(), {})[view] = tensor.numel() * tensor.element_size()
    if sum(storages.values()) > size:
        raise InputError(f"{path}: claims to hold more than its {size} bytes, expected {EXPECTED}")
    for where, found in views.items():
        if sum(found.values()) > VIEWS * storages[where]:
            raise InputError(f"{path}: holds overlapping tensors, expected separate ones (clone())")
