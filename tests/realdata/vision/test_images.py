"""Labels and splits: what is checked at the boundary."""

from __future__ import annotations

import numpy as np
import pytest

from realdata.vision.images import ImageDataError, Split, checked_labels
from tests.realdata.vision.made import drawn_pixels


def test_labels_become_int64() -> None:
    labels = checked_labels(np.array([1, 0, 2], dtype=np.uint8), classes=3, where="x")
    assert labels.dtype == np.int64
    assert labels.tolist() == [1, 0, 2]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 3, 2], "x: label 3 of image 2, expected integers from 0 to 2, one class each"),
        ([0, -1, 1, 2], "x: label -1 of image 1, expected integers from 0 to 2, one class each"),
        ([0, 1, 1], "x: no image has label 2, expected integers from 0 to 2, one class each"),
        ([0.0, 1.0, 2.0], "x: labels are of type float64, expected integers from 0 to 2, one class each"),
        ([], "x: no labels, expected integers from 0 to 2, one class each"),
    ],
)
def test_wrong_labels(labels: list[int], message: str) -> None:
    with pytest.raises(ImageDataError) as raised:
        checked_labels(labels, classes=3, where="x")
    assert str(raised.value) == message


def test_huge_unsigned_label() -> None:
    with pytest.raises(ImageDataError, match="label 18446744073709551615 of image 1"):
        checked_labels(np.array([0, 2**64 - 1], dtype=np.uint64), classes=1, where="x")


def test_images_come_in_the_order_asked() -> None:
    pixels = drawn_pixels(0, 5)
    split = Split(np.arange(5), lambda rows: pixels[rows])
    np.testing.assert_array_equal(split.images([3, 0, 3]), pixels[[3, 0, 3]])


@pytest.mark.parametrize("rows", [[-1], [5], [[0]]])
def test_rows_that_are_not_there(rows: list[int]) -> None:
    split = Split(np.arange(5), lambda rows: drawn_pixels(0, len(rows)))
    with pytest.raises(IndexError, match="expected a list of 0 to 4"):
        split.images(rows)
