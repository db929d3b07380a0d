"""Labelled images in a training and a test split, decoded on demand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from loraml_theory.harness.errors import InputError

Pixels: TypeAlias = NDArray[np.uint8]
Labels: TypeAlias = NDArray[np.int64]
Rows: TypeAlias = NDArray[np.int64]


class ImageDataError(InputError):
    """Images that cannot be used; the text is one line with the file, what is wrong, and what was expected."""


class ImageShape(NamedTuple):
    """Size of the images in pixels, and channels: 3 (red, green, blue) or 1 (grey)."""

    height: int
    width: int
    channels: int


@dataclass(frozen=True)
class Split:
    """One split of the images.

    Parameters
    ----------
    labels
        Class of each image, ``(rows,)``.
    decode
        Returns the images at given rows, in this order, ``(len(rows), height, width, channels)``.
    """

    labels: Labels
    decode: Callable[[Rows], Pixels]

    def images(self, rows: ArrayLike) -> Pixels:
        """Return the images at `rows`, in this order, ``(len(rows), height, width, channels)``.

        Raises
        ------
        ImageDataError
            If one of them is damaged, or of another size than the source's.
        IndexError
            If a row is out of range.
        """
        wanted = np.asarray(rows, dtype=np.int64)
        if wanted.ndim != 1 or np.any((wanted < 0) | (wanted >= len(self.labels))):
            raise IndexError(f"rows: expected a list of 0 to {len(self.labels) - 1}, got {wanted}")
        return self.decode(wanted)


@dataclass(frozen=True)
class ImageSource:
    """Labelled images with a training and a test split.

    Parameters
    ----------
    name
        Kind of source: ``digits``, ``parquet``, ``cifar-10-batches``, ``folders``.
    class_names
        Name of class 0, 1, …
    shape
        Shape of every image.
    train, test
        The splits; each has images of every class.
    mirrored
        Whether a mirrored image still shows its class, as for photographs, unlike digits.
    """

    name: str
    class_names: tuple[str, ...]
    shape: ImageShape
    train: Split
    test: Split
    mirrored: bool = True


def checked_labels(values: Sequence[int] | Labels, *, classes: int, where: str) -> Labels:
    """Return labels as int64 after a check.

    Raises
    ------
    ImageDataError
        If one is not an integer of 0 … classes − 1, or a class has none; the text begins with `where`.
    """
    expected = f"expected integers from 0 to {classes - 1}, one class each"
    labels = np.asarray(values)
    if labels.ndim != 1 or not labels.size:
        raise ImageDataError(f"{where}: no labels, {expected}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ImageDataError(f"{where}: labels are of type {labels.dtype}, {expected}")
    for wrong in (labels.min(), labels.max()):
        if not 0 <= wrong < classes:
            raise ImageDataError(f"{where}: label {wrong} of image {np.argmax(labels == wrong)}, {expected}")
    missing = np.flatnonzero(np.bincount(labels.astype(np.int64), minlength=classes) == 0)
    if missing.size:
        raise ImageDataError(f"{where}: no image has label {missing[0]}, {expected}")
    return labels.astype(np.int64)
