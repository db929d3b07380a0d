"""Scikit-learn's handwritten digits, which need no download."""

from __future__ import annotations

from functools import partial

import numpy as np

from loraml_theory.harness.seeds import generator
from realdata.vision.images import ImageShape, ImageSource, Labels, Pixels, Rows, Split

SHAPE = ImageShape(8, 8, 1)
TEST_PER_CLASS = 60
"""Test digits of each class; 114 to 123 remain for training and validation."""
SEED = 0
"""Seed of the split, the same for all experiments: more seeds do not give more test images."""


def open_digits() -> ImageSource:
    """Return the 1797 digits of 8 by 8 pixels in one grey channel, 0 … 255 (published as 0 … 16).

    Digits of one writer may be on both sides of the split, which is drawn per class.
    """
    from sklearn.datasets import load_digits

    loaded = load_digits()
    images = np.rint(loaded.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = np.asarray(loaded.target, dtype=np.int64)
    train, test = _drawn(labels)
    return ImageSource(
        name="digits",
        class_names=tuple(str(digit) for digit in range(10)),
        shape=SHAPE,
        train=Split(labels[train], partial(_rows, images[train])),
        test=Split(labels[test], partial(_rows, images[test])),
        mirrored=False,
    )


def _drawn(labels: Labels) -> tuple[Rows, Rows]:
    """Draw the rows to train and to test on, each in increasing order."""
    train, test = [], []
    for digit in range(10):
        order = generator(SEED, "digits", digit).permutation(np.flatnonzero(labels == digit))
        test.append(order[:TEST_PER_CLASS])
        train.append(order[TEST_PER_CLASS:])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(test))


def _rows(images: Pixels, rows: Rows) -> Pixels:
    return images[rows]
