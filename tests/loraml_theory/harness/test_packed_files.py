"""A gzipped file is read as what it holds, up to a bound on its unpacked size."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from loraml_theory.harness import packed_files
from loraml_theory.harness.input_files import InputFileError
from loraml_theory.harness.packed_files import open_packed


def content(path: Path) -> bytes:
    with open_packed(path, expected="a text") as file:
        return file.read()


@pytest.mark.parametrize("text", [b"", b"a text", b"many lines\n" * 10_000], ids=["empty", "short", "long"])
def test_plain_and_packed_files_hold_the_same(tmp_path: Path, text: bytes) -> None:
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    plain.write_bytes(text)
    packed.write_bytes(gzip.compress(text))
    assert content(plain) == content(packed) == text


def test_more_than_its_size_allows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_files, "SMALL", 1000)
    (tmp_path / "bomb").write_bytes(gzip.compress(bytes(10**6)))
    with pytest.raises(InputFileError, match=r"bomb: unpacks to more than .* expected a text"):
        content(tmp_path / "bomb")


def test_damage_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "cut").write_bytes(gzip.compress(b"a text" * 100)[:-4])
    with pytest.raises(EOFError):
        content(tmp_path / "cut")


def test_terabytes_of_holes_after_the_content_are_refused_at_once(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.write(gzip.compress(b"a text"))
        file.truncate(2**40)
        if packed_files._first_hole(file.fileno()) >= 2**40:
            pytest.skip("the file system does not tell where holes are")
    with pytest.raises(InputFileError, match="with holes in them, expected a text"):
        content(tmp_path / "sparse")
