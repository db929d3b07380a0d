"""The folder of an experiment: what it was begun with, its lock, what failed, and what may be thrown away.

::

    experiment.json         settings, data and device, which later calls must match, and by what it was begun
    retraining/ID/          one retraining: its base, the adapters of meta-learning, its curve
    runs/ID.json            one record a run, see `realdata.experiments.records`
    failed/ID.json          what failed, until it succeeds
    checkpoints/            of what is running or was killed; removed when it is done
    results.csv, report.html, *.png
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from os.path import lexists
from pathlib import Path
from typing import Any, NamedTuple

from loraml_theory.harness import folders
from loraml_theory.harness.atomic import write_whole
from loraml_theory.harness.folders import FolderError
from loraml_theory.harness.input_files import MEBIBYTE, read_json
from loraml_theory.harness.json_schema import first_problem

FORMAT = 1
BEGUN = "experiment.json"
INSIDE = ("retraining", "runs", "failed", "checkpoints")
LARGEST = 4 * MEBIBYTE


class Failure(NamedTuple):
    """A job that ended without a result: its name, why, and the traceback if there is one."""

    id: str
    what: str
    details: str = ""


@dataclass(frozen=True)
class Folder:
    """A folder that is locked by this process, see `opened`."""

    path: Path

    @property
    def retraining(self) -> Path:
        """Folder of the retrained models."""
        return self.path / "retraining"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    def begin(self, fixed: Mapping[str, Any], made: Mapping[str, Any]) -> None:
        """Make sure that experiment.json holds what every call must agree on, and that leftovers of kills are gone.

        Parameters
        ----------
        fixed
            The experiment's name, settings, data, device and precision, as JSON holds them.
        made
            Command and versions of the first call.

        Raises
        ------
        FolderError
            If the folder was begun with something else, or holds other things.
        OSError
            If it cannot be written.
        """
        if lexists(self.path / BEGUN):
            held, now = _without_name(read_experiment(self.path)), _without_name(json.loads(json.dumps(fixed)))
            folders.check_same(self.path, {key: held.get(key) for key in now}, now)
        elif any(self.path.glob("runs/*.json")):
            raise FolderError(f"{self.path}: holds runs but no {BEGUN}, use another folder")
        else:
            document = {"format": FORMAT, **fixed, "begun": dict(made)}
            write_whole(self.path / BEGUN, json.dumps(document, indent=1))
        folders.remove_leftovers(self.path)

    def fail(self, failure: Failure) -> None:
        """Write down a failure."""
        path = self.path / "failed" / f"{failure.id}.json"
        path.parent.mkdir(exist_ok=True)
        write_whole(path, json.dumps(failure._asdict()))

    def succeed(self, job: str) -> None:
        """Forget an earlier failure."""
        (self.path / "failed" / f"{job}.json").unlink(missing_ok=True)


def _without_name(document: dict[str, Any]) -> dict[str, Any]:
    """Leave out what the data are called: whether they are the same is told by their hashes."""
    data = document.get("data")
    named = {"data": {key: data[key] for key in data if key != "source"}} if isinstance(data, dict) else {}
    return {**document, **named}


@contextmanager
def opened(path: Path) -> Iterator[Folder]:
    """Yield a folder, made if it is not there, that no other process works in.

    Raises
    ------
    FolderError
        If another process is at work there, or it is not a folder.
    OSError
        If it cannot be made or written.
    """
    with folders.locked(path, inside=INSIDE):
        yield Folder(path)


def read_experiment(path: Path) -> dict[str, Any]:
    """Return what a folder was begun with.

    Raises
    ------
    InputError
        If the folder holds no experiment, or one of another version.
    """
    file = path / BEGUN
    if not lexists(file):
        raise FolderError(f"{path}: holds no experiment (no {BEGUN})")
    document = read_json(file, expected="the JSON of an experiment", limit=LARGEST)
    if not isinstance(document, dict) or "format" not in document:
        raise FolderError(f"{file}: is not what an experiment writes, use another folder")
    folders.check_format(file, document["format"], written=FORMAT)
    if (departure := first_problem(document, "realdata.experiments", "experiment")) is not None:
        raise FolderError(f"{file}: {departure}; use another folder")
    if document["score"] not in document["scores"]:
        raise FolderError(f"{file}: score: got {document['score']!r}, which is not among scores")
    return document


def read_failures(path: Path) -> list[Failure]:
    """Return what failed and has not succeeded since, by name."""
    found = []
    for file in sorted((path / "failed").glob("*.json")):
        document = read_json(file, expected="the JSON of a failure; remove it and run again", limit=LARGEST)
        words: list[Any] = [document.get(name) for name in Failure._fields] if isinstance(document, dict) else []
        if {*map(type, words)} != {str}:
            raise FolderError(f"{file}: is damaged; remove it and run again")
        found.append(Failure(*words))
    return found
