"""What `--records` names: the folder of an experiment, or runs of the shallow network."""

from __future__ import annotations

from pathlib import Path

from paper_checks.claim import Recorded
from paper_checks.evidence.experiment import read_experiment
from paper_checks.evidence.shallow_runs import read_shallow_runs, tables


def read_records(place: Path) -> Recorded:
    """Read the records at a place.

    Raises
    ------
    ExperimentError
        If they cannot be used.
    """
    return read_shallow_runs(place) if tables(place) else read_experiment(place)
