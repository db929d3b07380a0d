"""Structure files: a ground truth as an npz file with `A_star` (d, d) and `U_star` (T+1, d, k)."""

from __future__ import annotations

import os
import zipfile
from math import prod
from typing import IO, TypeAlias
from warnings import catch_warnings

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from loraml_theory.atomic import replacing
from loraml_theory.harness.input_files import InputFileError, open_input
from loraml_theory.structure import GroundTruth

Path_: TypeAlias = str | os.PathLike[str]

SHAPES = {"A_star": "(d, d)", "U_star": "(T+1, d, k)"}
MAX_ENTRIES = 2**27  # 1 GiB of float64 per array, far beyond what any check could use
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_structure(path: Path_) -> tuple[GroundTruth, list[str]]:
    """Read a ground truth from an npz file; pickled objects in it are never loaded.

    Parameters
    ----------
    path
        An npz file with real arrays `A_star` ``(d, d)`` and `U_star` ``(T+1, d, k)``; others are ignored.

    Returns
    -------
    truth
        In float64.
    notes
        One sentence for each array that had to be converted to float64.

    Raises
    ------
    InputFileError
        Whatever is wrong with the file.
    """
    notes: list[str] = []
    with open_input(path, expected="an npz file") as file, _archive(path, file) as archive:
        for name in SHAPES:
            _check_header(path, archive, name)
        arrays = [_load(path, archive, name, notes) for name in SHAPES]
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


def _archive(path: Path_, file: IO[bytes]) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as problem:
        file.seek(0)
        start = file.read(6)
        if not start:
            found = "is empty"
        elif start == npy.MAGIC_PREFIX:
            found = "holds a single array (npy), not named ones"
        elif start.startswith(b"PK"):
            found = f"is damaged or truncated ({problem})"
        else:
            found = "is not an npz file"
        raise InputFileError(path, f"{found}, expected an npz file with {' and '.join(SHAPES)}") from None


def _check_header(path: Path_, archive: zipfile.ZipFile, name: str) -> None:
    """Raise unless a member declares real numbers, in the expected axes, and is as large as it declares."""
    try:
        member = archive.getinfo(f"{name}.npy")
    except KeyError:
        found = ", ".join(sorted(n.removesuffix(".npy") for n in archive.namelist())[:8]) or "nothing"
        raise InputFileError(path, f"{name}: missing (found {found}), expected shape {SHAPES[name]}") from None
    shape, dtype, offset = _header(path, archive, name)
    if dtype.hasobject:
        raise InputFileError(path, f"{name}: holds pickled objects (never loaded), expected real numbers")
    if dtype.kind not in "iuf":
        raise InputFileError(path, f"{name}: got dtype {dtype.name}, expected real numbers")
    axes = SHAPES[name].count(",") + 1
    if len(shape) != axes or (name == "A_star" and shape[0] != shape[1]) or min(shape) < 0:
        raise InputFileError(path, f"{name}: got shape {shape}, expected {SHAPES[name]}")
    if prod(shape) > MAX_ENTRIES:
        raise InputFileError(path, f"{name}: got shape {shape}, expected at most {MAX_ENTRIES} numbers")
    expected = offset + prod(shape) * dtype.itemsize
    if member.file_size != expected:
        raise InputFileError(
            path, f"{name}: damaged, got {member.file_size} bytes, expected {expected} for shape {shape}"
        )


def _header(path: Path_, archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype[np.generic], int]:
    try:
        with archive.open(f"{name}.npy") as stream, catch_warnings(action="ignore"):
            shape, _, dtype = HEADERS[npy.read_magic(stream)](stream)
            return shape, dtype, stream.tell()
    except Exception as problem:  # bytes of unknown origin: whatever the parsers stumble over, it is no array
        raise InputFileError(path, f"{name}: damaged ({problem}), expected an array {SHAPES[name]}") from None


def _load(path: Path_, archive: zipfile.ZipFile, name: str, notes: list[str]) -> NDArray[np.float64]:
    try:
        with archive.open(f"{name}.npy") as stream, catch_warnings(action="ignore"):
            array = npy.read_array(stream, allow_pickle=False)
            stream.read(1)  # the end of the stream is where its check sum is compared
    except Exception as problem:
        raise InputFileError(path, f"{name}: damaged ({problem}), expected an array {SHAPES[name]}") from None
    with np.errstate(over="ignore"):
        converted = np.ascontiguousarray(array, dtype=np.float64)
    if bool(np.isfinite(array).all()) and not bool(np.isfinite(converted).all()):
        raise InputFileError(path, f"{name}: holds numbers too large for float64, expected float64")
    if array.dtype.newbyteorder("=") != np.float64:
        notes.append(f"{name}: converted from {array.dtype.name} to float64")
    return converted
