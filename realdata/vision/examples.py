"""Examples of one binary task of images: normalised batches, augmented on request."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from realdata.peft_ml.data import Batch
from realdata.vision.augmentation import Augmentation, centres, crops, framed
from realdata.vision.images import ImageShape, Labels, Pixels, Rows

NO_AUGMENTATION = Augmentation(padding=0, mirror=False)


class Normalisation(NamedTuple):
    """Mean and standard deviation of each channel, where a pixel is 0 … 1; a model sees (pixel − mean) / deviation."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]


def normalisation_of(images: Iterable[Pixels]) -> Normalisation:
    """Measure the channels of images ``(N, C, H, W)``, all pixels alike; a deviation is at least one grey level."""
    counts = sum(
        np.stack([np.bincount(channel.ravel(), minlength=256) for channel in part.swapaxes(0, 1)]) for part in images
    )
    share = counts / np.sum(counts, axis=1, keepdims=True)  # counted, so that the order of summation does not matter
    levels = np.arange(256) / 255
    mean = share @ levels
    deviation = np.sqrt(np.sum(share * (levels - mean[:, None]) ** 2, axis=1)).clip(1 / 255)
    return Normalisation(tuple(mean.tolist()), tuple(deviation.tolist()))


@dataclass(frozen=True, eq=False)
class ImageExamples:
    """Images of two classes. Make it by `image_examples`.

    Parameters
    ----------
    frames
        Stored images with their frame, ``(stored, C, H + 2 padding, W + 2 padding)``, shared by all subsets.
    stored_labels
        0 or 1 for each stored image, ``(stored,)``.
    rows
        Indices of these examples among the stored images, ``(examples,)``.
        normalisation
        Of the pixels a model sees.
        augmentation
        Of training batches.
    """

    frames: Pixels
    stored_labels: Labels
    rows: Rows
    normalisation: Normalisation
    augmentation: Augmentation
    classes: ClassVar[int] = 2

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> Labels:
        """The class of each example, 0 or 1, ``(examples,)``."""
        return self.stored_labels[self.rows]

    @property
    def shape(self) -> ImageShape:
        """Height, width and channels of a model's input."""
        channels, height, width = self.frames.shape[1:]
        return ImageShape(height - 2 * self.augmentation.padding, width - 2 * self.augmentation.padding, channels)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the images, before augmentation, and the labels, in order; 64 hexadecimal digits."""
        digest = hashlib.sha256(repr((len(self), tuple(self.shape))).encode())
        for start in range(0, len(self), 1024):
            digest.update(centres(self.frames, self.rows[start : start + 1024], padding=self.augmentation.padding).data)
        digest.update(self.labels.astype("<i8").data)
        return digest.hexdigest()

    def batch(self, indices: NDArray[np.int64], rng: np.random.Generator | None = None) -> Batch:
        """Return the images at `indices`, float32 ``(B, C, H, W)``, and their labels, int64 ``(B,)``.

        With `rng` each is a new random crop, mirrored or not; otherwise it is unchanged.
        """
        rows = self.rows[indices]
        if rng is None:
            pixels = centres(self.frames, rows, padding=self.augmentation.padding)
        else:
            pixels = crops(rng, self.frames, rows=rows, augmentation=self.augmentation)
        centre, scale = self._affine
        return Batch(
            torch.from_numpy(pixels).float().sub_(centre).mul_(scale), torch.from_numpy(self.stored_labels[rows])
        )

    def subset(self, per_class: int | None) -> ImageExamples:
        """Return the first `per_class` images of each class, in order; all for None. These sets are nested.

        Raises
        ------
        ValueError
            If a class has fewer images.
        """
        if per_class is None:
            return self
        places = [np.flatnonzero(self.labels == label) for label in (0, 1)]
        fewest = min(map(len, places))
        if not 1 <= per_class <= fewest:
            raise ValueError(
                f"images per class: got {per_class}, expected 1 to {fewest}, the size of the smaller class"
            )
        return replace(self, rows=self.rows[np.sort(np.concatenate([place[:per_class] for place in places]))])

    def augmented_once(self, rng: np.random.Generator) -> ImageExamples:
        """Return the examples with each image replaced by one augmentation, the same in every batch.

        The public reference code augments like this when it loads the data.
        """
        fixed = crops(rng, self.frames, rows=self.rows, augmentation=self.augmentation)
        return image_examples(fixed, self.labels, normalisation=self.normalisation, augmentation=NO_AUGMENTATION)

    @cached_property
    def _affine(self) -> tuple[Tensor, Tensor]:
        """Return the offset to subtract from a pixel 0 … 255 and the factor, ``(1, C, 1, 1)`` each."""
        mean, deviation = (torch.tensor(values, dtype=torch.float64)[:, None, None] for values in self.normalisation)
        return (255 * mean).float(), (1 / (255 * deviation)).float()


def image_examples(
    images: Pixels, labels: Labels, *, normalisation: Normalisation, augmentation: Augmentation = NO_AUGMENTATION
) -> ImageExamples:
    """Return examples of images ``(N, C, H, W)`` and labels 0 or 1."""
    return ImageExamples(
        frames=framed(images, augmentation.padding),
        stored_labels=labels,
        rows=np.arange(len(labels)),
        normalisation=normalisation,
        augmentation=augmentation,
    )
