"""Images in folders, one folder per class: ``train/<class>/*.png`` and ``test/<class>/*.png``, or ``<class>/*.png``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from loraml_theory.harness.errors import reason
from loraml_theory.harness.seeds import generator
from realdata.vision.decoding import EncodedImage, common_shape, decode_images
from realdata.vision.images import ImageDataError, ImageShape, ImageSource, Pixels, Rows, Split, checked_labels

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".webp"})
UNREAD = frozenset({".avif", ".eps", ".heic", ".heif", ".jfif", ".jp2", ".pbm", ".pgm", ".svg", ".tif", ".tiff"})
"""Kinds of images that are refused rather than silently ignored."""
TEST_SHARE = 5
"""One image in this many is for testing, where the folder has no splits."""


def open_folders(folder: Path, *, size: int | None = None, seed: int = 0) -> ImageSource:
    """Open folders of images; only one image is decoded now.

    A class is a folder directly in ``train`` and ``test`` with images directly in it; classes and images are in the
    order of their names. Hidden files and files of other kinds are ignored. Without the folders ``train`` and ``test``
    a class is a folder directly in `folder`, and a fifth of its images, drawn from `seed` and its name, is for testing.

    Parameters
    ----------
    size
        Side to which all images are resized; by default they must have the same size.

    Raises
    ------
    ImageDataError
        If there are no classes or a class has no images, if the splits have different classes, or the first image is
        damaged.
    """
    train, test = _listed(folder) if (folder / "train").exists() or (folder / "test").exists() else _drawn(folder, seed)
    names = tuple(train)
    shape = common_shape(EncodedImage(str(train[names[0]][0]), train[names[0]][0]), size=size)
    splits = [_split(folder, classes, shape=shape, resize=size is not None) for classes in (train, test)]
    return ImageSource(name="images in folders", class_names=names, shape=shape, train=splits[0], test=splits[1])


def _listed(folder: Path) -> tuple[Mapping[str, Sequence[Path]], Mapping[str, Sequence[Path]]]:
    """Return the images of each class in ``train`` and in ``test``."""
    train, test = _classes(folder / "train"), _classes(folder / "test")
    for name in sorted(set(train) ^ set(test)):
        there, lacking = ("train", "test") if name in train else ("test", "train")
        raise ImageDataError(f"{folder / lacking}: has no class {name}, expected the classes of {folder / there}")
    return train, test


def _drawn(folder: Path, seed: int) -> tuple[Mapping[str, Sequence[Path]], Mapping[str, Sequence[Path]]]:
    """Split the images of each class, in the same way on every machine."""
    train, test = {}, {}
    for name, files in _classes(folder).items():
        if len(files) < 2:
            raise ImageDataError(f"{folder / name}: has 1 image, expected at least 2, to train and to test on")
        order = generator(seed, "test split", name).permutation(len(files))
        held_out = max(1, len(files) // TEST_SHARE)
        test[name] = [files[index] for index in sorted(order[:held_out])]
        train[name] = [files[index] for index in sorted(order[held_out:])]
    return train, test


def _classes(folder: Path) -> dict[str, list[Path]]:
    """Return the images of each class of one folder, both in the order of their names."""
    try:
        classes = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        images = {entry.name: sorted(filter(_is_image, entry.iterdir())) for entry in classes}
    except OSError as problem:
        raise ImageDataError(f"{problem.filename}: {reason(problem)}, expected a folder of images") from None
    if not images:
        raise ImageDataError(f"{folder}: has no folders, expected one of images for each class")
    for name, files in images.items():
        if not files:
            raise ImageDataError(f"{folder / name}: has no images, expected files of {', '.join(sorted(SUFFIXES))}")
    return images


def _is_image(path: Path) -> bool:
    if path.suffix.lower() in UNREAD and not path.name.startswith("."):
        raise ImageDataError(f"{path}: is an image of an unsupported kind, expected {', '.join(sorted(SUFFIXES))}")
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _split(folder: Path, classes: Mapping[str, Sequence[Path]], *, shape: ImageShape, resize: bool) -> Split:
    files = [file for files in classes.values() for file in files]
    labels = np.repeat(np.arange(len(classes)), [len(files) for files in classes.values()])
    return Split(
        checked_labels(labels, classes=len(classes), where=str(folder)),
        partial(_decode, files, shape=shape, resize=resize),
    )


def _decode(files: Sequence[Path], rows: Rows, *, shape: ImageShape, resize: bool) -> Pixels:
    chosen = (EncodedImage(str(files[row]), files[row]) for row in rows)
    return decode_images(chosen, count=len(rows), shape=shape, resize=resize)
