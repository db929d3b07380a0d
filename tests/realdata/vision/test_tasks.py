"""Binary tasks: which images train, select and test, and how they are normalised."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from realdata.vision.cifar_batches import CIFAR_10_CLASSES
from realdata.vision.images import ImageDataError, ImageSource, Pixels, Rows, Split
from realdata.vision.sources import open_images
from realdata.vision.tasks import ImageTask, binary_tasks
from tests.realdata.vision.made import cycle, drawn_pixels, inputs_of, memory_source, stored_pixels

TRAIN, TEST = drawn_pixels(0, 48), drawn_pixels(1, 20)
SOURCE = memory_source((TRAIN, cycle(48)), (TEST, cycle(20)))


def rows_of(images: Pixels, within: Pixels) -> list[int]:
    """Return which of some different images ``(N, H, W, C)`` these ``(M, C, H, W)`` are."""
    places = {image.tobytes(): row for row, image in enumerate(within)}
    return [places[image.tobytes()] for image in images.transpose(0, 2, 3, 1)]


def parts(task: ImageTask) -> tuple[list[int], list[int], list[int]]:
    """Return the rows of the source that a task trains, selects and tests on."""
    train, validation, test = (stored_pixels(part) for part in (task.train, task.validation, task.test))
    return rows_of(train, TRAIN), rows_of(validation, TRAIN), rows_of(test, TEST)


def test_consecutive_classes() -> None:
    tasks = binary_tasks(SOURCE, train_per_class=5, validation_per_class=3, seed=0)
    assert [task.name for task in tasks] == ["ant-bee", "cow-dog"]
    for number, task in enumerate(tasks):
        train, validation, test = parts(task)
        for rows, examples, split in (
            (train, task.train, SOURCE.train),
            (validation, task.validation, SOURCE.train),
            (test, task.test, SOURCE.test),
        ):
            np.testing.assert_array_equal(split.labels[rows], 2 * number + examples.labels)
        assert not set(train) & set(validation)
        assert [np.bincount(part.labels).tolist() for part in (task.train, task.validation)] == [[5, 5], [3, 3]]
        assert test == sorted(np.flatnonzero(SOURCE.test.labels // 2 == number), key=lambda row: (row % 2, row))


def test_more_images_contain_fewer() -> None:
    few, more, most = (
        binary_tasks(SOURCE, train_per_class=number, validation_per_class=3, seed=4) for number in (2, 5, None)
    )
    for smaller, larger in ((few, more), (more, most)):
        for one, other in zip(smaller, larger, strict=True):
            assert set(parts(one)[0]) < set(parts(other)[0])
            assert parts(one)[1:] == parts(other)[1:]
            size = len(one.train) // 2
            np.testing.assert_array_equal(stored_pixels(other.train.subset(size)), stored_pixels(one.train))
    assert [len(task.train) for task in most] == [18, 18]


def test_the_draw_is_the_seeds() -> None:
    def drawn(seed: int) -> list[tuple[list[int], ...]]:
        return [parts(task) for task in binary_tasks(SOURCE, train_per_class=5, validation_per_class=3, seed=seed)]

    assert drawn(0) == drawn(0)
    for one, other in zip(drawn(0), drawn(1), strict=True):
        assert one[0] != other[0]
        assert one[1] != other[1]
        assert one[2] == other[2]


def test_normalised_by_the_training_images_of_all_tasks_but_the_last() -> None:
    tasks = binary_tasks(SOURCE, train_per_class=6, validation_per_class=2, seed=0)
    used = stored_pixels(tasks[0].train) / 255
    for task in tasks:
        for part in (task.train, task.validation, task.test):
            np.testing.assert_allclose(part.normalisation.mean, used.mean(axis=(0, 2, 3)))
            np.testing.assert_allclose(part.normalisation.deviation, used.std(axis=(0, 2, 3)))
    inputs = inputs_of(tasks[0].train, np.arange(12))
    np.testing.assert_allclose(inputs.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(inputs.std(axis=(0, 2, 3)), 1, atol=1e-5)


def test_only_training_batches_are_augmented() -> None:
    task = binary_tasks(SOURCE, train_per_class=6, validation_per_class=2, seed=0)[0]
    for part, augmented in ((task.train, True), (task.validation, False), (task.test, False)):
        everything = np.arange(len(part))
        drawn = inputs_of(part, everything, np.random.default_rng(0))
        assert np.array_equal(drawn, inputs_of(part, everything)) != augmented


def test_augmented_once() -> None:
    plain, fixed = (
        binary_tasks(SOURCE, train_per_class=6, validation_per_class=2, seed=0, augment_once=once)
        for once in (False, True)
    )
    for one, other in zip(plain, fixed, strict=True):
        everything = np.arange(12)
        kept = inputs_of(other.train, everything)
        assert not np.array_equal(inputs_of(one.train, everything), kept)
        np.testing.assert_array_equal(inputs_of(other.train, everything, np.random.default_rng(0)), kept)
        assert other.test.fingerprint == one.test.fingerprint
    again = binary_tasks(SOURCE, train_per_class=6, validation_per_class=2, seed=0, augment_once=True)
    assert [task.train.fingerprint for task in again] == [task.train.fingerprint for task in fixed]


def test_each_image_that_is_needed_is_decoded_once_and_no_other() -> None:
    asked: dict[str, list[int]] = {"train": [], "test": []}

    def spied(name: str, split: Split) -> Split:
        def decode(rows: Rows) -> Pixels:
            asked[name] += rows.tolist()
            return split.decode(rows)

        return Split(split.labels, decode)

    source = ImageSource(
        "spied", SOURCE.class_names, SOURCE.shape, train=spied("train", SOURCE.train), test=spied("test", SOURCE.test)
    )
    tasks = binary_tasks(source, train_per_class=2, validation_per_class=1, seed=0)
    used = sorted(row for task in tasks for part in parts(task)[:2] for row in part)
    assert sorted(asked["train"]) == used
    assert len(used) == 12
    assert sorted(asked["test"]) == list(range(20))


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_classes_that_make_no_tasks(classes: int) -> None:
    images = TRAIN[:20], cycle(20, classes)
    source = memory_source(images, images, names=list("abcdefgh"[:classes]))
    with pytest.raises(ImageDataError, match=f"made: {classes} classes .*, expected an even number from 4 on"):
        binary_tasks(source, train_per_class=1, validation_per_class=1, seed=0)


@pytest.mark.parametrize(
    ("train", "validation", "message"),
    [
        (10, 3, "made: class ant has 12 training images, expected at least 13: 10 to train and 3 to select on"),
        (
            None,
            12,
            "made: class ant has 12 training images, expected at least 13: some to train and 12 to select on",
        ),
        (0, 3, "train_per_class: got 0, expected at least 1"),
        (3, 0, "validation_per_class: got 0, expected at least 1"),
    ],
)
def test_numbers_of_images_that_are_not_there(train: int | None, validation: int, message: str) -> None:
    with pytest.raises(ValueError, match="expected") as raised:
        binary_tasks(SOURCE, train_per_class=train, validation_per_class=validation, seed=0)
    assert str(raised.value) == message


def test_digits() -> None:
    tasks = binary_tasks(open_images(), train_per_class=80, validation_per_class=30, seed=0)
    assert [task.name for task in tasks] == ["0-1", "2-3", "4-5", "6-7", "8-9"]
    assert tasks[4].test.shape == (8, 8, 1)
    assert [(len(task.train), len(task.validation), len(task.test)) for task in tasks] == [(160, 60, 120)] * 5


@pytest.mark.realdata
@pytest.mark.skipif("LORAML_CIFAR10" not in os.environ, reason="realdata: LORAML_CIFAR10 names no folder of CIFAR-10")
def test_cifar_10() -> None:
    source = open_images(Path(os.environ["LORAML_CIFAR10"]))
    assert source.class_names == CIFAR_10_CLASSES
    assert source.shape == (32, 32, 3)
    assert np.bincount(source.train.labels).tolist() == [5000] * 10
    assert np.bincount(source.test.labels).tolist() == [1000] * 10
    tasks = binary_tasks(source, train_per_class=40, validation_per_class=10, seed=0)
    assert [task.name for task in tasks][-1] == "ship-truck"
    assert [(len(task.train), len(task.validation), len(task.test)) for task in tasks] == [(80, 20, 2000)] * 5
    # Labels belong to their pictures: those of the sky and the sea, airplane and ship, are bluer than red.
    bluer = []
    for task in tasks:
        means = stored_pixels(task.test).astype(float).mean(axis=(2, 3))
        bluer += [(means[:, 2] - means[:, 0])[task.test.labels == label].mean() for label in (0, 1)]
    assert [name for name, blue in zip(CIFAR_10_CLASSES, bluer, strict=True) if blue > 0] == ["airplane", "ship"]
