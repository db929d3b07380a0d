"""Records and folders made up for tests of tables and reports."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from realdata.experiments.records import Record, RunKey, write_record
from realdata.peft_ml.budget import Count


def key(**changes: Any) -> RunKey:
    plain = RunKey("standard", 0, (), "lora", 1, None, "ship-truck")
    return plain._replace(**changes)


def record(of: RunKey | None = None, *, correct: str = "1100", best: float = 0.75, **changes: Any) -> Record:
    """Return a record whose accuracy after the last epoch is the share of 1 in `correct`."""
    last = correct.count("1") / len(correct)
    plain: dict[str, Any] = {
        "key": of or key(),
        "retraining": Count(600, 38400),
        "fine_tuning": Count(25, 2500),
        "retraining_curve": {"epoch": [0.0, 1.0], "train_loss": [0.7, 0.6], "validation_accuracy": [0.5, 0.6]},
        "curve": {
            "epoch": [0.0, 1.0, 2.0],
            "train_loss": [0.7, 0.6, 0.5],
            "validation_accuracy": [0.5, best, last],
            "test_accuracy": [0.5, best, last],
        },
        "before": {"accuracy": 0.5},
        "last": {"accuracy": last},
        "best": {"accuracy": best},
        "best_epoch": 1,
        "correct": correct,
        "provenance": {"command": "loraml vision", "seconds": 1.5, "device": "cpu", "precision": "no"},
    }
    return Record(**{**plain, **changes})


def experiment(folder: Path, records: Iterable[Record], **changes: Any) -> Path:
    """Write an experiment's folder with records, as the runner does."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "format": 1,
        "experiment": "vision",
        "settings": {"data": {"train_per_class": 4}, "retraining": {"epochs": 2, "meta": {"inner_steps": 3}}},
        "data": {"source": "digits"},
        "unit": "task",
        "score": "accuracy",
        "scores": {"accuracy": {"title": "accuracy", "chance": 0.5}},
        "device": "cpu",
        "precision": "no",
        "begun": {"command": "loraml vision", "date": "2026-01-02T03:04:05+00:00", "versions": {"torch": "2"}},
    }
    (folder / "experiment.json").write_text(json.dumps({**document, **changes}))
    for one in records:
        write_record(folder, one)
    return folder
