"""Random crops and mirror images, for a batch at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from realdata.vision.images import ImageSource, Pixels, Rows


class Augmentation(NamedTuple):
    """The augmentation of training images.

    Parameters
    ----------
    padding
        Width of a black frame around an image, from which a crop of the image's size is taken at a uniform place.
    mirror
        Whether a crop is mirrored, left to right, with probability ½.
    """

    padding: int
    mirror: bool


def usual_augmentation(source: ImageSource) -> Augmentation:
    """Return crops from a frame of an eighth of the side, 4 pixels at 32, mirrored unless that changes the class."""
    return Augmentation(padding=round(min(source.shape.height, source.shape.width) / 8), mirror=source.mirrored)


def framed(images: Pixels, padding: int) -> Pixels:
    """Return images with black pixels on all sides, ``(N, C, H + 2 padding, W + 2 padding)``."""
    return np.pad(images, ((0, 0), (0, 0), (padding, padding), (padding, padding)))


def centres(frames: Pixels, rows: Rows, *, padding: int) -> Pixels:
    """Return selected images without their frame, ``(B, C, H, W)``."""
    inner = [slice(padding, side - padding) for side in frames.shape[2:]]
    return frames[:, :, inner[0], inner[1]][rows]


def crops(rng: np.random.Generator, frames: Pixels, *, rows: Rows, augmentation: Augmentation) -> Pixels:
    """Draw a crop of each image, mirrored or not.

    Parameters
    ----------
    frames
        Images with their frame, from `framed`, ``(N, C, H + 2 padding, W + 2 padding)``.
    rows
        Which images, ``(B,)``.

    Returns
    -------
    The crops, ``(B, C, H, W)``.
    """
    padding, mirror = augmentation
    height, width = (side - 2 * padding for side in frames.shape[2:])
    top, left = rng.integers(2 * padding + 1, size=(2, len(rows)))
    windows = sliding_window_view(frames, (height, width), axis=(2, 3))  # (N, C, 2 padding + 1, 2 padding + 1, H, W)
    chosen: Pixels = windows.transpose(0, 2, 3, 1, 4, 5)[rows, top, left]
    if mirror:
        turned = np.flatnonzero(rng.random(len(rows)) < 0.5)
        chosen[turned] = chosen[turned][..., ::-1]
    return chosen
