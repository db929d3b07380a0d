"""Images in the Parquet layouts of the Hugging Face hub, see `realdata.vision.parquet_names`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from loraml_theory.harness.errors import install
from loraml_theory.harness.input_files import decoded, json_document
from loraml_theory.harness.parquet_files import open_parquet as open_parquet_file
from realdata.vision.cifar_batches import CIFAR_10_CLASSES, CIFAR_10_SHAPE
from realdata.vision.decoding import EncodedImage, common_shape, decode_images
from realdata.vision.images import (
    ImageDataError,
    ImageShape,
    ImageSource,
    Labels,
    Pixels,
    Rows,
    Split,
    checked_labels,
)
from realdata.vision.parquet_names import EXPECTED, SPLITS, parquet_files

if TYPE_CHECKING:
    import pyarrow as pa

IMAGE_COLUMNS = ("img", "image")
ROW_BYTES = 16  # a label and the number of an image


class _Shard(NamedTuple):
    """One file: its column of images, stored labels, class names if it has them, and the starts of its row groups."""

    path: Path
    column: str
    labels: Labels
    class_names: tuple[str, ...] | None
    starts: tuple[int, ...]


def open_parquet(folder: Path, *, size: int | None = None) -> ImageSource:
    """Open the Parquet files of a folder; only labels and one image are read at first.

    Each file has a column ``img`` or ``image`` of structs with ``bytes``, an encoded image, and a column ``label`` of
    integers. Class names come from the files' Hugging Face metadata, or are CIFAR-10's if there are ten classes
    and the first image has its size, or else ``class-0``, ``class-1``, …

    Parameters
    ----------
    size
        Side to which all images are resized; by default they must have the same size.

    Raises
    ------
    InputError
        If a file is missing or damaged, lacks a column, or has a wrong label, or the first image is damaged.
    """
    files = parquet_files(folder)
    if files is None:
        raise ImageDataError(f"{folder}: has no Parquet files, expected {EXPECTED}")
    train, test = ([_shard(file) for file in files[split]] for split in SPLITS)
    named = {shard.class_names for shard in (*train, *test)}
    if len(named) > 1:
        raise ImageDataError(f"{folder}: its files name different classes, expected the same in all")
    first = next(_encoded(train, np.zeros(1, dtype=np.int64)))
    class_names = named.pop() or _default_names(train, common_shape(first, size=None))
    shape = common_shape(first, size=size)
    splits = [
        _split(shards, classes=len(class_names), shape=shape, resize=size is not None) for shards in (train, test)
    ]
    counts = [len(split.labels) for split in splits]
    whole = (class_names, shape, counts) == (CIFAR_10_CLASSES, CIFAR_10_SHAPE, [50_000, 10_000])
    return ImageSource(
        name="CIFAR-10" if whole else "images in Parquet files",
        class_names=class_names,
        shape=shape,
        train=splits[0],
        test=splits[1],
    )


def _shard(path: Path) -> _Shard:
    """Read one file except its images."""
    with _opened(path) as file:
        schema = file.schema_arrow
        columns = [name for name in IMAGE_COLUMNS if name in schema.names]
        if not columns or "label" not in schema.names:
            raise ImageDataError(
                f"{path}: columns are {', '.join(schema.names) or 'none'}; expected label, and img or image"
            )
        for name in (columns[0], "label"):
            if schema.names.count(name) > 1:
                raise ImageDataError(f"{path}: has {schema.names.count(name)} columns {name}, expected one")
        _check_type(path, schema, column=columns[0])
        label = file.read(columns=["label"]).column("label")
        if label.null_count:
            raise ImageDataError(f"{path}: rows without a label: {label.null_count}, expected an integer in each")
        groups = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        starts = np.cumsum([0, *groups])
        if starts[-1] == 0:
            raise ImageDataError(f"{path}: has no rows, expected images")
        labels = np.asarray(label.to_numpy(), dtype=np.int64)
        return _Shard(path, columns[0], labels, _class_names(path, schema), tuple(starts.tolist()))


def _check_type(path: Path, schema: pa.Schema, *, column: str) -> None:
    """Raise unless labels are integers and images structs of bytes."""
    import pyarrow as pa

    label, image = schema.field("label").type, schema.field(column).type
    if not pa.types.is_integer(label):
        raise ImageDataError(f"{path}: column label is of type {label}, expected integers")
    index = image.get_field_index("bytes") if pa.types.is_struct(image) else -1
    stored = image.field(index).type if index >= 0 else pa.null()
    if (stored.value_type if pa.types.is_dictionary(stored) else stored) not in (pa.binary(), pa.large_binary()):
        raise ImageDataError(f"{path}: column {column} is of type {image}, expected a struct with bytes: binary")


def _class_names(path: Path, schema: pa.Schema) -> tuple[str, ...] | None:
    """Return the class names of the Hugging Face metadata; None where there are none."""
    text = (schema.metadata or {}).get(b"huggingface")
    if text is None:
        return None
    expected = "Hugging Face metadata with the names of label"
    found = json_document(path, decoded(path, text, expected=expected), expected=expected)
    for key in ("info", "features", "label", "names"):  # any may be missing: the column was renamed, names are optional
        if not isinstance(found, dict):
            raise ImageDataError(f"{path}: its Hugging Face metadata is damaged, {key} is not in an object")
        found = found.get(key)
        if found is None:
            return None
    if not isinstance(found, list) or not found or not all(isinstance(name, str) for name in found):
        raise ImageDataError(f"{path}: its Hugging Face metadata is damaged, expected a list of the names of label")
    return tuple(found)


def _default_names(shards: Sequence[_Shard], shape: ImageShape) -> tuple[str, ...]:
    """Return the class names for files without them."""
    classes = len(np.unique(np.concatenate([shard.labels for shard in shards])))
    if classes == len(CIFAR_10_CLASSES) and shape == CIFAR_10_SHAPE:
        return CIFAR_10_CLASSES
    return tuple(f"class-{number}" for number in range(classes))


def _split(shards: Sequence[_Shard], *, classes: int, shape: ImageShape, resize: bool) -> Split:
    """Return one split over its files."""
    for shard in shards:
        for wrong in (shard.labels.min(), shard.labels.max()):
            if not 0 <= wrong < classes:
                row = np.argmax(shard.labels == wrong)
                raise ImageDataError(f"{shard.path}: label {wrong} in row {row}, expected 0 to {classes - 1}")
    where = f"{shards[0].path}" if len(shards) == 1 else f"{shards[0].path} and the like"
    labels = checked_labels(np.concatenate([shard.labels for shard in shards]), classes=classes, where=where)
    return Split(labels, partial(_decode, shards, shape=shape, resize=resize))


def _decode(shards: Sequence[_Shard], rows: Rows, *, shape: ImageShape, resize: bool) -> Pixels:
    """Decode rows in the order in which they are stored, so that each row group is read once."""
    unique, back = np.unique(rows, return_inverse=True)
    return decode_images(_encoded(shards, unique), count=len(unique), shape=shape, resize=resize)[back]


def _encoded(shards: Sequence[_Shard], rows: Rows) -> Iterator[EncodedImage]:
    """Yield the encoded images at increasing rows, one row group in memory at a time."""
    offset = 0
    for shard in shards:
        inside = rows[(rows >= offset) & (rows < offset + len(shard.labels))] - offset
        offset += len(shard.labels)
        if not inside.size:
            continue
        with _opened(shard.path) as file:
            for group, (start, stop) in enumerate(zip(shard.starts[:-1], shard.starts[1:], strict=True)):
                chosen = inside[(inside >= start) & (inside < stop)]
                if chosen.size:
                    images = file.read_row_group(group, columns=[f"{shard.column}.bytes"]).column(shard.column)
                    for row in chosen:
                        yield _image(f"{shard.path} row {row}", images[int(row - start)].as_py())


def _image(name: str, stored: dict[str, Any] | None) -> EncodedImage:
    content = None if stored is None else stored["bytes"]
    if not content:
        raise ImageDataError(f"{name}: no bytes of an image, expected an encoded image in each row")
    return EncodedImage(name, content)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a Parquet file; the same image in many rows is read once."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise ImageDataError(f"{path}: Parquet needs pyarrow: {install('realdata')}") from None
    columns = [f"{name}.bytes" for name in IMAGE_COLUMNS]
    with open_parquet_file(path, expected="a whole Parquet file", row_bytes=ROW_BYTES, as_numbers=columns) as file:
        yield file
