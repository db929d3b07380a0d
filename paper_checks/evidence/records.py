"""The folders of `--records`, of experiments, chains of tasks or runs of the shallow network, and their claims."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loraml_theory.harness.errors import InputError
from paper_checks.claim import AnyClaim, Given, Recorded
from paper_checks.evidence.empirical import EmpiricalClaim
from paper_checks.evidence.experiment import read_experiment
from paper_checks.evidence.recorded_chains import read_chains
from paper_checks.evidence.shallow_runs import read_shallow_runs, tables
from realdata.experiments.folder import read_experiment as read_begun


def read_records(place: Path) -> Recorded:
    """Read the records in a folder.

    Raises
    ------
    InputError
        If they cannot be used.
    """
    if tables(place):
        return read_shallow_runs(place)
    begun = read_begun(place)
    return read_chains(place, begun) if begun["experiment"] == "continual" else read_experiment(place)


def judged(
    asked: Sequence[AnyClaim[Any]], experiments: Sequence[Recorded]
) -> tuple[list[AnyClaim[Any]], list[EmpiricalClaim[Any]]]:
    """Separate the claims that can be judged from the empirical ones without records.

    Raises
    ------
    InputError
        If records belong to no requested claim, or do not name their data.
    """
    empirical = [claim for claim in asked if isinstance(claim, EmpiricalClaim)]
    for experiment in experiments:
        about = [claim for claim in empirical if claim.experiment == experiment.kind]
        if not about:
            raise InputError(f"{experiment.name}: no requested claim is about an experiment {experiment.kind!r}")
        for claim in about:
            claim.described(experiment)  # an error is reported now rather than after the other checks
    without = [claim for claim in empirical if not claim.subjects(Given(0, experiments=experiments))]
    return [claim for claim in asked if claim not in without], without
