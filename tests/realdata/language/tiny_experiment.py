"""The language experiment on made-up dialogues and a random encoder, so small that it takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loraml_theory.harness.settings import overlaid
from realdata.experiments.grid import GridSettings
from realdata.experiments.options import Wanted
from realdata.experiments.records import Record, read_records
from realdata.experiments.runner import Request, Summary, run
from realdata.language.experiment import LanguageSpec
from realdata.language.settings import LanguageSettings, settings

CHANGES: dict[str, Any] = {
    "tasks": {"retraining": 2, "test": 2},
    "turns": {"max_length": 32},
    "retraining": {"epochs": 2, "batch_size": 4, "evaluate_every": 1},
    "reptile": {"inner_steps": 2},
    "fomaml": {"inner_steps": 2},
    "fine_tuning": {"epochs": 2, "batch_size": 8, "evaluate_every": 1},
}
GRID = GridSettings(methods=("standard", "lora-ml"), finetune=("lora", "last-layer"), seeds=(0,), rank=(2,))


def tiny(**changes: Any) -> LanguageSettings:
    return settings("made", overlaid(CHANGES, changes))


def spec(*files: Path, **changes: Any) -> LanguageSpec:
    return LanguageSpec(tiny(**changes), files)


def ran(folder: Path, grid: GridSettings = GRID, *, files: tuple[Path, ...] = (), **changes: Any) -> Summary:
    request = Request(spec(*files, **changes), Wanted(grid, None), device="cpu", workers=1, command="test")
    return run(request, folder)


def results(folder: Path) -> dict[Any, tuple[Any, ...]]:
    """Return what must not depend on how a run came about: all of a record but its provenance."""
    return {record.key: measured(record) for record in read_records(folder)}


def measured(record: Record) -> tuple[Any, ...]:
    return tuple(value for name, value in vars(record).items() if name != "provenance")
