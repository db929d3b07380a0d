"""A user's files: regular, of bounded size and depth, or refused in one line.

Every reader of this project opens its files here. A name may be anything: a folder, a pipe that never ends, a device, a
loop of links, a file of terabytes, ten thousand brackets. Anything but a regular file is refused before it is opened,
too large a file before it is read, too deep a document before anything descends into it.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_LE
from io import BufferedReader
from typing import Any, TypeAlias

from loraml_theory.harness.errors import InputError

PathLike: TypeAlias = str | os.PathLike[str]

MEBIBYTE = 2**20
TOML_LIMIT = MEBIBYTE // 4
JSON_LIMIT = 32 * MEBIBYTE
"""A parsed text takes up to about 20 times this size in memory."""
DEPTH = 64
"""Levels of lists and tables; real files have far fewer."""

_NOT_BLOCKING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_MARKS = {BOM_UTF32_LE: "UTF-32", BOM_UTF16_LE: "UTF-16", BOM_UTF16_BE: "UTF-16"}
# tomllib takes quadratic time in the parts of a dotted key, so long ones are refused before it runs.
_LONG_KEY = re.compile(rf"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{DEPTH}}}""")


class InputFileError(InputError):
    """A file that cannot be used: its name, what was found, and what is expected."""

    def __init__(self, path: PathLike, text: str) -> None:
        super().__init__(f"{os.fspath(path)}: {text}")


def check_regular(path: PathLike, *, expected: str, limit: int | None = None) -> int:
    """Raise unless `path` is a regular file of at most `limit` bytes; return its size.

    For files that another library opens by name, such as Parquet and safetensors.

    Parameters
    ----------
    path
        A name; links are followed.
    expected
        What the file should be, for the error: "a TOML file".
    limit
        Largest size in bytes; any size if None.

    Raises
    ------
    InputFileError
        If the file does not exist, is not a regular file, cannot be read, or is too large.
    """
    try:
        found = os.stat(path)
    except OSError as problem:
        raise InputFileError(path, f"cannot be read ({problem.strerror}), expected {expected}") from None
    except ValueError as problem:  # a null byte in the name
        raise InputFileError(path, f"is not a file name ({problem}), expected {expected}") from None
    _check(path, found, expected, limit)
    return found.st_size


def open_input(path: PathLike, *, expected: str, limit: int | None = None) -> BufferedReader:
    """Open a regular file of at most `limit` bytes for reading; parameters and errors as for `check_regular`.

    The file is checked before it is opened, since opening alone may block or act on a device, and once more when it is
    open, since it may have been replaced.
    """
    check_regular(path, expected=expected, limit=limit)
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | _NOT_BLOCKING), "rb")
    except OSError as problem:
        raise InputFileError(path, f"cannot be read ({problem.strerror}), expected {expected}") from None
    try:
        _check(path, os.fstat(file.fileno()), expected, limit)
        # some files of /proc are regular but cannot be read, or would make the reader wait
        if not file.peek(1) and file.raw.read(1) is None:
            raise InputFileError(path, f"holds nothing yet, expected {expected}")
    except (OSError, InputFileError) as problem:
        file.close()
        if isinstance(problem, InputFileError):
            raise
        raise InputFileError(path, f"cannot be read ({problem.strerror}), expected {expected}") from None
    return file


