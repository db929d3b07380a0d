"""CIFAR-10 as published: pickled batches, in a folder or in the archive."""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from loraml_theory.harness.errors import reason
from loraml_theory.harness.input_files import open_input, read_bytes
from loraml_theory.harness.packed_files import open_packed
from realdata.vision.images import (
    ImageDataError,
    ImageShape,
    ImageSource,
    Labels,
    Pixels,
    Rows,
    Split,
    checked_labels,
)
from realdata.vision.restricted_pickle import PickleError, StoredArray, load_pickle

CIFAR_10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR_10_SHAPE = ImageShape(32, 32, 3)
ARCHIVE = "cifar-10-python.tar.gz"
FOLDER = "cifar-10-batches-py"
TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST, META = "test_batch", "batches.meta"
OFFICIAL_MD5: Mapping[str, str] = {
    ARCHIVE: "c58f30108f718f92721af3b95e74349a",
    META: "5ff9c542aee3614f3951f8cda6e48888",
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    TEST: "40351d587109b95175f43aff81a1287e",
}
"""MD5 of the published files, from their page."""
MAX_ARCHIVE_BYTES = 2**30  # the official one has 170 million
MAX_FILE_BYTES = 2**26  # an official batch has 31 million


def batches_place(path: Path) -> Path | None:
    """Return the folder of batches or the archive that `path` is or directly contains, or None."""
    for place in (path, path / FOLDER):
        if any((place / name).exists() for name in (*TRAIN, TEST)):
            return place
    return path / ARCHIVE if (path / ARCHIVE).exists() else None


def open_cifar_batches(path: Path, *, checksums: Mapping[str, str] = OFFICIAL_MD5) -> ImageSource:
    """Read the batches of a folder or an archive; all stay in memory, CIFAR-10 with 184 MB.

    Parameters
    ----------
    checksums
        MD5 by file name; other files are not checked.

    Raises
    ------
    ImageDataError
        If a file is missing, is not the published one, is damaged, holds anything but lists and arrays, or has a wrong
        label.
    """
    files = _from_archive(path, checksums) if path.is_file() else _from_folder(path)
    batches = {name: _batch(path / name, content, checksums=checksums) for name, content in files.items()}
    class_names = _class_names(path / META, batches[META])
    train, test = (
        _split(path, {name: batches[name] for name in names}, classes=len(class_names)) for names in (TRAIN, (TEST,))
    )
    return ImageSource(
        name="images in CIFAR-10's format", class_names=class_names, shape=CIFAR_10_SHAPE, train=train, test=test
    )


def _split(path: Path, batches: Mapping[str, dict[Any, Any]], *, classes: int) -> Split:
    """Return the split that consists of some batches."""
    pixels, labels = zip(*(_pixels_and_labels(path / name, batch) for name, batch in batches.items()), strict=True)
    checked = checked_labels(np.concatenate(labels), classes=classes, where=f"{path}: {', '.join(batches)}")
    return Split(checked, partial(_decode, np.concatenate(pixels)))


def _decode(stored: Pixels, rows: Rows) -> Pixels:
    """Return rows of planes, red, green, blue, as images with channels last."""
    height, width, channels = CIFAR_10_SHAPE
    return np.ascontiguousarray(stored[rows].reshape(-1, channels, height, width).transpose(0, 2, 3, 1))


def _from_folder(folder: Path) -> dict[str, bytes]:
    """Return the content of every required file of the folder."""
    contents = {}
    for name in (META, *TRAIN, TEST):
        contents[name] = read_bytes(folder / name, expected="a batch of CIFAR-10", limit=MAX_FILE_BYTES)
    return contents


def _from_archive(path: Path, checksums: Mapping[str, str]) -> dict[str, bytes]:
    """Return the content of every required file in the archive, without writing any."""
    wanted = {f"{FOLDER}/{name}": name for name in (META, *TRAIN, TEST)}
    contents = {}
    try:
        if ARCHIVE in checksums:
            with open_input(path, expected=ARCHIVE, limit=MAX_ARCHIVE_BYTES) as file:
                _check(path, hashlib.file_digest(file, _md5).hexdigest(), expected=checksums[ARCHIVE])
        with open_packed(path, expected=ARCHIVE) as unpacked, tarfile.open(fileobj=unpacked, mode="r|") as archive:
            for member in archive:
                name = wanted.get(member.name)
                file_inside = archive.extractfile(member) if name and member.isreg() else None
                if name and file_inside:
                    contents[name] = file_inside.read(MAX_FILE_BYTES + 1)
    except (OSError, tarfile.TarError, EOFError, zlib.error, RecursionError) as problem:
        raise ImageDataError(f"{path}: cannot be read ({reason(problem)}), expected {ARCHIVE}") from None
    missing = [member for member, name in wanted.items() if name not in contents]
    if missing:
        raise ImageDataError(f"{path}: has no {missing[0]}, expected {ARCHIVE}")
    return contents


def _md5() -> Any:
    return hashlib.md5(usedforsecurity=False)  # detects a damaged download; unpickling is restricted anyway


def _check(path: Path, found: str, *, expected: str) -> None:
    if found != expected:
        raise ImageDataError(f"{path}: its MD5 is {found}, expected {expected}: damaged, or not the published file")


def _batch(path: Path, content: bytes, *, checksums: Mapping[str, str]) -> dict[Any, Any]:
    """Unpickle one file after a check of its MD5."""
    if len(content) > MAX_FILE_BYTES:
        raise ImageDataError(f"{path}: more than {MAX_FILE_BYTES // 2**20} MiB, expected a batch of CIFAR-10")
    if path.name in checksums:
        digest = _md5()
        digest.update(content)
        _check(path, digest.hexdigest(), expected=checksums[path.name])
    try:
        found = load_pickle(content)
    except PickleError as problem:
        raise ImageDataError(f"{path}: cannot be unpickled ({problem}), expected a batch of CIFAR-10") from None
    if not isinstance(found, dict):
        raise ImageDataError(f"{path}: holds one {type(found).__name__}, expected a dict of data and labels")
    return found


def _pixels_and_labels(path: Path, batch: dict[Any, Any]) -> tuple[Pixels, Labels]:
    """Return the rows of pixels, ``(rows, 3072)``, and the labels of a batch."""
    data, labels = batch.get(b"data"), batch.get(b"labels")
    width = CIFAR_10_SHAPE.height * CIFAR_10_SHAPE.width * CIFAR_10_SHAPE.channels
    if (
        not isinstance(data, StoredArray)
        or data.values is None
        or data.values.ndim != 2
        or data.values.shape[1] != width
    ):
        raise ImageDataError(f"{path}: no array of {width} bytes per row under data, expected a batch of CIFAR-10")
    if not isinstance(labels, list) or len(labels) != len(data.values):
        raise ImageDataError(f"{path}: no list of {len(data.values)} labels under labels, expected one per image")
    for row, label in enumerate(labels):
        if type(label) is not int or not 0 <= label < 2**31:
            raise ImageDataError(f"{path}: label {label!r} in row {row}, expected an integer, a class from 0")
    return data.values, np.asarray(labels, dtype=np.int64)


def _class_names(path: Path, meta: dict[Any, Any]) -> tuple[str, ...]:
    names = meta.get(b"label_names")
    if not isinstance(names, list) or not names or not all(isinstance(name, bytes) for name in names):
        raise ImageDataError(f"{path}: no list of names under label_names, expected the classes of CIFAR-10")
    return tuple(name.decode("utf-8", "replace") for name in names)
