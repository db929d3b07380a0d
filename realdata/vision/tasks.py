"""Binary tasks of consecutive classes: the first two, the next two, and so on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from loraml_theory.harness.seeds import generator
from realdata.peft_ml.data import Task
from realdata.vision.augmentation import Augmentation, usual_augmentation
from realdata.vision.examples import ImageExamples, image_examples, normalisation_of
from realdata.vision.images import ImageDataError, ImageSource, Labels, Pixels, Rows, Split


@dataclass(frozen=True)
class ImageTask(Task):
    """A task with parts of images."""

    train: ImageExamples
    validation: ImageExamples
    test: ImageExamples


class _Part(NamedTuple):
    """Images ``(N, C, H, W)`` and labels of one task, 0 or 1."""

    images: Pixels
    labels: Labels


def binary_tasks(
    source: ImageSource,
    *,
    train_per_class: int | None,
    validation_per_class: int,
    seed: int,
    augmentation: Augmentation | None = None,
    augment_once: bool = False,
) -> list[ImageTask]:
    """Return one task for each two consecutive classes of a source; the last is the one to adapt to.

    The images of a class in the training split are ordered by `seed` and the class: the first are for training, the
    last for validation, so that training sets are nested. A task is tested on all images of its classes in the test
    split. Pixels are normalised by the means and deviations over the training images of all tasks but the last, in all
    tasks, for every method and number of images.

    Parameters
    ----------
    train_per_class
        Training images of each class; None for all except validation images.
        validation_per_class
        Validation images of each class, at least 1.
        augmentation
        Of training batches, by default `usual_augmentation`.
        augment_once
        Augment training images only once, like the public reference code.

    Raises
    ------
    ImageDataError
        If there are fewer than four classes or an odd number, a class has too few images, or one is damaged.
    ValueError
        If a number of images is less than 1.
    """
    _check(source, train_per_class=train_per_class, validation_per_class=validation_per_class)
    classes = len(source.class_names)
    drawn = [
        _drawn(source, c, train=train_per_class, validation=validation_per_class, seed=seed) for c in range(classes)
    ]
    train = _parts(source.train, [rows for rows, _ in drawn])
    validation = _parts(source.train, [rows for _, rows in drawn])
    test = _parts(source.test, [np.flatnonzero(source.test.labels == c) for c in range(classes)])
    normalisation = normalisation_of(part.images for part in train[:-1])
    augmentation = augmentation or usual_augmentation(source)
    tasks = []
    for number, parts in enumerate(zip(train, validation, test, strict=True)):
        name = "-".join(source.class_names[2 * number : 2 * number + 2])
        examples = image_examples(*parts[0], normalisation=normalisation, augmentation=augmentation)
        if augment_once:
            examples = examples.augmented_once(generator(seed, "augmented once", name))
        others = (image_examples(*part, normalisation=normalisation) for part in parts[1:])
        tasks.append(ImageTask(name, examples, *others))
    return tasks


def _check(source: ImageSource, **numbers: int | None) -> None:
    """Raise unless classes come in pairs and numbers of images are positive."""
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise ValueError(f"{name}: got {number}, expected at least 1")
    classes = len(source.class_names)
    if classes < 4 or classes % 2:
        raise ImageDataError(
            f"{source.name}: {classes} class{'es' if classes != 1 else ''} ({', '.join(source.class_names)}), "
            "expected an even number from 4 on, two for each task"
        )


def _drawn(source: ImageSource, label: int, *, train: int | None, validation: int, seed: int) -> tuple[Rows, Rows]:
    """Draw the training and validation rows of one class."""
    name = source.class_names[label]
    rows = np.flatnonzero(source.train.labels == label)
    wanted = (train or 1) + validation
    if len(rows) < wanted:
        raise ImageDataError(
            f"{source.name}: class {name} has {len(rows)} training images, expected at least {wanted}: "
            f"{train or 'some'} to train and {validation} to select on"
        )
    order = generator(seed, "images", name).permutation(rows)
    return order[: len(rows) - validation if train is None else train], order[len(rows) - validation :]


def _parts(split: Split, rows: Sequence[Rows]) -> list[_Part]:
    """Return one part for each two classes, given the rows of each class; all are decoded together, each once."""
    sizes = [len(one) for one in rows]
    ends = np.cumsum(sizes)[1:-1:2]
    images = split.images(np.concatenate(rows)).transpose(0, 3, 1, 2)
    labels = np.repeat(np.arange(len(rows), dtype=np.int64) % 2, sizes)
    return [_Part(*part) for part in zip(np.split(images, ends), np.split(labels, ends), strict=True)]