def read_bytes(path: PathLike, *, expected: str, limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes; errors as for `check_regular`."""
    with open_input(path, expected=expected, limit=limit) as file:
        try:
            content = file.read(limit + 1)  # files of /proc have size 0
        except OSError as problem:
            raise InputFileError(path, f"cannot be read ({problem.strerror}), expected {expected}") from None
    if content is None or len(content) > limit:
        raise InputFileError(path, f"does not end within {size_text(limit)}, expected {expected} of at most that size")
    return content


def read_text(path: PathLike, *, expected: str, limit: int) -> str:
    """Return a UTF-8 text, without the byte order mark that some editors put first; errors as for `read_bytes`.

    Raises
    ------
    InputFileError
        Also if it is not UTF-8.
    """
    return decoded(path, read_bytes(path, expected=expected, limit=limit), expected=expected)


def decoded(path: PathLike, content: bytes, *, expected: str) -> str:
    """Decode UTF-8 with or without a byte order mark; `path` is named in the error.

    Raises
    ------
    InputFileError
        If it is not UTF-8.
    """
    for mark, name in _MARKS.items():
        if content.startswith(mark):
            raise InputFileError(path, f"begins with the byte order mark of {name}, expected {expected} in UTF-8")
    try:
        return content.removeprefix(BOM_UTF8).decode()
    except UnicodeDecodeError as problem:
        raise InputFileError(path, f"is not UTF-8 (byte {problem.start}), expected {expected} in UTF-8") from None


def read_json(path: PathLike, *, expected: str = "a JSON file", limit: int = JSON_LIMIT) -> Any:
    """Return the document of a JSON file, whose numbers are finite; errors as for `read_text`.

    Raises
    ------
    InputFileError
        Also if it is not JSON, holds NaN or infinity, or is nested more than `DEPTH` deep.
    """
    return json_document(path, read_text(path, expected=expected, limit=limit), expected=expected)


def json_document(path: PathLike, text: str, *, expected: str = "a JSON file") -> Any:
    """Parse JSON as `read_json` does; `path` is named in the error."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not a JSON number")

    try:
        document = json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise _too_deep(path, expected) from None
    except ValueError as problem:  # also a number of thousands of digits
        raise InputFileError(path, f"is not JSON: {problem}; expected {expected}") from None
    return _checked_depth(path, document, expected)


def read_toml(path: PathLike, *, expected: str = "a TOML file", limit: int = TOML_LIMIT) -> dict[str, Any]:
    """Return the document of a TOML file; errors as for `read_text`.

    Raises
    ------
    InputFileError
        Also if it is not TOML or is nested more than `DEPTH` deep.
    """
    return toml_document(path, read_text(path, expected=expected, limit=limit), expected=expected)


def toml_document(path: PathLike, text: str, *, expected: str = "a TOML file") -> dict[str, Any]:
    """Parse TOML as `read_toml` does; `path` is named in the error."""
    if _LONG_KEY.search(text):
        raise _too_deep(path, expected)
    try:
        document = tomllib.loads(text.replace("\r\n", "\n"))
    except RecursionError:
        raise _too_deep(path, expected) from None
    except ValueError as problem:  # also a number of thousands of digits
        raise InputFileError(path, f"is not TOML: {problem}; expected {expected}") from None
    return _checked_depth(path, document, expected)


def _check(path: PathLike, found: os.stat_result, expected: str, limit: int | None) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "not a regular file"
        raise InputFileError(path, f"is {kind}, expected {expected}")
    if limit is not None and found.st_size > limit:
        raise InputFileError(
            path, f"is of {size_text(found.st_size)}, expected {expected} of at most {size_text(limit)}"
        )


def _checked_depth(path: PathLike, document: Any, expected: str) -> Any:
    level = [document]
    for _ in range(DEPTH):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return document
    raise _too_deep(path, expected)


def _inside(value: Any) -> list[Any]:
    """Return the lists and tables directly inside a list or a table."""
    if not isinstance(value, (dict, list)):
        return []
    return [item for item in (value.values() if isinstance(value, dict) else value) if isinstance(item, (dict, list))]


def _too_deep(path: PathLike, expected: str) -> InputFileError:
    return InputFileError(path, f"is nested too deeply, expected {expected} of at most {DEPTH} levels")


def size_text(count: int) -> str:
    """Return a number of bytes as people write it.

    Examples
    --------
    >>> size_text(900), size_text(2**18), size_text(3 * 2**30)
    ('900 bytes', '256 KiB', '3 GiB')
    """
    for unit, name in ((2**30, "GiB"), (MEBIBYTE, "MiB"), (2**10, "KiB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count} bytes"
