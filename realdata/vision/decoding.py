"""Decoding of stored images; errors name the image."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from loraml_theory.harness.errors import reason
from loraml_theory.harness.input_files import MEBIBYTE, InputFileError, read_bytes
from realdata.vision.images import ImageDataError, ImageShape, Pixels

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "WEBP")  # none that runs another program, unlike EPS
MAX_PIXELS = 2**24
"""Largest decoded image in pixels (4096 by 4096): a small file may unpack to gigabytes."""
LARGEST = 64 * MEBIBYTE
"""Largest file of an image."""
MAX_BYTES = 8 * 2**30
"""Most memory for the images decoded by one call."""
FAILURES = (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, ArithmeticError, RuntimeError)
"""Pillow's exceptions for damaged files, which differ by format; its documentation does not promise one class."""


class EncodedImage(NamedTuple):
    """A stored image, with its name in messages."""

    name: str
    content: Path | bytes


def decode_images(images: Iterable[EncodedImage], *, count: int, shape: ImageShape, resize: bool) -> Pixels:
    """Decode `count` images in red, green and blue, ``(count, height, width, 3)``.

    Parameters
    ----------
    shape
        Shape of every image, or of all after `resize`.

    Raises
    ------
    ImageDataError
        If an image is damaged, too large, or of another size than `shape` without `resize`, with its name.
    """
    if count * shape.height * shape.width * 3 > MAX_BYTES:
        raise ImageDataError(
            f"{count} images of {_by(shape)} pixels take more than {MAX_BYTES // 2**30} GiB: "
            "use fewer per class, or a smaller `size`"
        )
    pixels = np.empty((count, shape.height, shape.width, 3), dtype=np.uint8)
    for row, image in enumerate(images):
        one = decode_image(image, side=shape.height if resize else None)
        if one.shape != pixels.shape[1:]:
            raise ImageDataError(
                f"{image.name}: {one.shape[0]} by {one.shape[1]} pixels, expected {_by(shape)} as the first "
                "training image; `size` (data.image_size in settings) brings all to one size"
            )
        pixels[row] = one
    return pixels


def decode_image(image: EncodedImage, *, side: int | None = None) -> Pixels:
    """Decode one image in red, green and blue, ``(height, width, 3)``.

    Grey becomes three equal channels, 16-bit grey is divided by 256, transparency becomes white, and a photograph is
    turned upright by its metadata. With `side` it is resized to a square, bicubically.

    Raises
    ------
    ImageDataError
        If it is damaged, is not an image, has more than ``MAX_PIXELS``, or cannot be read.
    """
    with _one_line(image.name):
        content = image.content
        stored = content if isinstance(content, bytes) else read_bytes(content, expected="an image", limit=LARGEST)
        with Image.open(BytesIO(stored), formats=FORMATS) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise ImageDataError(
                    f"{image.name}: {opened.height} by {opened.width} pixels, expected at most {MAX_PIXELS} in all"
                )
            opened.load()
            colour = _in_colour(ImageOps.exif_transpose(opened) if opened.getexif() else opened)
        if side is not None and colour.size != (side, side):
            colour = colour.resize((side, side), Image.Resampling.BICUBIC)
        return np.asarray(colour, dtype=np.uint8)


def common_shape(first: EncodedImage, *, size: int | None) -> ImageShape:
    """Return the shape of a source's images: `size` by `size`, or that of its first training image.

    Raises
    ------
    ImageDataError
        If that image is damaged.
    ValueError
        If `size` is less than 1.
    """
    if size is not None and size < 1:
        raise ValueError(f"size: got {size}, expected at least 1 pixel")
    height, width, channels = decode_image(first, side=size).shape
    return ImageShape(height, width, channels)


def _in_colour(image: Image.Image) -> Image.Image:
    """Convert any mode to red, green and blue."""
    if image.mode.startswith("I"):  # 16 bits of grey; Pillow's own conversion cuts them off at 255
        return Image.fromarray((np.asarray(image, dtype=np.int64) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ImageDataError("pixels are floating-point numbers, expected 8 or 16 bits each")
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
    return image.convert("RGB")


def _by(shape: ImageShape) -> str:
    return f"{shape.height} by {shape.width}"


@contextmanager
def _one_line(name: str) -> Iterator[None]:
    """Turn any error with one image into an `ImageDataError` that names it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on odd metadata; real errors are exceptions
            yield
    except InputFileError:
        raise
    except ImageDataError as problem:
        raise problem if str(problem).startswith(name) else ImageDataError(f"{name}: {problem}") from None
    except UnidentifiedImageError:
        raise ImageDataError(f"{name}: not an image, expected one of {', '.join(FORMATS)}") from None
    except (Image.DecompressionBombError, MemoryError):
        raise ImageDataError(f"{name}: too many pixels, expected at most {MAX_PIXELS}") from None
    except FAILURES as problem:
        raise ImageDataError(f"{name}: cannot be read as an image ({reason(problem)}), expected a whole file") from None
