"""Files of every form, and one line for what cannot be read."""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from loraml_theory.harness.errors import InputError
from realdata.text.files import Source, digests, read_source, source_of

ROWS = [{"text": "a fine film", "label": 1}, {"text": "a, dull one", "label": 0}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
TABLE = pa.Table.from_pylist(ROWS)


def written(folder: Path, name: str) -> Path:
    path = folder / name
    kind = name.removesuffix(".gz").rpartition(".")[2]
    if kind == "parquet":
        pyarrow.parquet.write_table(TABLE, path)
        return path
    if kind == "csv":
        pyarrow.csv.write_csv(TABLE, path)
    else:
        path.write_text(json.dumps(ROWS, indent=1) if kind == "json" else LINES, "utf-8")
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(path.read_bytes()))
    return path


@pytest.mark.parametrize(
    "name", ["x.jsonl", "x.jsonl.gz", "x.json", "x.json.gz", "x.csv", "x.csv.gz", "x.parquet", "lines.json"]
)
def test_every_form_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name)
    if name == "lines.json":  # JSON Lines by another ending
        path.write_text(LINES, "utf-8")
    (rows,) = read_source(Source("x", (path,))).values()
    assert rows.data.to_list() == ROWS
    assert rows.where == str(path)


def test_a_saved_folder_is_read_with_its_splits(tmp_path: Path) -> None:
    data = datasets.Dataset.from_list(ROWS)
    data.save_to_disk(tmp_path / "one")
    assert list(read_source(Source("x", (tmp_path / "one",)))) == ["all"]
    datasets.DatasetDict({"train": data, "dev": data, "test": data}).save_to_disk(tmp_path / "splits")
    found = read_source(Source("x", (tmp_path / "splits",)))
    assert list(found) == ["train", "validation", "test"]
    assert found["test"].data.to_list() == ROWS
    datasets.DatasetDict({"train": data, "odd": data}).save_to_disk(tmp_path / "odd")
    with pytest.raises(InputError, match="has the splits train, odd; expected train, and perhaps validation and test"):
        read_source(Source("x", (tmp_path / "odd",)))


def test_two_files_are_for_training_and_for_testing(tmp_path: Path) -> None:
    source = source_of(f"x={written(tmp_path, 'x.jsonl')},{written(tmp_path, 'x.csv')}", option="--task")
    assert {part: len(rows.data) for part, rows in read_source(source).items()} == {"train": 2, "test": 2}
    assert len(set(digests(source))) == 2


def test_words_that_pandas_takes_for_nothing_are_texts(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("text,label\nnull,NA\nnan,None\n", "utf-8")
    (rows,) = read_source(Source("x", (path,))).values()
    assert rows.data.to_list() == [{"text": "null", "label": "NA"}, {"text": "nan", "label": "None"}]


@pytest.mark.parametrize("name", ["x.csv", "x.json", "x.jsonl"])
@pytest.mark.parametrize("text", ["text,label\n", "text,label", "\n\n", "  "])
def test_a_file_without_rows_is_said_to_have_none(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text if name == "x.csv" else {"x.json": "[]", "x.jsonl": "\n"}[name], "utf-8")
    with pytest.raises(InputError) as caught:
        read_source(Source("x", (path,)))
    assert str(caught.value).startswith(f"{path}: has no rows, expected JSON Lines")


def test_a_file_to_train_on_is_not_tested_on(tmp_path: Path) -> None:
    path = written(tmp_path, "x.jsonl")
    with pytest.raises(InputError, match=r"expected another file to test on than to train on$"):
        source_of(f"x={path},{tmp_path}/./x.jsonl", option="--task")


@pytest.mark.parametrize("text", ["x", "=file", "x=", "x=a,b,c", ""])
def test_what_names_no_source_is_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        source_of(text, option="--task")
    assert str(caught.value) == f"--task: got {text!r}, expected NAME=FILE or NAME=TRAIN,TEST"


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("x.txt", b"hello", "is of an unknown form, expected JSON Lines, a JSON list, CSV or Parquet"),
        ("x.jsonl", b"", "is empty, expected"),
        ("x.jsonl", b"{oh no", "expected JSON Lines"),
        ("x.csv", b"text,label\na fine film,1,2\na dull one,0,2\n", "Length of header or names does not match"),
        ("x.parquet", b"PAR1 or not", "expected JSON Lines"),
        ("x.json.gz", b"not compressed", "expected JSON Lines"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, name: str, content: bytes, text: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_source(Source("x", (path,)))
    assert str(caught.value).startswith(f"{path}: ")
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.jsonl: cannot be read \(No such file or directory\)"):
        read_source(Source("x", (tmp_path / "none.jsonl",)))
    with pytest.raises(InputError, match="expected a folder of datasets' save_to_disk"):
        read_source(Source("x", (tmp_path,)))


def test_the_hash_of_a_folder_is_that_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = digests(Source("x", (tmp_path,)))
    assert before == digests(Source("x", (tmp_path,)))
    (tmp_path / "a").write_text("2")
    assert before != digests(Source("x", (tmp_path,)))


def test_what_is_damaged_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "half.jsonl").write_text('{"text": "x", "label": "a"}\n{"text": \n')
    said: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = said.append  # type: ignore[method-assign, assignment]
    logging.getLogger("datasets").addHandler(handler)
    try:
        with pytest.raises(InputError, match=r"half\.jsonl: .*JSON.*; expected JSON Lines"):
            read_source(Source("a", (tmp_path / "half.jsonl",)))
    finally:
        logging.getLogger("datasets").removeHandler(handler)
    assert said == []
