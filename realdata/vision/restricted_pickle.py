"""Read pickles of lists, dicts and byte arrays only, so that a file cannot run code."""

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
"""The published files have 2; protocol 5 has byte arrays, for which Python allocates any damaged length."""
DTYPE_NAMES = ("u1", b"u1", "|u1", b"|u1")


class PickleError(ValueError):
    """A pickle that is damaged, or holds anything but lists, dicts and byte arrays."""


class StoredArray:
    """Stands for NumPy's array: it accepts only the state of an array of unsigned bytes.

    NumPy's own reconstruction trusts the file's shapes and types.
    """

    values: NDArray[np.uint8] | None = None

    def __setstate__(self, state: object) -> None:
        """Accept ``(version, shape, dtype, whether in Fortran's order, bytes)``."""
        match state:
            case (1, tuple(shape), StoredType(), bool(fortran) | int(fortran), bytes(raw)) if fortran in (0, 1):
                pass
            case _:
                raise PickleError("an array's state is not one of unsigned bytes")
        if not all(type(length) is int and length >= 0 for length in shape) or math.prod(shape) != len(raw):
            raise PickleError(f"an array of shape {shape} has {len(raw)} bytes")
        self.values = np.frombuffer(raw, dtype=np.uint8).reshape(shape, order="F" if fortran else "C")


class StoredType:
    """Stands for NumPy's type of an array's elements; unsigned bytes only."""

    def __setstate__(self, state: object) -> None:
        """Accept NumPy's state of a type, which is irrelevant for bytes."""


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
    except Exception as problem:  # a damaged pickle may raise anything, see the documentation of pickle
        raise PickleError(reason(problem)) from None


class _Restricted(pickle.Unpickler):
    """Resolves the three names in a pickled array."""

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
