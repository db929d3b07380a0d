"""The record of one fine-tuning run, and how a folder of records is written and read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from math import isfinite, isnan, nan
from os.path import lexists
from pathlib import Path
from sys import float_info
from typing import Any, NamedTuple

from loraml_theory.harness.atomic import write_whole
from loraml_theory.harness.errors import InputError
from loraml_theory.harness.input_files import MEBIBYTE, read_json
from loraml_theory.harness.json_schema import first_problem
from realdata.peft_ml.budget import Count

FORMAT = 1
RUNS = "runs"
LARGEST = 4 * MEBIBYTE


class RunKey(NamedTuple):
    """What tells a run from the others of its experiment.

    Parameters
    ----------
    method
        Of retraining, a name of `realdata.peft_ml.methods.METHODS`, or ``no-retraining``.
    seed
        Root of everything that was drawn.
    quirks
        Switches of the public reference code that were on, sorted; none in the paper's mode.
    finetune
        ``lora``, ``last-layer`` or ``full``.
    rank
        Of the adapters, in retraining and in fine-tuning.
    n
        Examples fine-tuned on, as the experiment counts them (vision: images per class); None for all.
    task
        Name of the task adapted to.
    """

    method: str
    seed: int
    quirks: tuple[str, ...]
    finetune: str
    rank: int
    n: int | None
    task: str


@dataclass(frozen=True)
class Record:
    """The record of one fine-tuning run.

    Parameters
    ----------
    key
        Which run it is.
    retraining, fine_tuning
        What each of them spent.
    retraining_curve, curve
        Columns of equal length by epoch: ``epoch`` (0 is before the first step), ``train_loss`` and, after a part
        and an underscore, every score: ``validation_accuracy``, ``test_accuracy``; NaN where an epoch has no value.
        ``retraining_curve`` has the means over the retraining tasks, in its own model or models.
    before, last, best
        The test scores before fine-tuning, after the last epoch, and at the epoch that was selected.
    best_epoch
        The epoch selected, on held-out examples unless a quirk says otherwise.
    correct
        The first score of every test example after the last epoch, in the order of the test set: a text if all are 0 or
        1, else numbers.
    provenance
        The command, versions, device, precision and seconds.
    """

    key: RunKey
    retraining: Count
    fine_tuning: Count
    retraining_curve: Mapping[str, list[float]]
    curve: Mapping[str, list[float]]
    before: Mapping[str, float]
    last: Mapping[str, float]
    best: Mapping[str, float]
    best_epoch: int
    correct: str | tuple[float, ...]
    provenance: Mapping[str, Any]


def run_id(key: RunKey) -> str:
    """Return the name of a run, which is that of its file.

    Examples
    --------
    >>> run_id(RunKey("lora-ml", 3, (), "lora", 1, None, "ship-truck"))
    'lora-ml.lora.rank-1.n-all.seed-3.ship-truck'
    >>> run_id(RunKey("reptile", 0, ("augment-once",), "last-layer", 4, 50, "ship-truck"))
    'reptile.last-layer.rank-4.n-50.seed-0.ship-truck.augment-once'
    """
    n = "all" if key.n is None else str(key.n)
    words = (key.method, key.finetune, f"rank-{key.rank}", f"n-{n}", f"seed-{key.seed}", safe_name(key.task))
    return ".".join([*words, *(["+".join(key.quirks)] if key.quirks else [])])


def safe_name(text: str) -> str:
    """Return a text as part of a file's name: as it is where that is safe, else shortened and with a hash.

    Examples
    --------
    >>> safe_name("ship-truck"), safe_name("../x")
    ('ship-truck', 'x-d6b96a97')
    """
    plain = re.sub(r"[^a-z0-9_-]+", "-", text.lower())[:40].strip("-")
    return text if plain == text else f"{plain}-{sha256(text.encode()).hexdigest()[:8]}"


def path_of(folder: Path, key: RunKey) -> Path:
    """Return where the record of a run is in the folder of its experiment."""
    return folder / RUNS / f"{run_id(key)}.json"


def write_record(folder: Path, record: Record) -> Path:
    """Write a record below ``runs/``, whole or not at all; NaN in a curve becomes null.

    Raises
    ------
    InputError
        If it holds what the schema does not allow, such as a score that is not finite.
    OSError
        If it cannot be written.
    """
    path = path_of(folder, record.key)
    document = _document(record)
    _check(document, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(document, allow_nan=False, separators=(",", ":")))
    return path


def read_record(path: Path) -> Record:
    """Read one record.

    Raises
    ------
    InputFileError
        If the file cannot be read, or is not JSON.
    InputError
        If it is damaged, or holds another run than its name says.
    """
    document = read_json(path, expected="the JSON of a run; remove it and run again", limit=LARGEST)
    record = _record(_check(document, path))
    if path.name != f"{run_id(record.key)}.json":
        raise InputError(f"{path}: holds the run {run_id(record.key)!r}, not the one that its name says")
    return record


def read_records(folder: Path) -> list[Record]:
    """Read all records of an experiment's folder, sorted by key, also while it is running or after a kill.

    Raises
    ------
    InputError
        If the folder holds no experiment, or one of its records is damaged; the text names the file.
    """
    if not lexists(folder / "experiment.json"):
        raise InputError(f"{folder}: holds no experiment (no experiment.json)")
    found = [read_record(path) for path in sorted((folder / RUNS).glob("*.json"))]
    return sorted(found, key=lambda record: order(record.key))


def order(key: RunKey) -> tuple[Any, ...]:
    """Return what runs are sorted by: numbers as numbers, all examples after any number of them."""
    return (*key[:5], (key.n is None, key.n or 0), key.task)


def _document(record: Record) -> dict[str, Any]:
    curves = {
        name: {column: [None if isnan(x) else x for x in values] for column, values in curve.items()}
        for name, curve in (("retraining_curve", record.retraining_curve), ("curve", record.curve))
    }
    return {
        "format": FORMAT,
        "key": {**record.key._asdict(), "quirks": list(record.key.quirks)},
        "retraining": record.retraining._asdict(),
        "fine_tuning": record.fine_tuning._asdict(),
        **curves,
        "before": dict(record.before),
        "last": dict(record.last),
        "best": dict(record.best),
        "best_epoch": record.best_epoch,
        "correct": record.correct if isinstance(record.correct, str) else list(record.correct),
        "provenance": dict(record.provenance),
    }


def _record(document: dict[str, Any]) -> Record:
    key = document["key"]
    return Record(
        key=RunKey(**{**key, "quirks": tuple(key["quirks"])}),
        retraining=Count(**document["retraining"]),
        fine_tuning=Count(**document["fine_tuning"]),
        retraining_curve=_curve(document["retraining_curve"]),
        curve=_curve(document["curve"]),
        before=_scores(document["before"]),
        last=_scores(document["last"]),
        best=_scores(document["best"]),
        best_epoch=document["best_epoch"],
        correct=document["correct"] if isinstance(document["correct"], str) else tuple(map(float, document["correct"])),
        provenance=document["provenance"],
    )


def _curve(columns: dict[str, list[float | None]]) -> dict[str, list[float]]:
    return {name: [nan if value is None else float(value) for value in values] for name, values in columns.items()}


def _scores(scores: dict[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in scores.items()}


def _check(document: Any, path: Path) -> dict[str, Any]:
    """Return the document if it is the one of a run: the schema, equal columns, quirks in order, finite numbers."""
    if (problem := first_problem(document, "realdata.experiments", "record")) is not None:
        raise InputError(f"{path}: {problem}")
    for name in ("retraining_curve", "curve"):
        lengths = {column: len(values) for column, values in document[name].items()}
        if len(set(lengths.values())) > 1:
            raise InputError(f"{path}: {name}: got columns of {lengths} epochs, expected as many in each")
        for column, values in document[name].items():
            if not all(value is None or abs(value) <= float_info.max for value in values):  # also of endless integers
                raise InputError(f"{path}: {name}.{column}: got a number that is not finite")
    if document["key"]["quirks"] != sorted(document["key"]["quirks"]):
        raise InputError(f"{path}: key.quirks: got {document['key']['quirks']}, expected them sorted")
    for name in ("before", "last", "best"):
        for score, value in document[name].items():
            if not isfinite(value):
                raise InputError(f"{path}: {name}.{score}: got {value}, expected a finite number")
    return document
