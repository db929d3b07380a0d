"""The hub's Parquet layout: exact images at chosen rows, and one line for whatever is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loraml_theory.harness.errors import InputError
from realdata.vision.cifar_batches import CIFAR_10_CLASSES
from realdata.vision.images import ImageDataError
from realdata.vision.parquet import open_parquet
from realdata.vision.parquet_names import parquet_files
from tests.realdata.vision.made import NAMES, cycle, drawn_pixels, encoded, write_parquet

TRAIN, TEST = drawn_pixels(0, 23), drawn_pixels(1, 9)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_parquet(tmp_path, "train", list(TRAIN), cycle(23))
    write_parquet(tmp_path, "test", list(TEST), cycle(9))
    return tmp_path


def test_images_labels_and_names(folder: Path) -> None:
    source = open_parquet(folder)
    assert source.class_names == NAMES
    assert source.shape == (8, 8, 3)
    assert source.mirrored
    np.testing.assert_array_equal(source.train.labels, cycle(23))
    np.testing.assert_array_equal(source.test.labels, cycle(9))
    np.testing.assert_array_equal(source.train.images(np.arange(23)), TRAIN)
    np.testing.assert_array_equal(source.test.images(np.arange(9)), TEST)


def test_rows_in_any_order_and_twice(folder: Path) -> None:
    rows = np.array([22, 0, 9, 22, 5, 4, 10])
    np.testing.assert_array_equal(open_parquet(folder).train.images(rows), TRAIN[rows])
    assert open_parquet(folder).train.images([]).shape == (0, 8, 8, 3)


def test_several_files_a_split(tmp_path: Path) -> None:
    for number, (start, stop) in enumerate([(0, 7), (7, 8), (8, 23)]):
        write_parquet(tmp_path, "train", list(TRAIN[start:stop]), cycle(23)[start:stop], shard=f"0000{number}-of-00003")
    write_parquet(tmp_path, "test", list(TEST), cycle(9))
    rows = np.array([8, 22, 7, 6, 0])
    np.testing.assert_array_equal(open_parquet(tmp_path).train.images(rows), TRAIN[rows])


def test_only_what_is_asked_for_is_decoded(tmp_path: Path) -> None:
    write_parquet(tmp_path, "train", [*TRAIN[:12], b"no image", *TRAIN[13:]], cycle(23))
    path = write_parquet(tmp_path, "test", list(TEST), cycle(9))
    source = open_parquet(tmp_path)
    assert len(source.train.images([11, 13])) == 2
    with pytest.raises(ImageDataError) as raised:
        source.train.images([11, 12, 13])
    assert str(raised.value).startswith(f"{path.with_name('train-00000-of-00001.parquet')} row 12: not an image")


@pytest.mark.parametrize(("classes", "side", "cifar"), [(10, 32, True), (10, 8, False), (4, 32, False)])
def test_names_where_the_files_have_none(tmp_path: Path, classes: int, side: int, cifar: bool) -> None:
    images = list(drawn_pixels(0, classes, side))
    for split in ("train", "test"):
        write_parquet(tmp_path, split, images, cycle(classes, classes), names=None, column="image")
    numbered = tuple(f"class-{number}" for number in range(classes))
    assert open_parquet(tmp_path).class_names == (CIFAR_10_CLASSES if cifar else numbered)


def test_resized(folder: Path) -> None:
    write_parquet(folder, "test", [*TEST[:8], drawn_pixels(2, 1, 12)[0]], cycle(9))
    with pytest.raises(ImageDataError, match="row 8: 12 by 12 pixels, expected 8 by 8"):
        open_parquet(folder).test.images([8])
    assert open_parquet(folder, size=6).test.images([8]).shape == (1, 6, 6, 3)


def test_found_right_inside(tmp_path: Path) -> None:
    assert parquet_files(tmp_path) is None
    train = write_parquet(tmp_path / "plain_text", "train", list(TRAIN), cycle(23))
    test = write_parquet(tmp_path / "plain_text", "test", list(TEST), cycle(9))
    for folder in (tmp_path, tmp_path / "plain_text"):
        assert parquet_files(folder) == {"train": [train], "test": [test]}


LABELS: list[tuple[Any, str]] = [
    ([0, 1, 2, 4], "label 4 in row 3, expected 0 to 3"),
    ([0, 1, 2, -1], "label -1 in row 3, expected 0 to 3"),
    ([0, 1, 2, 2], "no image has label 3"),
    ([0, 1, 2, None], "rows without a label: 1, expected an integer in each"),
    ([0.0, 1.0, 2.0, 3.0], "column label is of type double, expected integers"),
    (["a", "b", "c", "d"], "column label is of type string, expected integers"),
    ([True, False, True, False], "column label is of type bool, expected integers"),
]


@pytest.mark.parametrize(("labels", "message"), LABELS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_wrong_labels(folder: Path, split: str, labels: Any, message: str) -> None:
    path = write_parquet(folder, split, list(TEST[:4]), pa.array(labels))
    with pytest.raises(ImageDataError) as raised:
        open_parquet(folder)
    assert str(raised.value).startswith(f"{path}: {message}")


def test_gap_in_labels_without_names(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_parquet(tmp_path, split, list(TEST[:4]), [0, 1, 2, 4], names=None)
    with pytest.raises(ImageDataError, match="label 4 in row 3, expected 0 to 3"):
        open_parquet(tmp_path)


def table_without(column: str) -> pa.Table:
    images = pa.array([{"bytes": encoded(image), "path": None} for image in TEST[:4]])
    full = {"img": images, "label": pa.array(range(4))}
    return pa.table({name: values for name, values in full.items() if name != column})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (table_without("img"), "columns are label; expected label, and img or image"),
        (table_without("label"), "columns are img; expected label, and img or image"),
        (pa.table({"img": [b"a"], "label": [0]}), "column img is of type binary, expected a struct with bytes: binary"),
        (pa.table({"img": [{"path": "a"}], "label": [0]}), "column img is of type struct<path: string>"),
        (table_without("").slice(0, 0), "has no rows, expected images"),
        (table_without("").replace_schema_metadata({"huggingface": "{"}), "is not JSON: "),
        (
            table_without("").replace_schema_metadata({"huggingface": "[" * 9999}),
            "is nested too deeply, expected Hugging",
        ),
        (table_without("").replace_schema_metadata({"huggingface": "[]"}), "its Hugging Face metadata is damaged"),
    ],
)
def test_other_tables(folder: Path, table: pa.Table, message: str) -> None:
    path = folder / "train-00000-of-00001.parquet"
    pq.write_table(table, path)
    with pytest.raises(InputError) as raised:
        open_parquet(folder)
    assert str(raised.value).startswith(f"{path}: {message}")


def test_other_names_in_the_test_split(folder: Path) -> None:
    write_parquet(folder, "test", list(TEST), cycle(9), names=("ant", "bee", "dog", "cow"))
    with pytest.raises(ImageDataError, match="its files name different classes, expected the same in all"):
        open_parquet(folder)


@pytest.mark.parametrize("content", [None, b""])
def test_image_without_bytes(folder: Path, content: bytes | None) -> None:
    path = write_parquet(folder, "test", [*TEST[:8], content], cycle(9))
    with pytest.raises(ImageDataError) as raised:
        open_parquet(folder).test.images([8])
    assert str(raised.value) == f"{path} row 8: no bytes of an image, expected an encoded image in each row"


@pytest.mark.parametrize("keep", [0, 3, 50, 0.5, 0.99])
def test_damaged_file(folder: Path, keep: float) -> None:
    path = folder / "test-00000-of-00001.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if isinstance(keep, int) else int(keep * len(whole))])
    with pytest.raises(InputError) as raised:
        open_parquet(folder)
    assert str(raised.value).startswith(f"{path}: cannot be read as Parquet (")
    assert "\n" not in str(raised.value)


def test_damage_between_head_and_foot(folder: Path) -> None:
    path = folder / "train-00000-of-00001.parquet"
    column = pq.ParquetFile(path).metadata.row_group(2).column(0)
    content = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    content[start : start + column.total_compressed_size] = bytes(column.total_compressed_size)
    path.write_bytes(content)
    source = open_parquet(folder)
    assert len(source.train.images([0])) == 1  # of another row group
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        source.train.images([12])


@pytest.mark.parametrize("twice", ["img", "label"])
def test_a_column_that_is_there_twice(folder: Path, twice: str) -> None:
    path = folder / "train-00000-of-00001.parquet"
    table = pq.read_table(path)
    pq.write_table(table.append_column(twice, table.column(twice)), path)
    with pytest.raises(ImageDataError) as raised:
        open_parquet(folder)
    assert str(raised.value) == f"{path}: has 2 columns {twice}, expected one"


def named(folder: Path, *names: str) -> Path:
    """Make empty files."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


