"""Crops and mirror images, against one image at a time, and over all that can be drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realdata.vision.augmentation import Augmentation, centres, crops, framed, usual_augmentation
from realdata.vision.digits import open_digits
from realdata.vision.images import Pixels
from tests.realdata.vision.made import cycle, drawn_pixels, memory_source


def drawn(seed: int, count: int, height: int, width: int, channels: int) -> Pixels:
    return np.random.default_rng(seed).integers(1, 256, size=(count, channels, height, width), dtype=np.uint8)


def one_at_a_time(rng: np.random.Generator, images: Pixels, rows: list[int], augmentation: Augmentation) -> Pixels:
    """Do what `crops` should, by slices of one image after another."""
    padding, mirror = augmentation
    tops, lefts = rng.integers(2 * padding + 1, size=(2, len(rows)))
    turned = rng.random(len(rows)) < 0.5 if mirror else np.zeros(len(rows), dtype=bool)
    done = []
    for row, top, left, turn in zip(rows, tops, lefts, turned, strict=True):
        frame = np.pad(images[row], ((0, 0), (padding, padding), (padding, padding)))
        crop = frame[:, top : top + images.shape[2], left : left + images.shape[3]]
        done.append(crop[:, :, ::-1] if turn else crop)
    return np.stack(done)


@given(
    seed=st.integers(0, 2**32),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3])),
    padding=st.integers(0, 4),
    mirror=st.booleans(),
    rows=st.lists(st.integers(0, 4), min_size=1, max_size=8),
)
def test_crops_agree_with_one_at_a_time(
    seed: int, size: tuple[int, int, int], padding: int, mirror: bool, rows: list[int]
) -> None:
    images, augmentation = drawn(seed, 5, *size), Augmentation(padding, mirror)
    before = images.copy()
    found = crops(np.random.default_rng(seed), framed(images, padding), rows=np.array(rows), augmentation=augmentation)
    np.testing.assert_array_equal(found, one_at_a_time(np.random.default_rng(seed), images, rows, augmentation))
    np.testing.assert_array_equal(images, before)


def test_every_crop_and_its_mirror_image_is_drawn_equally_often() -> None:
    """Of 18 outcomes, 9000 draws: a count leaves 500 ± 130 (6 standard deviations) by chance in 1 of 10⁷ runs."""
    images = drawn(0, 1, 4, 4, 1)
    rows = np.zeros(9000, dtype=np.int64)
    found = crops(np.random.default_rng(0), framed(images, 1), rows=rows, augmentation=Augmentation(1, True))
    outcomes, counts = np.unique(found.reshape(9000, -1), axis=0, return_counts=True)
    assert len(outcomes) == 18
    assert np.abs(counts - 500).max() < 130


def test_draws_are_the_generators() -> None:
    images, rows = framed(drawn(0, 9, 8, 8, 3), 2), np.arange(9)
    rng = np.random.default_rng(5)
    first, second = (crops(rng, images, rows=rows, augmentation=Augmentation(2, True)) for _ in range(2))
    again = crops(np.random.default_rng(5), images, rows=rows, augmentation=Augmentation(2, True))
    np.testing.assert_array_equal(first, again)
    assert (first != second).any()


@pytest.mark.parametrize("padding", [0, 1, 3])
def test_centres_take_the_frame_off(padding: int) -> None:
    images = drawn(0, 5, 6, 7, 3)
    rows = np.array([4, 0, 4])
    np.testing.assert_array_equal(centres(framed(images, padding), rows, padding=padding), images[rows])


def test_usual_augmentation() -> None:
    photographs = drawn_pixels(0, 4, side=32), cycle(4)
    assert usual_augmentation(memory_source(photographs, photographs)) == Augmentation(padding=4, mirror=True)
    assert usual_augmentation(open_digits()) == Augmentation(padding=1, mirror=False)
