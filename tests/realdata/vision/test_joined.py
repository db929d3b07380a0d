"""Classes of two sources: labels, order, shapes, and an experiment that adapts to other images."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from realdata.vision.digits import open_digits
from realdata.vision.images import ImageDataError, ImageShape, ImageSource, Pixels, Rows, Split
from realdata.vision.joined import in_shape, joined


def rows_of(images: Pixels, rows: Rows) -> Pixels:
    return images[rows]


def coloured(*, names: tuple[str, ...] = ("a", "b", "c", "d"), each: int = 5) -> ImageSource:
    """Return images of 12 by 16 pixels, class c in the one colour (10 c, 100, 200)."""
    labels = np.repeat(np.arange(len(names)), each)
    images = np.empty((len(labels), 12, 16, 3), dtype=np.uint8)
    images[:] = [0, 100, 200]
    images[..., 0] = 10 * labels[:, None, None]
    split = Split(labels, partial(rows_of, images))
    return ImageSource("coloured", names, ImageShape(12, 16, 3), split, split)


def test_the_last_two_classes_of_the_other_come_last_in_the_first_s_shape() -> None:
    digits, other = open_digits(), coloured()
    both = joined(digits, other)
    assert both.class_names == (*digits.class_names, "c", "d")
    assert both.shape == digits.shape
    assert not both.mirrored
    assert np.bincount(both.train.labels).tolist() == [*np.bincount(digits.train.labels).tolist(), 5, 5]
    first, last = 3, len(both.train.labels) - 1
    images = both.train.images([last, first, last - 5])
    assert np.array_equal(images[1], digits.train.images([first])[0])
    luminance = [round(0.299 * red + 0.587 * 100 + 0.114 * 200) for red in (30, 20)]
    for image, grey in zip(images[[0, 2]], luminance, strict=True):
        assert np.abs(image.astype(int) - grey).max() <= 1


def test_grey_becomes_three_equal_channels() -> None:
    digit = open_digits().train.images([0])[0]
    made = in_shape(digit, ImageShape(16, 16, 3))
    assert made.shape == (16, 16, 3)
    assert np.array_equal(made[..., 0], made[..., 2])
    assert np.array_equal(in_shape(digit, ImageShape(8, 8, 1)), digit)


def test_what_cannot_be_joined_is_refused() -> None:
    with pytest.raises(ImageDataError, match="digits: class 8 is also in digits, expected other images"):
        joined(open_digits(), open_digits())
    with pytest.raises(ImageDataError, match="coloured: 3 classes, expected an even number"):
        joined(coloured(names=("a", "b", "c")), open_digits())
