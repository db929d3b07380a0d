"""The record of one chain of tasks, and how the records of a folder are written and read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from sys import float_info
from typing import Any, NamedTuple

from loraml_theory.harness.atomic import write_whole
from loraml_theory.harness.errors import InputError
from loraml_theory.harness.input_files import MEBIBYTE, read_json
from loraml_theory.harness.json_schema import first_problem

FORMAT = 1
RUNS, TRIALS = "runs", "tuning"
LARGEST = 4 * MEBIBYTE
NO_ROWS_BETWEEN = ("joint", "no-training")
"""Methods without a row for every task."""


class ChainKey(NamedTuple):
    """What tells a chain from the others of its experiment: method, start, number of the order, and seed.

    Attributes
    ----------
    rate
        The learning rate that was tried, of a trial of ``--tune``; None otherwise.
    """

    method: str
    start: str
    order: int
    seed: int
    rate: float | None = None

    @property
    def id(self) -> str:
        """Name of its file.

        Examples
        --------
        >>> ChainKey("o-lora", "plain", 2, 0).id, ChainKey("ewc", "sr", 1, 3, 0.001).id
        ('o-lora.plain.order-2.seed-0', 'ewc.sr.order-1.seed-3.rate-0.001')
        """
        rate = "" if self.rate is None else f".rate-{self.rate:g}"
        return f"{self.method}.{self.start}.order-{self.order}.seed-{self.seed}{rate}"


class Tuned(NamedTuple):
    """The learning rates that were tried, and the mean average accuracy on validation parts of each."""

    rates: tuple[float, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class ChainRecord:
    """The record of one chain.

    Parameters
    ----------
    key
        Which chain it is.
    tasks
        The order's tasks.
    sizes
        Rows that each task was scored on.
    part
        ``test``, or ``validation`` in trials.
    learning_rate
        That was used; None without training.
    tuned
        How it was chosen; None where it was set.
    rows
        By number, 0 before any training: the scores of every task by the score's name.
    losses
        Mean loss of every epoch of every training; None where it was not finite.
    steps, examples, seconds
        Of every training: gradient steps, rows with repetitions, and seconds of the processor.
    provenance
        The command, versions and device.
    """

    key: ChainKey
    tasks: tuple[str, ...]
    sizes: tuple[int, ...]
    part: str
    learning_rate: float | None
    tuned: Tuned | None
    rows: Mapping[int, Mapping[str, tuple[float, ...]]]
    losses: tuple[tuple[float | None, ...], ...]
    steps: tuple[int, ...]
    examples: tuple[int, ...]
    seconds: tuple[float, ...]
    provenance: Mapping[str, Any]


def path_of(folder: Path, key: ChainKey) -> Path:
    """Return where the record of a chain is."""
    return folder / (RUNS if key.rate is None else TRIALS) / f"{key.id}.json"


def write_record(folder: Path, record: ChainRecord) -> Path:
    """Write a record, whole or not at all.

    Raises
    ------
    InputError
        If it holds what a record must not, such as a score that is not finite.
    OSError
        If it cannot be written.
    """
    path = path_of(folder, record.key)
    document = {"format": FORMAT, **asdict(record), "key": record.key._asdict()}
    document["tuned"] = None if record.tuned is None else record.tuned._asdict()
    document["rows"] = {str(at): row for at, row in record.rows.items()}
    document = json.loads(json.dumps(document))  # lists for tuples
    _check(document, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(document, allow_nan=False, separators=(",", ":")))
    return path


def read_record(path: Path) -> ChainRecord:
    """Read one record.

    Raises
    ------
    InputError
        If it cannot be read, is damaged, or holds another chain than its name says.
    """
    document = read_json(path, expected="the JSON of a chain; remove it and run again", limit=LARGEST)
    _check(document, path)
    record = ChainRecord(
        key=ChainKey(**document["key"]),
        tasks=tuple(document["tasks"]),
        sizes=tuple(document["sizes"]),
        part=document["part"],
        learning_rate=document["learning_rate"],
        tuned=None if document["tuned"] is None else Tuned(*map(tuple, document["tuned"].values())),
        rows={int(at): {name: tuple(x) for name, x in row.items()} for at, row in document["rows"].items()},
        losses=tuple(map(tuple, document["losses"])),
        steps=tuple(document["steps"]),
        examples=tuple(document["examples"]),
        seconds=tuple(document["seconds"]),
        provenance=document["provenance"],
    )
    if path.name != f"{record.key.id}.json":
        raise InputError(f"{path}: holds the chain {record.key.id!r}, not the one that its name says")
    return record


def read_records(folder: Path, *, kind: str = RUNS) -> list[ChainRecord]:
    """Read all records of an experiment's folder, sorted by key, also while it is running or after a kill.

    Raises
    ------
    InputError
        If one is damaged, or of other tasks than another of the same order; the text names the file.
    """
    found: list[ChainRecord] = []
    orders: dict[int, tuple[str, ...]] = {}
    for path in sorted((folder / kind).glob("*.json")):
        record = read_record(path)
        if orders.setdefault(record.key.order, record.tasks) != record.tasks:
            raise InputError(f"{path}: has other tasks than another record of order {record.key.order}")
        if len(record.tasks) != len(next(iter(orders.values()))):
            raise InputError(f"{path}: has {len(record.tasks)} tasks, others have {len(next(iter(orders.values())))}")
        if found and set(record.rows[0]) != set(found[0].rows[0]):
            raise InputError(f"{path}: has other scores than {found[0].key.id}.json")
        found.append(record)
    return sorted(found, key=lambda record: record.key[:4])


def _check(document: Any, path: Path) -> None:
    """Raise unless a document is a chain's: the schema, equal lengths, finite numbers, the rows of its method."""
    if (problem := first_problem(document, "realdata.continual", "chain")) is not None:
        raise InputError(f"{path}: {problem}")
    count = len(document["tasks"])
    rows = sorted(map(int, document["rows"]))
    expected = {"joint": [0, count], "no-training": [0]}.get(document["key"]["method"], list(range(count + 1)))
    if rows != expected:
        raise InputError(f"{path}: rows: got {rows}, expected {expected}")
    names = {tuple(sorted(row)) for row in document["rows"].values()}
    lengths = {len(scores) for row in document["rows"].values() for scores in row.values()} | {len(document["sizes"])}
    if len(names) > 1 or lengths != {count}:
        raise InputError(
            f"{path}: rows: got other scores or lengths in some rows, expected {count} numbers for each score"
        )
    tuned = document["tuned"]
    if tuned is not None and len(tuned["rates"]) != len(tuned["scores"]):
        raise InputError(f"{path}: tuned: got {len(tuned['rates'])} rates and {len(tuned['scores'])} scores")
    trainings = {len(document[name]) for name in ("losses", "steps", "examples", "seconds")}
    if trainings != {len(expected) - 1}:
        raise InputError(f"{path}: losses, steps, examples, seconds: expected {len(expected) - 1} trainings in each")
    numbers = [x for row in document["rows"].values() for scores in row.values() for x in scores]
    if not all(isfinite(x) if isinstance(x, float) else abs(x) <= float_info.max for x in numbers):
        raise InputError(f"{path}: rows: got a number that is not finite")
