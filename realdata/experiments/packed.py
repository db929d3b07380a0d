"""The records of an experiment's folder in one text file, small enough to be kept with code.

A file of JSON Lines: experiment.json first, then every record, by name. Left out of records is what experiment.json
says already, versions and data, and what was trained in words; nothing that a table, a picture, a claim or a resumed
call needs. Retrained models are not in it: a resumed call retrains where runs are missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from os import sep
from os.path import lexists
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from loraml_theory.harness.atomic import write_whole
from loraml_theory.harness.errors import InputError
from loraml_theory.harness.folders import FolderError
from loraml_theory.harness.input_files import MEBIBYTE, json_document, read_json, read_text
from realdata.experiments.folder import BEGUN, INSIDE, opened, read_experiment
from realdata.experiments.records import LARGEST, RUNS

EXPECTED = "packed records: experiment.json and the records of runs, one JSON document a line"
LARGEST_FILE = 64 * MEBIBYTE
LEFT_OUT = ("data", "versions", "trained", "retraining_trained")
_NAME = re.compile(r"[A-Za-z0-9+_-][A-Za-z0-9+._-]*\.json")


def pack(folder: Path, file: Path) -> int:
    """Write all records of a folder into a file, and return how many there are.

    Raises
    ------
    InputError
        If the folder holds no experiment, no record, or a damaged one.
    OSError
        If the file cannot be written.
    """
    lines: list[Any] = [read_experiment(folder)]
    paths = sorted((folder / RUNS).glob("*.json"))
    for path in paths:
        _check(folder, path)
        record = read_json(path, limit=LARGEST)
        own = {name: value for name, value in record["provenance"].items() if name not in LEFT_OUT}
        lines.append({"name": path.name, "record": {**record, "provenance": own}})
    if not paths:
        raise InputError(f"{folder}: has no records to pack")
    write_whole(file, "".join(f"{json.dumps(line, allow_nan=False, separators=(',', ':'))}\n" for line in lines))
    return len(paths)


def unpack(file: Path, folder: Path) -> int:
    """Write packed records into a folder, from which the experiment goes on and its report is made; return how many.

    Raises
    ------
    InputError
        If the file is damaged, in which case nothing is written, or the folder holds an experiment already.
    OSError
        If something cannot be written.
    """
    lines = read_text(file, expected=EXPECTED, limit=LARGEST_FILE).splitlines()
    documents = [json_document(file, line, expected=EXPECTED) for line in lines]
    named = [(document.get("name"), document.get("record")) for document in documents if isinstance(document, dict)]
    if len(named) < max(1, len(documents)):
        raise InputError(f"{file}: holds a line that is not a document, expected {EXPECTED}")
    for number, (name, record) in enumerate(named[1:], start=2):
        if not (isinstance(name, str) and _NAME.fullmatch(name) and isinstance(record, dict)):
            raise InputError(f"{file}: line {number} is not a record with its name, expected {EXPECTED}")
    if len({name for name, _ in named[1:]}) < len(named) - 1:
        raise InputError(f"{file}: holds a record twice, expected {EXPECTED}")
    with opened(folder) as there:
        if any(lexists(there.path / entry) for entry in (BEGUN, *INSIDE)):
            raise FolderError(f"{folder}: holds an experiment, use another folder")
        with TemporaryDirectory(dir=there.path, prefix=".") as new:
            _write(Path(new), file, documents[0], named[1:])
            (Path(new) / RUNS).rename(there.path / RUNS)
            (Path(new) / BEGUN).rename(there.path / BEGUN)
    return len(named) - 1


def _write(folder: Path, file: Path, experiment: Any, records: Sequence[tuple[Any, Any]]) -> None:
    """Write an experiment and its records into an empty folder; errors name the packed file."""
    (folder / RUNS).mkdir()
    try:
        write_whole(folder / BEGUN, json.dumps(experiment, indent=1))
        for name, record in records:
            write_whole(folder / RUNS / name, json.dumps(record, allow_nan=False, separators=(",", ":")))
            _check(folder, folder / RUNS / name)
        read_experiment(folder)
    except InputError as problem:
        raise InputError(f"{file}: {str(problem).removeprefix(f'{folder}{sep}')}") from None


def _check(folder: Path, path: Path) -> None:
    """Raise unless a record is one of the folder's kind of experiment."""
    if read_experiment(folder)["experiment"] == "continual":
        from realdata.continual.records import read_record as read_chain

        read_chain(path)
        return
    from realdata.experiments.records import read_record

    read_record(path)
