"""Examples: what a batch holds, subsets, the fixed augmentation, and the fingerprint."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from realdata.vision.augmentation import Augmentation
from realdata.vision.examples import ImageExamples, Normalisation, image_examples, normalisation_of
from realdata.vision.images import Labels, Pixels
from tests.realdata.vision.made import drawn_pixels, inputs_of, stored_pixels

IMAGES: Pixels = drawn_pixels(0, 12).transpose(0, 3, 1, 2)
LABELS: Labels = np.array([0, 0, 1, 0, 1, 1, 0, 1, 0, 1, 1, 1])
HALF = Normalisation(mean=(0.5, 0.25, 0.0), deviation=(0.5, 0.25, 1.0))


def made(augmentation: Augmentation = Augmentation(2, True), images: Pixels = IMAGES) -> ImageExamples:  # noqa: B008
    return image_examples(images, LABELS, normalisation=HALF, augmentation=augmentation)


def test_a_batch_holds_normalised_images_and_labels_in_order() -> None:
    indices = np.array([7, 0, 7, 2])
    inputs, targets = made().batch(indices)
    assert isinstance(inputs, torch.Tensor)
    assert (inputs.dtype, targets.dtype) == (torch.float32, torch.int64)
    mean, deviation = (np.array(values)[:, None, None] for values in HALF)
    np.testing.assert_allclose(inputs.numpy(), (IMAGES[indices] / 255 - mean) / deviation, atol=1e-5)
    assert targets.tolist() == LABELS[indices].tolist()


def test_augmented_only_with_a_generator_and_anew_each_time() -> None:
    examples, everything = made(), np.arange(12)
    rng = np.random.default_rng(0)
    plain, first, second = (inputs_of(examples, everything, each) for each in (None, rng, rng))
    again = inputs_of(examples, everything, np.random.default_rng(0))
    assert not np.array_equal(first, plain)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(inputs_of(examples, everything), plain)


def test_without_augmentation_the_generator_changes_nothing() -> None:
    examples = made(Augmentation(0, False))
    everything = np.arange(12)
    np.testing.assert_array_equal(
        inputs_of(examples, everything, np.random.default_rng(0)), inputs_of(examples, everything)
    )


def test_padding_is_black() -> None:
    white = np.full_like(IMAGES, 255)
    inputs = inputs_of(made(Augmentation(3, False), white), np.arange(12), np.random.default_rng(0))
    np.testing.assert_allclose(np.unique(inputs[:, 1]), [-1, 3])  # 0 and 1, less 0.25, over 0.25


def test_shape_classes_and_length() -> None:
    examples = made()
    assert len(examples) == 12
    assert examples.shape == (8, 8, 3)
    assert examples.classes == 2
    assert inputs_of(examples, np.arange(0)).shape == (0, 3, 8, 8)


def test_subsets_are_balanced_and_nested() -> None:
    examples = made()
    sizes = [1, 2, 5]
    chosen = [examples.subset(size) for size in sizes]
    assert [np.bincount(subset.labels).tolist() for subset in chosen] == [[size, size] for size in sizes]
    for smaller, larger in itertools.pairwise(chosen):
        assert set(smaller.rows) < set(larger.rows)
    np.testing.assert_array_equal(stored_pixels(chosen[1]), IMAGES[[0, 1, 2, 4]])
    np.testing.assert_array_equal(chosen[2].subset(2).rows, chosen[1].rows)
    assert examples.subset(None) is examples


@pytest.mark.parametrize("per_class", [0, -1, 6])
def test_subsets_that_are_not_there(per_class: int) -> None:
    with pytest.raises(ValueError, match=f"images per class: got {per_class}, expected 1 to 5"):
        made().subset(per_class)


def test_augmented_once_stays_as_it_is() -> None:
    fixed = made().augmented_once(np.random.default_rng(3))
    everything = np.arange(12)
    drawn = inputs_of(made(), everything, np.random.default_rng(3))
    for rng in (None, np.random.default_rng(0), np.random.default_rng(1)):
        np.testing.assert_array_equal(inputs_of(fixed, everything, rng), drawn)
    assert fixed.shape == (8, 8, 3)
    np.testing.assert_array_equal(inputs_of(fixed.subset(2), np.arange(4)), drawn[[0, 1, 2, 4]])


def test_fingerprint_is_of_images_and_labels_in_order() -> None:
    examples = made()
    assert len(examples.fingerprint) == 64
    assert examples.fingerprint == made(Augmentation(0, False)).fingerprint  # not of what they are drawn with
    changed = IMAGES.copy()
    changed[5, 1, 2, 3] ^= 1
    swapped, other = IMAGES.copy(), LABELS.copy()
    swapped[[0, 1]] = swapped[[1, 0]]
    other[5] = 0
    others = [
        made(images=changed),
        made(images=swapped),
        image_examples(IMAGES, other, normalisation=HALF),
        examples.subset(5),
        made().augmented_once(np.random.default_rng(0)),
        image_examples(IMAGES.reshape(12, 3, 4, 16), LABELS, normalisation=HALF),
    ]
    assert len({examples.fingerprint, *(one.fingerprint for one in others)}) == 1 + len(others)


def test_normalisation_is_of_all_pixels() -> None:
    parts = [IMAGES[:5], IMAGES[5:]]
    mean, deviation = normalisation_of(parts)
    np.testing.assert_allclose(mean, IMAGES.mean(axis=(0, 2, 3)) / 255, rtol=1e-12)
    np.testing.assert_allclose(deviation, IMAGES.std(axis=(0, 2, 3)) / 255, rtol=1e-12)
    assert normalisation_of(parts[::-1]) == (mean, deviation)


def test_a_channel_without_variation_is_not_divided_by_zero() -> None:
    dark = IMAGES.copy()
    dark[:, 1] = 0
    assert normalisation_of([dark]).deviation[1] == 1 / 255
