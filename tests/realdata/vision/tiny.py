"""The vision experiment on digits, so small that it takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loraml_theory.harness.settings import overlaid
from realdata.experiments.grid import GridSettings
from realdata.experiments.options import Wanted
from realdata.experiments.records import Record, read_records
from realdata.experiments.runner import Request, Summary, run
from realdata.vision.experiment import VisionSpec
from realdata.vision.settings import VisionSettings, settings

CHANGES: dict[str, Any] = {
    "data": {"train_per_class": 6, "validation_per_class": 4},
    "model": {"width": 8},
    "retraining": {"epochs": 3, "batch_size": 16},
    "reptile": {"inner_steps": 2},
    "fomaml": {"inner_steps": 2},
    "fine_tuning": {"epochs": 3, "batch_size": 8},
}
GRID = GridSettings(methods=("standard", "lora-ml"), finetune=("lora", "last-layer"), seeds=(0,), n=(3, "all"))


def tiny(**changes: Any) -> VisionSettings:
    return settings("digits", overlaid(CHANGES, changes))


def spec(**changes: Any) -> VisionSpec:
    return VisionSpec(tiny(**changes), None)


def ran(folder: Path, grid: GridSettings = GRID, *, quirks: Any = None, workers: int = 1, **changes: Any) -> Summary:
    return run(Request(spec(**changes), Wanted(grid, quirks), device="cpu", workers=workers, command="test"), folder)


def results(folder: Path) -> dict[Any, tuple[Any, ...]]:
    """Return what must not depend on how a run came about: all of a record but its provenance."""
    return {record.key: (_measured(record)) for record in read_records(folder)}


def _measured(record: Record) -> tuple[Any, ...]:
    return tuple(value for name, value in vars(record).items() if name != "provenance")