FOUND = [
    (["train.parquet", "test.parquet"], ["train.parquet"]),
    (["train-b.parquet", "train-a.parquet", "test-x.parquet"], ["train-a.parquet", "train-b.parquet"]),
    (["train/0000.parquet", "test/0000.parquet", "validation/0000.parquet"], ["train/0000.parquet"]),
    (
        ["c/train/0001.parquet", "c/train/0000.parquet", "c/test/0000.parquet"],
        ["c/train/0000.parquet", "c/train/0001.parquet"],
    ),
    (
        ["data/train-00000-of-00001-0a1b2c3d.parquet", "data/test-00000-of-00001-9f.parquet"],
        ["data/train-00000-of-00001-0a1b2c3d.parquet"],
    ),
    (
        ["train-00001-of-00002-0a.parquet", "train-00000-of-00002-ff.parquet", "test-00000-of-00001.parquet"],
        ["train-00000-of-00002-ff.parquet", "train-00001-of-00002-0a.parquet"],
    ),
    (
        ["train/train-00000-of-00001.parquet", "test/test-00000-of-00001.parquet"],
        ["train/train-00000-of-00001.parquet"],
    ),
    (["train.parquet", "test.parquet", "._train.parquet", "train/._0.parquet", "train/a.txt"], ["train.parquet"]),
]


