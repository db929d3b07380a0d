"""Rows of a user's files: JSON Lines, a JSON list, CSV, Parquet, or a folder that `datasets` has saved."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from loraml_theory.harness.errors import InputError, one_line, reason
from loraml_theory.harness.input_files import check_regular, open_input

if TYPE_CHECKING:
    from datasets import Dataset

FORMATS = {".json": "json", ".jsonl": "json", ".ndjson": "json", ".csv": "csv", ".parquet": "parquet"}
OPTIONS: Mapping[str, Mapping[str, Any]] = {"csv": {"keep_default_na": False, "index_col": False}}
"""Of a form, for `datasets`: NA, None and null are texts, and no column is taken for the numbers of the rows."""
NO_ROWS = ("corresponds to no data", "No columns to parse")
"""What `datasets` and pandas say of a file that has at most the names of its fields."""
LONGEST_NAME = 200  # bytes as part of a file's name, which a file system limits to 255
EXPECTED = "JSON Lines, a JSON list, CSV or Parquet by its ending (.jsonl, .json, .csv, .parquet, also with .gz)"
SPLITS = {"train": "train", "validation": "validation", "valid": "validation", "dev": "validation", "test": "test"}
"""Names of splits in a saved folder, and the part of a task that each is."""


class Source(NamedTuple):
    """A task's name, and where its rows are: one path for all of them, or two or three for its parts.

    Two paths are for training and testing, three for training, validation and testing.
    """

    name: str
    paths: tuple[Path, ...]


class Rows(NamedTuple):
    """Some rows of a task and where they are from, for errors."""

    where: str
    data: Dataset


def source_of(text: str, *, option: str) -> Source:
    """Return the source that a command names as ``NAME=FILE`` or ``NAME=TRAIN,TEST``.

    Raises
    ------
    InputError
        If the text is of another form.
    """
    name, equals, paths = text.partition("=")
    found = tuple(Path(path.strip()) for path in paths.split(",") if path.strip())
    if not (name.strip() and equals and len(found) in (1, 2)):
        raise InputError(f"{option}: got {text!r}, expected NAME=FILE or NAME=TRAIN,TEST")
    if len(found) == 2 and os.path.realpath(found[0]) == os.path.realpath(found[1]):
        raise InputError(f"{option}: got {text!r}, expected another file to test on than to train on")
    if len(quote(name.strip())) > LONGEST_NAME:
        raise InputError(
            f"{option}: got the name {one_line(name)[:40]}…, expected one that can be part of a file's name"
        )
    return Source(name.strip(), found)


def read_source(source: Source) -> Mapping[str, Rows]:
    """Return the rows of a source: all of them under ``all``, or those that it gives for ``train`` and other parts.

    Raises
    ------
    InputError
        If a file cannot be read.
    """
    if len(source.paths) > 1:
        parts = ("train", "test") if len(source.paths) == 2 else ("train", "validation", "test")
        return {part: _rows(path) for part, path in zip(parts, source.paths, strict=True)}
    path = source.paths[0]
    return _saved(path) if path.is_dir() else {"all": _rows(path)}


def digests(source: Source) -> list[str]:
    """Return the SHA-256 of every path of a source, of a folder that of its files with their names."""
    return [_folder_digest(path) if path.is_dir() else _digest(path) for path in source.paths]


def _rows(path: Path) -> Rows:
    """Return the rows of one file."""
    import datasets

    ending = Path(path.name.removesuffix(".gz")).suffix.lower()
    if path.is_dir() or ending not in FORMATS:
        raise InputError(f"{path}: {'is a folder' if path.is_dir() else 'is of an unknown form'}, expected {EXPECTED}")
    if check_regular(path, expected=EXPECTED) == 0:
        raise InputError(f"{path}: is empty, expected {EXPECTED}")
    form = FORMATS[ending]
    with _quiet(), TemporaryDirectory() as cache, warnings.catch_warnings():
        warnings.filterwarnings("error", message="Length of header")  # pandas would leave out what has no name
        try:
            data = datasets.load_dataset(
                form, data_files=str(path), split="train", cache_dir=cache, keep_in_memory=True, **OPTIONS.get(form, {})
            )
        except Exception as error:  # of pyarrow, pandas or gzip, wrapped or not
            said = reason(error.__cause__ or error)
            if any(words in said for words in NO_ROWS):
                raise InputError(f"{path}: has no rows, expected {EXPECTED}") from None
            raise InputError(f"{path}: {said}; expected {EXPECTED}") from None
    return Rows(str(path), data)


def _saved(path: Path) -> Mapping[str, Rows]:
    """Return the rows of a folder of `save_to_disk`, by part if it has splits."""
    import datasets

    try:
        with _quiet():
            found: Any = datasets.load_from_disk(str(path), keep_in_memory=True)
    except Exception as error:
        raise InputError(f"{path}: {reason(error)}; expected a folder of datasets' save_to_disk") from None
    if isinstance(found, datasets.Dataset):
        return {"all": Rows(str(path), found)}
    parts = {SPLITS.get(name, ""): Rows(f"{path}, split {name}", data) for name, data in found.items()}
    if not {"train"} <= set(parts) <= set(SPLITS.values()) or len(parts) < len(found):
        raise InputError(f"{path}: has the splits {', '.join(found)}; expected train, and perhaps validation and test")
    return parts if len(parts) > 1 else {"all": parts["train"]}


def _digest(path: Path) -> str:
    with open_input(path, expected=EXPECTED) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folder_digest(path: Path) -> str:
    files = sorted(file for file in path.rglob("*") if file.is_file())
    lines = [f"{file.relative_to(path).as_posix()} {_digest(file)}" for file in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the progress bars of `datasets`, and its log: what is wrong is in the error that it raises."""
    from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars, logging

    hidden, verbosity = are_progress_bars_disabled(), logging.get_verbosity()
    disable_progress_bars()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if not hidden:
            enable_progress_bars()
