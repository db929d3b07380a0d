"""Classes of one source to retrain on and classes of another to adapt to, in images of one shape."""

from __future__ import annotations

from functools import partial

import numpy as np
from PIL import Image

from realdata.vision.images import ImageDataError, ImageShape, ImageSource, Labels, Pixels, Rows, Split

ADAPTED_TO = 2  # classes, one task


def joined(source: ImageSource, other: ImageSource) -> ImageSource:
    """Return all classes of a source, then the last two of another, whose images are brought to the first's shape.

    They are resized bicubically; where the first is grey, colours become their luminance, and where it has colours,
    grey becomes three equal channels.

    Raises
    ------
    ImageDataError
        If the first has an odd number of classes, or a class of the same name.
    """
    names = other.class_names[-ADAPTED_TO:]
    if len(source.class_names) % 2:
        raise ImageDataError(f"{source.name}: {len(source.class_names)} classes, expected an even number")
    if both := sorted(set(names) & set(source.class_names)):
        raise ImageDataError(f"{other.name}: class {both[0]} is also in {source.name}, expected other images")
    return ImageSource(
        name=f"{source.name}, adapted to {other.name}",
        class_names=(*source.class_names, *names),
        shape=source.shape,
        train=_split(source, other, "train"),
        test=_split(source, other, "test"),
        mirrored=source.mirrored and other.mirrored,
    )


def _split(source: ImageSource, other: ImageSource, split: str) -> Split:
    mine: Split = getattr(source, split)
    theirs: Split = getattr(other, split)
    first = len(other.class_names) - ADAPTED_TO
    chosen: Rows = np.flatnonzero(theirs.labels >= first)
    labels: Labels = np.concatenate([mine.labels, theirs.labels[chosen] - first + len(source.class_names)])
    return Split(labels, partial(_decode, mine, theirs, chosen, source.shape))


def _decode(mine: Split, theirs: Split, chosen: Rows, shape: ImageShape, rows: Rows) -> Pixels:
    """Return images of both, in the order of the rows."""
    out = np.empty((len(rows), *shape), dtype=np.uint8)
    own = rows < len(mine.labels)
    out[own] = mine.images(rows[own])
    for place, image in zip(np.flatnonzero(~own), theirs.images(chosen[rows[~own] - len(mine.labels)]), strict=True):
        out[place] = in_shape(image, shape)
    return out


def in_shape(image: Pixels, shape: ImageShape) -> Pixels:
    """Return an image ``(height, width, channels)`` of another size and other channels."""
    made = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    made = made.convert("L" if shape.channels == 1 else "RGB").resize(
        (shape.width, shape.height), Image.Resampling.BICUBIC
    )
    return np.asarray(made, dtype=np.uint8).reshape(shape)