@pytest.mark.parametrize(("names", "train"), FOUND)
def test_files_of_a_split_are_found_by_their_names(tmp_path: Path, names: list[str], train: list[str]) -> None:
    found = parquet_files(named(tmp_path, *names))
    assert found is not None
    assert [path.relative_to(tmp_path).as_posix() for path in found["train"]] == train
    assert len(found["test"]) == 1


LACKING = [
    (["train-a.parquet"], "no test-*.parquet, expected train-*.parquet and test-*.parquet, or folders"),
    (["training.parquet", "test.parquet"], "no train-*.parquet, expected"),
    (["0000.parquet"], "has Parquet files, but none of a split ("),
    (["plain_text/partial-train/0000.parquet"], "has Parquet files, but none of a split ("),
    (["a/train.parquet", "a/test.parquet", "b/train/0.parquet", "b/test/0.parquet"], "holds several data sets ("),
    (["train-00000-of-00002-0a1b.parquet", "test.parquet"], "files of train: 1 of 2, number 1 is missing ("),
    (["train-00001-of-00001.parquet", "test.parquet"], "files of train: 1 of 1, number 0 is missing ("),
    (["train/0000.parquet", "train/0002.parquet", "test/0000.parquet"], "files of train: 2 of 3, number 1 is missing"),
    (
        ["train-00000-of-00001-0a.parquet", "train-00000-of-00001-0b.parquet", "test.parquet"],
        "train-00000-of-00001-0a.parquet and another file have one number, expected each number once",
    ),
    (
        [f"train-0000{number}-of-0000{count}.parquet" for number, count in ((0, 2), (0, 3), (1, 2))] + ["test.parquet"],
        "files of train: are numbered as one of 2 and as one of 3, expected one",
    ),
    (
        ["train-00000-of-00001 (1).parquet", "train-00000-of-00001.parquet", "test.parquet"],
        "(1).parquet: is next to numbered files of train, expected only those",
    ),
]


@pytest.mark.parametrize(("names", "message"), LACKING)
def test_names_that_lack_something_are_refused(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(ImageDataError) as raised:
        parquet_files(named(tmp_path, *names))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "features", [None, {}, {"labels": {"names": ["a"]}}, {"label": {"_type": "Value"}}, {"label": {"names": None}}]
)
def test_metadata_without_names_of_classes_are_read(tmp_path: Path, features: dict[str, Any] | None) -> None:
    """As a column has them that another tool renamed."""
    metadata = json.dumps({"info": {} if features is None else {"features": features}}).encode()
    for split, images in (("train", TRAIN), ("test", TEST)):
        write_parquet(tmp_path, split, list(images), cycle(len(images)), names=None, metadata=metadata)
    assert open_parquet(tmp_path).class_names == ("class-0", "class-1", "class-2", "class-3")


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_an_image_that_many_rows_repeat_is_read_once(tmp_path: Path, kind: pa.DataType) -> None:
    """A thousand times 200 kilobytes, in some kilobytes of Parquet."""
    content = encoded(TRAIN[0]) + bytes(200_000)
    rows = pa.array([{"bytes": content}] * 1000, pa.struct([("bytes", kind)]))
    for split in ("train", "test"):
        pq.write_table(pa.table({"image": rows, "label": np.arange(1000) % 4}), tmp_path / f"{split}.parquet")
    del rows
    source = open_parquet(tmp_path)
    seen: list[int] = []
    with monitored(seen):
        images = source.train.images([5, 999])
    np.testing.assert_array_equal(images, TRAIN[[0, 0]])
    assert max(seen) < 2**20


@contextmanager
def monitored(seen: list[int]) -> Iterator[None]:
    """Note how large each row group is that is read."""
    real = pq.ParquetFile.read_row_group

    def read(*words: Any, **options: Any) -> pa.Table:
        table = real(*words, **options)
        seen.append(table.nbytes)
        return table

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pq.ParquetFile, "read_row_group", read)
        yield


def test_rows_beyond_the_size_of_the_file_are_refused(tmp_path: Path) -> None:
    labels = pa.DictionaryArray.from_arrays(np.zeros(20_000_000, np.int8), pa.array([0]))
    for split in ("train", "test"):
        pq.write_table(pa.table({"label": labels}), tmp_path / f"{split}.parquet")
    with pytest.raises(InputError, match=r"train\.parquet: declares 20000000 rows of \d+ bytes in all"):
        open_parquet(tmp_path)
