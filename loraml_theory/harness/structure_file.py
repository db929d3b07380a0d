"""Structure files: a ground truth as an npz file with `A_star` (d, d) and `U_star` (T+1, d, k)."""

from __future__ import annotations

import os
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from loraml_theory.harness.array_files import Header, open_arrays
from loraml_theory.harness.atomic import replacing
from loraml_theory.harness.input_files import InputFileError
from loraml_theory.structure import GroundTruth

Path_: TypeAlias = str | os.PathLike[str]

SHAPES = {"A_star": "(d, d)", "U_star": "(T+1, d, k)"}
MAX_ENTRIES = 2**27  # 1 GiB of float64 per array, far more than any check can use


def read_structure(path: Path_) -> tuple[GroundTruth, list[str]]:
    """Read a ground truth from an npz file; pickled objects in it are never loaded.

    Parameters
    ----------
    path
        An npz file with real arrays `A_star` ``(d, d)`` and `U_star` ``(T+1, d, k)``; others are ignored.

    Returns
    -------
    truth
        The ground truth in float64.
    notes
        One sentence for each array that had to be converted to float64.

    Raises
    ------
    InputFileError
        If the file is not such an npz file.
    """
    notes: list[str] = []
    with open_arrays(path, expected=f"an npz file with {' and '.join(SHAPES)}") as file:
        for name in SHAPES:
            _check_header(path, name, file.header(name))
        arrays = [_converted(path, name, file.read(name), notes) for name in SHAPES]
    try:
        return GroundTruth(*arrays), notes
    except ValueError as problem:
        raise InputFileError(path, str(problem)) from None


def write_structure(path: Path_, truth: GroundTruth) -> None:
    """Write a ground truth without batch axes as an npz file, whole or not at all.

    Raises
    ------
    ValueError
        If the truth has batch axes.
    OSError
        If the file cannot be written.
    """
    arrays = {name: np.asarray(getattr(truth, name)) for name in SHAPES}
    if arrays["A_star"].ndim != 2:
        raise ValueError(f"truth: got A_star of shape {arrays['A_star'].shape}, expected (d, d), without batch axes")
    with replacing(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


def _check_header(path: Path_, name: str, header: Header) -> None:
    """Raise unless an array is declared to hold real numbers of the expected shape."""
    shape, dtype = header
    if dtype.kind not in "iuf":
        raise InputFileError(path, f"{name}: got dtype {dtype.name}, expected real numbers")
    axes = SHAPES[name].count(",") + 1
    if len(shape) != axes or (name == "A_star" and shape[0] != shape[1]):
        raise InputFileError(path, f"{name}: got shape {shape}, expected {SHAPES[name]}")
    if prod(shape) > MAX_ENTRIES:
        raise InputFileError(path, f"{name}: got shape {shape}, expected at most {MAX_ENTRIES} numbers")


def _converted(path: Path_, name: str, array: NDArray[Any], notes: list[str]) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):
        converted = np.ascontiguousarray(array, dtype=np.float64)
    if bool(np.isfinite(array).all()) and not bool(np.isfinite(converted).all()):
        raise InputFileError(path, f"{name}: holds numbers too large for float64, expected float64")
    if array.dtype.newbyteorder("=") != np.float64:
        notes.append(f"{name}: converted from {array.dtype.name} to float64")
    return converted
