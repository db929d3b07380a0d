"""The embedded digits: every one once, in a split that never changes."""

from __future__ import annotations

import hashlib

import numpy as np
from sklearn.datasets import load_digits

from realdata.vision.digits import open_digits


def test_every_digit_is_once_in_train_or_test() -> None:
    source, loaded = open_digits(), load_digits()
    images = np.concatenate([split.images(np.arange(len(split.labels))) for split in (source.train, source.test)])
    labels = np.concatenate([source.train.labels, source.test.labels])
    assert images.shape == (1797, 8, 8, 1)
    assert images.dtype == np.uint8
    ours = sorted((int(label), image.tobytes()) for label, image in zip(labels, images, strict=True))
    published = np.rint(loaded.images / 16 * 255).astype(np.uint8)
    theirs = sorted((int(label), image.tobytes()) for label, image in zip(loaded.target, published, strict=True))
    assert ours == theirs


def test_split() -> None:
    source = open_digits()
    assert source.class_names == tuple("0123456789")
    assert source.shape == (8, 8, 1)
    assert not source.mirrored
    assert np.bincount(source.test.labels).tolist() == [60] * 10
    assert np.bincount(source.train.labels).tolist() == [118, 122, 117, 123, 121, 122, 121, 119, 114, 120]


def test_split_is_the_same_everywhere() -> None:
    """Records name their test examples by position: a new version of this split would not be comparable."""
    test = open_digits().test
    digest = hashlib.sha256(test.images(np.arange(600)).tobytes() + test.labels.astype("<i8").tobytes())
    assert digest.hexdigest()[:16] == "4ab9bc1056139b92"
