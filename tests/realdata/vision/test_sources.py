"""Layouts are recognised; what is none of them is named in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from loraml_theory.harness.errors import InputError
from realdata.vision.images import ImageDataError
from realdata.vision.sources import LAYOUTS, open_images
from tests.realdata.vision.made import (
    NAMES,
    batch_files,
    cycle,
    drawn_pixels,
    write_files,
    write_folders,
    write_parquet,
)

IMAGES = drawn_pixels(0, 28, side=32)


def test_without_a_path_the_digits() -> None:
    assert open_images().name == "digits"


def test_layouts_are_told_apart(tmp_path: Path) -> None:
    """The same images in each layout give the same source."""
    labels = cycle(28)
    train = write_parquet(tmp_path / "hub", "train", list(IMAGES[:20]), labels[:20])
    write_parquet(tmp_path / "hub", "test", list(IMAGES[20:]), labels[20:])
    write_files(tmp_path / "own" / "cifar-10-batches-py", batch_files(IMAGES, labels.tolist(), test_from=20))
    write_folders(tmp_path / "files/train", {name: IMAGES[number:20:4] for number, name in enumerate(NAMES)})
    write_folders(tmp_path / "files/test", {name: IMAGES[20 + number :: 4] for number, name in enumerate(NAMES)})
    places = {
        "hub": "images in Parquet files",
        "own": "images in CIFAR-10's format",
        "own/cifar-10-batches-py": "images in CIFAR-10's format",
        "files": "images in folders",
    }
    sources = {place: open_images(tmp_path / place, checksums={}) for place in places} | {"a file": open_images(train)}
    assert [source.name for source in sources.values()] == [*places.values(), "images in Parquet files"]
    for source in sources.values():
        assert source.class_names == NAMES
        for number in range(4):
            for split, stored in ((source.train, IMAGES[number:20:4]), (source.test, IMAGES[20 + number :: 4])):
                np.testing.assert_array_equal(split.images(np.flatnonzero(split.labels == number)), stored)


def test_archive_is_recognised_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(b"damaged")
    for given in (path, tmp_path):
        with pytest.raises(ImageDataError, match=r"cifar-10-python.tar.gz: its MD5 is"):
            open_images(given)


def test_nothing_of_the_kind(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        open_images(tmp_path / "none")
    assert str(raised.value) == f"{tmp_path}/none: cannot be read (No such file or directory), expected {LAYOUTS}"
    with pytest.raises(ImageDataError) as raised:
        open_images(tmp_path)
    assert str(raised.value) == f"{tmp_path}: no images, expected {LAYOUTS}"
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ImageDataError) as raised:
        open_images(tmp_path / "notes.txt")
    assert str(raised.value) == f"{tmp_path}/notes.txt: a file of an unknown kind, expected {LAYOUTS}"
    (tmp_path / "folder").mkdir()
    with pytest.raises(ImageDataError, match=r"folder: has no images, expected files of .bmp"):
        open_images(tmp_path)


def test_size_where_there_is_no_choice(tmp_path: Path) -> None:
    with pytest.raises(ImageDataError, match=r"size .*: got 16, but the digits have one size already"):
        open_images(size=16)
    write_files(tmp_path, batch_files(IMAGES, cycle(28).tolist(), test_from=20))
    with pytest.raises(ImageDataError, match=r"size .*: got 16, but CIFAR-10's batches have one size already"):
        open_images(tmp_path, size=16)
