"""Small image files in every layout, from given pixels."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor

from realdata.vision.examples import ImageExamples
from realdata.vision.images import ImageShape, ImageSource, Labels, Pixels, Split

NAMES = ("ant", "bee", "cow", "dog")


def drawn_pixels(seed: int, count: int, side: int = 8) -> Pixels:
    """Draw images ``(count, side, side, 3)``."""
    return np.random.default_rng(seed).integers(256, size=(count, side, side, 3), dtype=np.uint8)


def cycle(count: int, classes: int = len(NAMES)) -> Labels:
    """Return labels 0, 1, …, again and again."""
    return np.arange(count, dtype=np.int64) % classes


def encoded(pixels: Any, format: str = "PNG", **options: Any) -> bytes:
    """Return the file of one image; `pixels` is an array or a Pillow image."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def memory_source(
    train: tuple[Pixels, Labels], test: tuple[Pixels, Labels], names: Sequence[str] = NAMES
) -> ImageSource:
    """Return a source of images in memory."""
    splits = [Split(labels, images.__getitem__) for images, labels in (train, test)]
    return ImageSource("made", tuple(names), ImageShape(*train[0].shape[1:]), train=splits[0], test=splits[1])


def write_parquet(
    folder: Path,
    split: str,
    images: Sequence[Any],
    labels: Any,
    *,
    names: Sequence[str] | None = NAMES,
    column: str = "img",
    shard: str = "00000-of-00001",
    rows_per_group: int = 5,
    metadata: bytes | None = None,
) -> Path:
    """Write one Parquet file in the hub's layout; an image is an array, or bytes as they are, or None."""
    contents = [encoded(image) if isinstance(image, np.ndarray) else image for image in images]
    structs = pa.array(
        [{"bytes": content, "path": None} for content in contents],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    table = pa.table({column: structs, "label": labels})
    if names is not None:
        features = {column: {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
        metadata = json.dumps({"info": {"features": features}}).encode()
    if metadata is not None:
        table = table.replace_schema_metadata({b"huggingface": metadata})
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{split}-{shard}.parquet"
    pq.write_table(table, path, row_group_size=rows_per_group)
    return path


def write_folders(folder: Path, classes: Mapping[str, Pixels], suffix: str = ".png") -> None:
    """Write one folder a class, images named by their number."""
    for name, images in classes.items():
        (folder / name).mkdir(parents=True)
        for number, image in enumerate(images):
            (folder / name / f"{number:03}{suffix}").write_bytes(encoded(image))


def python2_pickle(value: Any) -> bytes:
    """Pickle as Python 2 with its NumPy did for CIFAR-10: protocol 2, byte strings, arrays by ``_reconstruct``."""
    return b"\x80\x02" + _opcodes(value) + b"."


def _opcodes(value: Any) -> bytes:
    match value:
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            return b"J" + struct.pack("<i", value)
        case float():
            return b"G" + struct.pack(">d", value)
        case bytes():
            length = b"U" + bytes([len(value)]) if len(value) < 256 else b"T" + struct.pack("<i", len(value))
            return length + value
        case list():
            return b"](" + b"".join(map(_opcodes, value)) + b"e"
        case tuple():
            return b"(" + b"".join(map(_opcodes, value)) + b"t"
        case dict():
            return b"}(" + b"".join(_opcodes(part) for pair in value.items() for part in pair) + b"u"
        case np.ndarray():
            kind = value.dtype.str[1:].encode()
            made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + _opcodes((0,)) + _opcodes(b"b") + b"tR"
            kept = _opcodes((3, b"|", None, None, None, -1, -1, 0))
            dtype = b"cnumpy\ndtype\n" + _opcodes((kind, 0, 1)) + b"R" + kept + b"b"
            state = _opcodes(1) + _opcodes(value.shape) + dtype + _opcodes(False) + _opcodes(value.tobytes())
            return made + b"(" + state + b"tb"
    raise TypeError(type(value))


def batch_files(
    images: Pixels, labels: Sequence[Any], *, test_from: int, names: Sequence[str] = NAMES
) -> dict[str, bytes]:
    """Return the files of ``cifar-10-batches-py``: five training batches, and a test batch from row `test_from` on."""
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    parts = {
        f"data_batch_{number}": part for number, part in enumerate(np.array_split(np.arange(test_from), 5), start=1)
    } | {"test_batch": np.arange(test_from, len(images))}
    files = {
        name: python2_pickle(
            {
                b"batch_label": name.encode(),
                b"labels": [labels[row] for row in part],
                b"data": rows[part],
                b"filenames": [b"%d.png" % row for row in part],
            }
        )
        for name, part in parts.items()
    }
    meta = {b"num_cases_per_batch": 4, b"label_names": [name.encode() for name in names], b"num_vis": 3072}
    return files | {"batches.meta": python2_pickle(meta)}


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files by name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def stored_pixels(examples: ImageExamples) -> Pixels:
    """Return the images of examples without augmentation, ``(N, C, H, W)``, 0 … 255."""
    mean, deviation = (np.array(values)[:, None, None] for values in examples.normalisation)
    pixels = (inputs_of(examples, np.arange(len(examples))) * deviation + mean) * 255
    return np.asarray(np.rint(pixels), dtype=np.uint8)


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """Draw a file that is cut off somewhere, or has another value in one byte."""
    places = st.integers(0, len(content) - 1)
    cut = places.map(lambda place: content[:place])
    changed = st.builds(
        lambda place, value: content[:place] + bytes([value]) + content[place + 1 :], places, st.integers(0, 255)
    )
    return cut | changed


def inputs_of(
    examples: ImageExamples, indices: ArrayLike, rng: np.random.Generator | None = None
) -> NDArray[np.float32]:
    """Return what a model sees in a batch, ``(B, C, H, W)``."""
    inputs = examples.batch(np.asarray(indices, dtype=np.int64), rng).inputs
    assert isinstance(inputs, Tensor)
    return inputs.numpy()
