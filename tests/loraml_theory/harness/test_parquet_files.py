"""A Parquet file is read if what it declares fits its size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loraml_theory.harness import parquet_files
from loraml_theory.harness.input_files import InputFileError
from loraml_theory.harness.parquet_files import open_parquet, with_texts


def read(path: Path) -> pa.Table:
    with open_parquet(path, expected="a table", row_bytes=8, as_numbers=("word", "absent")) as file:
        return with_texts(path, file.read(), expected="a table")


def write(path: Path, words: list[str | None]) -> pa.Table:
    table = pa.table({"word": pa.array(words, pa.string()), "number": np.arange(float(len(words)))})
    pq.write_table(table, path)
    return table


@pytest.mark.parametrize("words", [[], ["a", None, "a", "bcd"]], ids=["empty", "some"])
def test_a_table_is_read_with_its_texts(tmp_path: Path, words: list[str | None]) -> None:
    table = write(tmp_path / "table", words)
    assert read(tmp_path / "table").equals(table)


def test_more_rows_than_the_size_allows_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "table", ["a"] * 100_000)
    monkeypatch.setattr(parquet_files, "SMALL", 1000)
    monkeypatch.setattr(parquet_files, "RATIO", 1)
    with pytest.raises(InputFileError, match="table: declares 100000 rows"):
        read(tmp_path / "table")


def test_longer_texts_than_the_size_allows_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = write(tmp_path / "table", ["a" * 1000] * 1000)
    numbers = table.set_column(0, "word", table["word"].dictionary_encode())
    monkeypatch.setattr(parquet_files, "SMALL", 1000)
    monkeypatch.setattr(parquet_files, "RATIO", 1)
    with pytest.raises(InputFileError, match="has texts of 1000000 bytes"):
        with_texts(tmp_path / "table", numbers, expected="a table")


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "table").write_bytes(b"PAR1 and no more")
    with pytest.raises(InputFileError, match="cannot be read as Parquet") as refused:
        read(tmp_path / "table")
    assert "\n" not in str(refused.value)
