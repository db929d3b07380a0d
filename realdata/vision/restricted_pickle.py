"""Read pickles of lists, dicts and byte arrays, and nothing else: no code of the file's choice is run."""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loraml_theory.harness.errors import reason

PROTOCOL = 4
"""The published files have 2; 5 brings byte arrays, for which Python allocates what a damaged length asks for."""
DTYPE_NAMES = ("u1", b"u1", "|u1", b"|u1")


class PickleError(ValueError):
    """A pickle that is damaged, or holds anything but lists, dicts and byte arrays."""


class StoredArray:
    """Stands where NumPy's array would: it takes the state of an array of unsigned bytes, and only that.

    NumPy's own reconstruction trusts shapes and types of the file.
    """

    values: NDArray[np.uint8] | None = None

    def __setstate__(self, state: object) -> None:
        """Take ``(version, shape, dtype, whether in Fortran's order, bytes)``."""
        match state:
            case (1, tuple(shape), StoredType(), bool(fortran) | int(fortran), bytes(raw)) if fortran in (0, 1):
                pass
            case _:
                raise PickleError("an array's state is not one of unsigned bytes")
        if not all(type(length) is int and length >= 0 for length in shape) or math.prod(shape) != len(raw):
            raise PickleError(f"an array of shape {shape} has {len(raw)} bytes")
        self.values = np.frombuffer(raw, dtype=np.uint8).reshape(shape, order="F" if fortran else "C")


class StoredType:
    """Stands where NumPy's type of an array's elements would; unsigned bytes only."""

    def __setstate__(self, state: object) -> None:
        """Take NumPy's state of a type, which says nothing about bytes."""


def load_pickle(content: bytes) -> Any:
    """Unpickle lists, dicts, numbers, byte strings, and arrays of unsigned bytes as `StoredArray`.

    Texts of Python 2 become bytes.

    Raises
    ------
    PickleError
        If the pickle is damaged, or names any other class or function.
    """
    try:
        for operation, _, _ in pickletools.genops(content):
            if operation.proto > PROTOCOL:
                raise PickleError(f"it holds the operation {operation.name}, which protocol {PROTOCOL} does not have")
        return _Restricted(io.BytesIO(content), encoding="bytes").load()
    except PickleError:
        raise
    except Exception as problem:  # a damaged pickle may raise anything, as the documentation of pickle says
        raise PickleError(reason(problem)) from None


class _Restricted(pickle.Unpickler):
    """Knows the three names that a pickled array has."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {
            ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
            ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
            ("numpy", "ndarray"): StoredArray,
            ("numpy", "dtype"): _element_type,
        }
        if (module, name) not in allowed:
            raise PickleError(f"it names {module}.{name}, which is not allowed")
        return allowed[module, name]


def _reconstruct(*_: object) -> StoredArray:
    return StoredArray()


def _element_type(name: object, *_: object) -> StoredType:
    if name not in DTYPE_NAMES:
        raise PickleError(f"an array has elements of type {name!r}, expected unsigned bytes")
    return StoredType()
