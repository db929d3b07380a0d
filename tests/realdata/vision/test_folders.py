"""Folders of images: classes, order, the drawn split, and one line for whatever is wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from loraml_theory.harness.errors import InputError
from realdata.vision.folders import open_folders
from realdata.vision.images import ImageDataError
from tests.realdata.vision.made import drawn_pixels, encoded, write_folders

CLASSES = {name: drawn_pixels(number, 5 + number) for number, name in enumerate(("cow", "ant", "dog", "bee"))}


@pytest.fixture
def split_folder(tmp_path: Path) -> Path:
    write_folders(tmp_path / "train", CLASSES)
    write_folders(tmp_path / "test", {name: images[:2] for name, images in CLASSES.items()}, suffix=".PNG")
    return tmp_path


def test_classes_and_images_in_the_order_of_their_names(split_folder: Path) -> None:
    source = open_folders(split_folder)
    names = ("ant", "bee", "cow", "dog")
    assert source.class_names == names
    assert source.shape == (8, 8, 3)
    np.testing.assert_array_equal(source.train.labels, np.repeat(range(4), [len(CLASSES[name]) for name in names]))
    np.testing.assert_array_equal(source.test.labels, np.repeat(range(4), 2))
    everything = np.concatenate([CLASSES[name] for name in names])
    rows = np.array([22, 3, 0, 3])
    np.testing.assert_array_equal(source.train.images(rows), everything[rows])
    np.testing.assert_array_equal(source.test.images([0, 1]), CLASSES["ant"][:2])


def test_other_files_are_passed_over(split_folder: Path) -> None:
    before = open_folders(split_folder)
    for name in (".hidden.png", "notes.txt", "Thumbs.db"):
        (split_folder / "train" / "ant" / name).write_bytes(b"no image")
    (split_folder / "train" / ".git").mkdir()
    after = open_folders(split_folder)
    assert after.class_names == before.class_names
    np.testing.assert_array_equal(after.train.labels, before.train.labels)


def test_images_of_a_kind_that_is_not_read_are_named(split_folder: Path) -> None:
    (split_folder / "train" / "ant" / "scan.TIFF").touch()
    with pytest.raises(ImageDataError, match=r"scan\.TIFF: is an image of an unsupported kind, expected \.bmp"):
        open_folders(split_folder)


def test_a_pipe_among_images_is_refused_at_once(split_folder: Path) -> None:
    os.mkfifo(split_folder / "train" / "ant" / "0.png")
    with pytest.raises(InputError, match=r"0\.png: is not a regular file, expected an image"):
        open_folders(split_folder)


def test_a_split_is_drawn_where_there_is_none(tmp_path: Path) -> None:
    images = {name: drawn_pixels(number, 15) for number, name in enumerate(("ant", "bee"))}
    write_folders(tmp_path, images)
    source = open_folders(tmp_path)
    assert np.bincount(source.train.labels).tolist() == [12, 12]
    assert np.bincount(source.test.labels).tolist() == [3, 3]
    both = np.concatenate([source.train.images(np.arange(24)), source.test.images(np.arange(6))])
    everything = np.concatenate(list(images.values()))
    assert sorted(image.tobytes() for image in both) == sorted(image.tobytes() for image in everything)
    again, other = open_folders(tmp_path), open_folders(tmp_path, seed=1)
    np.testing.assert_array_equal(again.test.images(np.arange(6)), source.test.images(np.arange(6)))
    assert (other.test.images(np.arange(6)) != source.test.images(np.arange(6))).any()
    write_folders(tmp_path, {"aaa": drawn_pixels(9, 5)})  # a further class leaves the others' split as it was
    np.testing.assert_array_equal(open_folders(tmp_path).test.images([1, 2, 3]), source.test.images([0, 1, 2]))


def test_only_what_is_asked_for_is_decoded(split_folder: Path) -> None:
    damaged = split_folder / "train" / "bee" / "001.png"
    damaged.write_bytes(damaged.read_bytes()[:80])
    source = open_folders(split_folder)
    bees = np.flatnonzero(source.train.labels == 1)
    assert len(source.train.images(bees[2:])) == 6
    with pytest.raises(ImageDataError) as raised:
        source.train.images(bees)
    assert str(raised.value).startswith(f"{damaged}: cannot be read as an image (")


def test_sizes(split_folder: Path) -> None:
    odd = split_folder / "test" / "dog" / "001.PNG"
    odd.write_bytes(encoded(drawn_pixels(5, 1, 11)[0]))
    with pytest.raises(ImageDataError, match=r"001.PNG: 11 by 11 pixels, expected 8 by 8 as the first training image"):
        open_folders(split_folder).test.images([7])
    source = open_folders(split_folder, size=4)
    assert source.shape == (4, 4, 3)
    assert source.test.images([6, 7]).shape == (2, 4, 4, 3)


def _no_test(folder: Path) -> None:
    (folder / "test").rename(folder / "held-out")


def _less(folder: Path) -> None:
    (folder / "test" / "dog").rename(folder / "test" / "doge")


def _empty(folder: Path) -> None:
    (folder / "train" / "eel").mkdir()


def _none(folder: Path) -> None:
    for name in CLASSES:
        (folder / "test" / name).rename(folder / name)


def _file(folder: Path) -> None:
    (folder / "test").rename(folder / "held-out")
    (folder / "test").touch()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_no_test, "test: No such file or directory, expected a folder of images"),
        (_file, "test: Not a directory, expected a folder of images"),
        (_less, "test: has no class dog, expected the classes of"),
        (_empty, "train/eel: has no images, expected files of .bmp, .gif, .jpeg, .jpg, .png, .ppm, .webp"),
        (_none, "test: has no folders, expected one of images for each class"),
    ],
)
def test_wrong_folders(split_folder: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(split_folder)
    with pytest.raises(ImageDataError) as raised:
        open_folders(split_folder)
    assert str(raised.value).startswith(f"{split_folder}/{message}")


def test_one_image_cannot_be_split(tmp_path: Path) -> None:
    write_folders(tmp_path, {"ant": drawn_pixels(0, 1), "bee": drawn_pixels(0, 2)})
    with pytest.raises(ImageDataError, match="ant: has 1 image, expected at least 2, to train and to test on"):
        open_folders(tmp_path)
