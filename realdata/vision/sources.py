"""Open labelled images from Parquet, CIFAR-10's own batches, folders, or the packaged digits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from loraml_theory.harness.errors import reason
from loraml_theory.harness.input_files import check_regular
from realdata.vision.cifar_batches import OFFICIAL_MD5, batches_place, open_cifar_batches
from realdata.vision.digits import open_digits
from realdata.vision.folders import open_folders
from realdata.vision.images import ImageDataError, ImageSource
from realdata.vision.parquet import open_parquet
from realdata.vision.parquet_names import folder_of, parquet_files

LAYOUTS = (
    "train-*.parquet and test-*.parquet or the same in folders, cifar-10-batches-py or cifar-10-python.tar.gz, "
    "or folders train/CLASS and test/CLASS of images"
)
ARCHIVES = (".tar.gz", ".tgz")


def open_images(
    path: str | os.PathLike[str] | None = None,
    *,
    size: int | None = None,
    checksums: Mapping[str, str] = OFFICIAL_MD5,
) -> ImageSource:
    """Open the images at `path`, whose layout is recognised by file names.

    Parameters
    ----------
    path
        A folder with Parquet files of both splits (`realdata.vision.parquet_names`), or one of these files; else the
        folder of CIFAR-10's batches, one that has it, or the archive; else folders of images. None for scikit-learn's
        digits.
    size
        Side in pixels to which the images of Parquet files and folders are resized; by default they must share one.
    checksums
        MD5 of CIFAR-10's files by name.

    Raises
    ------
    InputError
        If there are no images, they are damaged or not in the expected layout, or `size` is given where images have one
        size.
    ValueError
        If `size` is less than 1.
    """
    if path is None:
        _no_size(size, "the digits")
        return open_digits()
    given = Path(path)
    try:
        return _open(given, size=size, checksums=checksums)
    except OSError as problem:
        raise ImageDataError(f"{problem.filename or given}: {reason(problem)}, expected {LAYOUTS}") from None


def _open(given: Path, *, size: int | None, checksums: Mapping[str, str]) -> ImageSource:
    """Choose the first layout that is found."""
    if given.is_dir():
        parquet, batches = given if parquet_files(given) else None, batches_place(given)
    else:
        check_regular(given, expected=LAYOUTS)
        parquet = folder_of(given.absolute()) if given.suffix == ".parquet" else None
        batches = given if given.name.endswith(ARCHIVES) else None
        if not parquet and not batches:
            raise ImageDataError(f"{given}: a file of an unknown kind, expected {LAYOUTS}")
    if parquet:
        return open_parquet(parquet, size=size)
    if batches:
        _no_size(size, "CIFAR-10's batches")
        return open_cifar_batches(batches, checksums=checksums)
    if not any(entry.is_dir() and not entry.name.startswith(".") for entry in given.iterdir()):
        raise ImageDataError(f"{given}: no images, expected {LAYOUTS}")
    return open_folders(given, size=size)


def _no_size(size: int | None, what: str) -> None:
    if size is not None:
        raise ImageDataError(f"size (data.image_size in settings): got {size}, but {what} have one size already")
