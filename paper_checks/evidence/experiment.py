"""Experiments: named records of runs, with their settings and data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loraml_theory.harness.errors import InputError, one_line
from realdata.experiments.folder import read_experiment as read_begun
from realdata.experiments.records import read_records
from realdata.experiments.tables import Results


@dataclass(frozen=True)
class RecordedExperiment:
    """The records of one experiment.

    Parameters
    ----------
    name
        The folder, shown in every table; it is escaped where it is rendered.
    kind
        The kind in ``experiment.json``: ``vision`` or ``language``.
        begun
        Content of ``experiment.json``: settings, data, the score that is compared.
    results
        The records, by cell and seed.
    """

    name: str
    kind: str
    begun: Mapping[str, Any]
    results: Results


def read_experiment(folder: Path) -> RecordedExperiment:
    """Read the records of an experiment, even while it is running.

    Raises
    ------
    InputError
        If the folder does not hold an experiment with records, or a record is damaged or of another experiment.
    """
    place = one_line(str(folder))
    begun = read_begun(folder)
    results = Results(read_records(folder), score=str(begun["score"]), unit=str(begun["unit"]))
    if not results.records:
        raise InputError(f"{place}: holds an experiment but no records, let it finish a run first")
    return RecordedExperiment(place, str(begun["experiment"]), begun, results)
