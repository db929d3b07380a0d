"""Decoding: exact pixels where the format is exact, and one line for whatever is wrong."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from loraml_theory.harness.errors import InputError
from realdata.vision import decoding
from realdata.vision.decoding import EncodedImage, common_shape, decode_image, decode_images
from realdata.vision.images import ImageDataError, ImageShape, Pixels
from tests.realdata.vision.made import damaged, drawn_pixels, encoded

PIXELS = drawn_pixels(1, 1, side=9)[0][:, :7]
GREY = PIXELS[..., 0]


def decoded(content: bytes | Path, side: int | None = None) -> Pixels:
    return decode_image(EncodedImage("x", content), side=side)


@pytest.mark.parametrize("form", ["PNG", "BMP", "PPM"])
def test_lossless_formats_are_exact(form: str) -> None:
    np.testing.assert_array_equal(decoded(encoded(PIXELS, form)), PIXELS)


@pytest.mark.parametrize(("form", "options"), [("JPEG", {"quality": 95}), ("WEBP", {"quality": 95})])
def test_lossy_formats_are_near(form: str, options: dict[str, int]) -> None:
    smooth = np.asarray(Image.fromarray(PIXELS[:2, :2]).resize((32, 32), Image.Resampling.BILINEAR))
    assert np.abs(decoded(encoded(smooth, form, **options)).astype(int) - smooth).mean() < 6


def test_grey_becomes_three_equal_channels() -> None:
    np.testing.assert_array_equal(decoded(encoded(GREY)), np.repeat(GREY[..., None], 3, axis=2))


def test_sixteen_bits_of_grey_keep_the_upper_eight() -> None:
    deep = GREY.astype(np.uint16) * 256 + 77
    np.testing.assert_array_equal(decoded(encoded(deep)), np.repeat(GREY[..., None], 3, axis=2))


def test_transparent_pixels_become_white() -> None:
    alpha = np.where(np.arange(9)[:, None] < 4, 0, 255).astype(np.uint8) + np.zeros((9, 7), dtype=np.uint8)
    seen = decoded(encoded(np.dstack([PIXELS, alpha])))
    assert (seen[:4] == 255).all()
    np.testing.assert_array_equal(seen[4:], PIXELS[4:])


def test_photographs_are_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate clockwise to see
    np.testing.assert_array_equal(decoded(encoded(PIXELS, exif=exif)), np.rot90(PIXELS, k=-1))


def test_resized_to_a_square() -> None:
    flat = np.full((9, 7, 3), (10, 200, 30), dtype=np.uint8)
    assert (decoded(encoded(flat), side=4) == np.array([10, 200, 30])).all()
    assert decoded(encoded(flat), side=4).shape == (4, 4, 3)


def test_common_shape() -> None:
    first = EncodedImage("x", encoded(PIXELS))
    assert common_shape(first, size=None) == (9, 7, 3)
    assert common_shape(first, size=5) == (5, 5, 3)
    with pytest.raises(ValueError, match="size: got 0, expected at least 1"):
        common_shape(first, size=0)


def bomb(side: int) -> bytes:
    """Return a small PNG that says it is `side` by `side`."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")):
        content += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "x: not an image, expected one of"),
        (b"GIF of a cat", "x: not an image, expected one of"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "x: not an image, expected one of"),
        (encoded(drawn_pixels(2, 1, 32)[0], "JPEG")[:-200], r"x: cannot be read as an image \(.*truncated.*\), exp"),
        (encoded(PIXELS)[:60], r"x: cannot be read as an image \(.*\), expected a whole file"),
        (bomb(5000), "x: 5000 by 5000 pixels, expected at most 16777216 in all"),
        (bomb(12_000), "x: 12000 by 12000 pixels, expected at most 16777216 in all"),
        (bomb(2**31 - 1), "x: too many pixels, expected at most 16777216"),
        (encoded(Image.fromarray(GREY.astype(np.float32)), "PPM"), "x: pixels are floating-point numbers, expected"),
    ],
    ids=["empty", "text", "eps", "jpeg", "png", "bomb", "larger bomb", "largest bomb", "float"],
)
def test_damaged_images_are_named(content: bytes, message: str) -> None:
    with pytest.raises(ImageDataError, match=f"^{message}") as raised:
        decoded(content)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("there", [False, True], ids=["missing", "folder"])
def test_unreadable_files_are_named(tmp_path: Path, there: bool) -> None:
    path = tmp_path if there else tmp_path / "none.png"
    with pytest.raises(InputError, match="is a folder" if there else "cannot be read") as raised:
        decode_image(EncodedImage(str(path), path))
    assert "expected an image" in str(raised.value)


@given(content=st.sampled_from(decoding.FORMATS).flatmap(lambda form: damaged(encoded(PIXELS, form))))
def test_any_damage_ends_in_pixels_or_in_one_line(content: bytes) -> None:
    message = ""
    try:
        assert decoded(content).dtype == np.uint8
    except ImageDataError as problem:
        message = str(problem)
    assert message == "" or (message.startswith("x: ") and "\n" not in message)


def test_other_sizes_are_refused_or_resized() -> None:
    images = [EncodedImage("a", encoded(PIXELS)), EncodedImage("b", encoded(PIXELS[:5]))]
    with pytest.raises(ImageDataError, match=r"^b: 5 by 7 pixels, expected 9 by 7 as the first training image; `size`"):
        decode_images(images, count=2, shape=ImageShape(9, 7, 3), resize=False)
    resized = decode_images(images, count=2, shape=ImageShape(6, 6, 3), resize=True)
    assert resized.shape == (2, 6, 6, 3)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_BYTES", 1000)
    with pytest.raises(ImageDataError, match="6 images of 8 by 8 pixels take more than"):
        decode_images(iter([]), count=6, shape=ImageShape(8, 8, 3), resize=False)
