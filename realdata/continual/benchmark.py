"""A benchmark of text tasks in a folder: what is in it, and its parts.

::

    DIR/TASK/train.json.gz   a JSON list, JSON Lines, CSV or Parquet, with a field for sentences and one for labels
    DIR/TASK/test.json.gz    optional, as validation is; what is not given is split off by a hash of each text
    DIR/TASK/labels.json     the texts of the labels; optional

or DIR/TASK is a folder of `datasets`' ``save_to_disk``. A task with a test part alone is split as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from loraml_theory.harness.errors import InputError
from loraml_theory.harness.folders import check_folder
from loraml_theory.harness.input_files import MEBIBYTE, read_json
from realdata.text.files import FORMATS, SPLITS, Source, digests
from realdata.text.labelled import Fields, Labelled, labelled, labels_of
from realdata.text.settings import DataSettings
from realdata.text.splits import Part
from realdata.text.tasks import read_task

LABELS = "labels.json"
SAVED = ("dataset_dict.json", "state.json")


class TextTask(NamedTuple):
    """A task: the texts of its labels, its rows by part, and hashes of its files."""

    name: str
    labels: tuple[str, ...]
    parts: Mapping[Part, Sequence[Labelled]]
    digests: tuple[str, ...]


def read_orders(path: Path) -> tuple[tuple[str, ...], ...]:
    """Return the orders of tasks in a JSON file, a list of lists of names.

    Raises
    ------
    InputError
        If the file holds something else.
    """
    document = read_json(path, expected='JSON such as [["agnews", "amazon"], ["amazon", "agnews"]]', limit=MEBIBYTE)
    names = [
        isinstance(order, list) and order and all(isinstance(name, str) for name in order) for order in document or ()
    ]
    if not isinstance(document, list) or not document or not all(names):
        raise InputError(f"{path}: is not a list of orders, expected a list of lists of names of tasks")
    return tuple(map(tuple, document))


def read_benchmark(folder: Path, names: Sequence[str], settings: DataSettings) -> dict[str, TextTask]:
    """Read some tasks of a benchmark.

    Raises
    ------
    InputError
        If a task is not there, or something of it cannot be used.
    """
    check_folder(folder)
    there = sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
    for name in names:
        if name not in there:
            raise InputError(
                f"--data: {folder} has no task {name!r}, expected one of {', '.join(there) or 'some folders'}"
            )
    return {name: _task(folder / name, settings) for name in names}


def _task(folder: Path, settings: DataSettings) -> TextTask:
    source = _source(folder)
    fields = Fields(settings.text, settings.label)
    read = read_task(source, settings, lambda rows: labelled(rows, fields), option="--data")
    given = [row for rows in read.given.values() for row in rows]
    labels = _labels(folder / LABELS) if (folder / LABELS).exists() else ()
    if not labels:
        trained = read.given.get("all") or read.given["train"]
        labels = tuple(map(str, labels_of(f"--data {folder.name}", trained, given)))
    for row in given:
        if str(row.label) not in labels:
            raise InputError(f"{row.where}: has the label {row.label!r}, expected one of {', '.join(labels)}")
    return TextTask(folder.name, labels, read.parts, tuple(digests(source)))


def _source(folder: Path) -> Source:
    """Return the files of a task by part."""
    if any((folder / name).exists() for name in SAVED):
        return Source(folder.name, (folder,))
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        stem, *endings = file.name.split(".")
        if stem in SPLITS and endings and f".{endings[0].lower()}" in FORMATS:
            if SPLITS[stem] in found:
                raise InputError(f"{folder}: has {found[SPLITS[stem]].name} and {file.name}, expected one of them")
            found[SPLITS[stem]] = file
    parts = [part for part in ("train", "validation", "test") if part in found]
    if parts in (["train"], ["test"], ["train", "test"], ["train", "validation", "test"]):
        return Source(folder.name, tuple(found[part] for part in parts))
    raise InputError(
        f"{folder}: has {', '.join(parts) or 'no part'}, expected train.json.gz, or another form, and perhaps test, or "
        "validation and test, or a folder of datasets"
    )


def _labels(path: Path) -> tuple[str, ...]:
    document = read_json(path, expected='JSON such as ["good", "bad"]', limit=MEBIBYTE)
    if (
        not isinstance(document, list)
        or len(document) < 2
        or not all(isinstance(x, str) and x.strip() for x in document)
    ):
        raise InputError(f"{path}: is not a list of texts, expected the texts of two labels or more")
    if len(set(document)) < len(document):
        raise InputError(f"{path}: has a label twice, expected every label once")
    return tuple(document)
