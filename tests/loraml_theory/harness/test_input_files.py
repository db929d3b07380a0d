"""What is not a regular file of bounded size and depth is one line, at once; what is right is read."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loraml_theory.harness import input_files
from loraml_theory.harness.errors import InputError
from loraml_theory.harness.input_files import (
    DEPTH,
    InputFileError,
    check_regular,
    open_input,
    read_bytes,
    read_json,
    read_text,
    read_toml,
)

Read = Callable[[Path], Any]
READERS: dict[str, Read] = {
    "check": lambda path: check_regular(path, expected="a text", limit=1000),
    "open": lambda path: open_input(path, expected="a text", limit=1000),
    "bytes": lambda path: read_bytes(path, expected="a text", limit=1000),
    "text": lambda path: read_text(path, expected="a text", limit=1000),
    "json": lambda path: read_json(path, limit=1000),
    "toml": lambda path: read_toml(path, limit=1000),
}


def refusal(read: Read, path: Path) -> str:
    with pytest.raises(InputFileError) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message
    assert isinstance(caught.value, InputError)
    return message


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("reader", READERS)
def test_what_is_not_a_regular_file_is_refused_at_once(tmp_path: Path, reader: str) -> None:
    read = READERS[reader]
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "to a device").symlink_to("/dev/zero")
    assert "pipe: is not a regular file, expected a" in refusal(read, tmp_path / "pipe")
    assert "is not a regular file" in refusal(read, Path("/dev/zero"))
    assert "is not a regular file" in refusal(read, tmp_path / "to a device")
    assert "is a folder" in refusal(read, tmp_path)
    assert "cannot be read (Too many levels of symbolic links)" in refusal(read, tmp_path / "loop")
    assert "cannot be read (No such file or directory)" in refusal(read, tmp_path / "two\nlines")
    assert "is not a file name (" in refusal(read, Path("a\0b"))
    assert "cannot be read (File name too long)" in refusal(read, tmp_path / ("x" * 4000))


@pytest.mark.parametrize("reader", READERS)
def test_what_is_too_large_is_refused_unread(tmp_path: Path, reader: str) -> None:
    path = written(tmp_path / "large", b"")
    os.truncate(path, 2**40)  # takes no place
    tracemalloc.start()
    message = refusal(READERS[reader], path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "is of 1.02e+03 GiB, expected a" in message
    assert "of at most 1000 bytes" in message
    assert peak < 2**20


def test_a_name_of_thousands_of_characters_is_cut_in_the_message(tmp_path: Path) -> None:
    assert len(refusal(READERS["text"], tmp_path / ("x" * 4000))) < 1100


def test_a_file_that_says_it_is_empty_is_read_to_its_limit_only() -> None:
    """Files of /proc have no size until they are read."""
    path = Path("/proc/self/maps")
    if not path.exists():
        pytest.skip("needs /proc")
    assert path.stat().st_size == 0
    assert "does not end within 10 bytes" in refusal(lambda p: read_bytes(p, expected="a text", limit=10), path)


@pytest.mark.parametrize("reader", sorted(READERS.keys() - {"check"}))
def test_a_file_that_is_regular_and_cannot_be_read_is_refused(reader: str) -> None:
    path = Path("/proc/self/mem")
    if not path.exists():
        pytest.skip("needs /proc")
    assert "cannot be read (Input/output error)" in refusal(READERS[reader], path)


def test_a_file_that_takes_the_place_of_another_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "file", "small")
    opened = os.open

    def swapped(name: Any, flags: int) -> int:
        path.unlink()
        os.mkfifo(path)
        return opened(name, flags)

    monkeypatch.setattr(os, "open", swapped)
    assert "is not a regular file" in refusal(READERS["bytes"], path)


def test_what_is_right_is_read(tmp_path: Path) -> None:
    assert check_regular(written(tmp_path / "a", "four"), expected="a text") == 4
    with open_input(tmp_path / "a", expected="a text") as file:
        assert file.read() == b"four"
    (tmp_path / "link").symlink_to("a")
    assert read_bytes(tmp_path / "link", expected="a text", limit=4) == b"four"
    assert read_text(written(tmp_path / "mark", b"\xef\xbb\xbf\xc3\xa9"), expected="a text", limit=9) == "é"
    assert read_json(written(tmp_path / "b.json", '\ufeff{"a": [1, 2.5, null]}')) == {"a": [1, 2.5, None]}
    assert read_toml(written(tmp_path / "c.toml", '\ufeffa.b = 1\r\n[c]\r\nd = "x"\r\n')) == {
        "a": {"b": 1},
        "c": {"d": "x"},
    }


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"\xff\xfea\x00", "begins with the byte order mark of UTF-16"),
        (b"\xfe\xff\x00a", "begins with the byte order mark of UTF-16"),
        (b"\xff\xfe\x00\x00a\x00\x00\x00", "begins with the byte order mark of UTF-32"),
        (b"ab\xffc", "is not UTF-8 (byte 2)"),
    ],
    ids=["UTF-16, little", "UTF-16, big", "UTF-32", "not UTF-8"],
)
def test_other_encodings_are_named(tmp_path: Path, content: bytes, text: str) -> None:
    assert f"{text}, expected a text in UTF-8" in refusal(READERS["text"], written(tmp_path / "a", content))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("NaN", "NaN is not a JSON number"),
        ('{"a": -Infinity}', "-Infinity is not a JSON number"),
        ("9" * 5000, "is not JSON"),
        ("[" * 100_000 + "]" * 100_000, "is nested too deeply"),
        ('{"a":' * 5000 + "1" + "}" * 5000, "is nested too deeply"),
        ("[" * (DEPTH + 1) + "]" * (DEPTH + 1), "is nested too deeply"),
    ],
    ids=["empty", "cut", "NaN", "infinity", "digits", "lists", "tables", "one level too many"],
)
def test_what_is_not_json_is_named(tmp_path: Path, content: str, text: str) -> None:
    assert text in refusal(read_json, written(tmp_path / "a.json", content))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("a = ", "is not TOML"),
        ("a = 1\na = 2", "is not TOML"),
        ("a = " + "9" * 5000, "is not TOML"),
        ("a = " + "[" * 100_000, "is nested too deeply"),
        ("a = " + "{a = " * 5000, "is nested too deeply"),
        ("a" + ".a" * 100_000 + " = 1", "is nested too deeply"),
        ('a."b"' + " . 'c'" * 30_000 + " = 1", "is nested too deeply"),
        ("[a" + ".a" * DEPTH + "]", "is nested too deeply"),
    ],
    ids=["cut", "twice", "digits", "open lists", "open tables", "dotted", "dotted and quoted", "one level too many"],
)
def test_what_is_not_toml_is_named(tmp_path: Path, content: str, text: str) -> None:
    """A key of a hundred thousand parts would cost the parser hours."""
    assert text in refusal(read_toml, written(tmp_path / "a.toml", content))


def test_the_deepest_that_is_allowed_is_read(tmp_path: Path) -> None:
    document = read_json(written(tmp_path / "a.json", "[" * DEPTH + "]" * DEPTH))
    for _ in range(DEPTH - 1):
        (document,) = document
    assert document == []
    assert read_toml(written(tmp_path / "a.toml", "x = [" + "0.1, " * 1000 + "]"))["x"] == [0.1] * 1000


def test_a_file_that_would_make_its_reader_wait_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As some of /proc do, though they are regular."""
    (tmp_path / "file").write_bytes(b"")
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    monkeypatch.setattr(input_files, "_check", lambda *_: None)
    monkeypatch.setattr(os, "open", lambda *_: reading)
    with pytest.raises(InputFileError, match="holds nothing yet, expected a text"):
        open_input(tmp_path / "file", expected="a text")
    monkeypatch.undo()
    os.close(writing)
