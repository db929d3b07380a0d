"""Small experiments with known accuracies, in memory and on disk."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paper_checks.claims.nl_vision import CLASSES
from paper_checks.evidence.experiment import RecordedExperiment
from realdata.experiments.records import Record, RunKey, write_record
from realdata.experiments.tables import Results
from realdata.peft_ml.budget import Count
from realdata.vision.settings import settings

SCORE = "accuracy"
IMAGES = 400
IN_ORDER = {
    ("lora-ml", "lora"): 0.8,
    ("standard", "lora"): 0.7,
    ("reptile", "lora"): 0.6,
    ("last-layer-ml", "last-layer"): 0.75,
    ("standard", "last-layer"): 0.65,
}


def record(key: RunKey, right: Sequence[bool] | np.ndarray[Any, Any], *, before: float = 0.5) -> Record:
    """Return the record of a run that ended right on some test images."""
    after = {SCORE: float(np.mean(right))}
    return Record(
        key=key,
        retraining=Count(10, 640),
        fine_tuning=Count(5, 320),
        retraining_curve={"epoch": [0.0, 1.0]},
        curve={"epoch": [0.0, 1.0]},
        before={SCORE: before},
        last=after,
        best=after,
        best_epoch=1,
        correct="".join("01"[int(one)] for one in right),
        provenance={},
    )


def runs(
    accuracies: dict[tuple[str, str], float],
    *,
    seeds: Iterable[int] = range(3),
    n: int | None = None,
    rank: int = 1,
    quirks: tuple[str, ...] = (),
    rng: np.random.Generator | None = None,
) -> list[Record]:
    """Return runs of these accuracies: exactly, on images drawn as hard or easy for all; or on average with `rng`."""
    found = []
    for (method, finetune), accuracy in accuracies.items():
        for seed in seeds:
            key = RunKey(method, seed, quirks, finetune, rank, n, "ship-truck")
            hardness = np.random.default_rng(seed).permutation(IMAGES) if rng is None else IMAGES * rng.random(IMAGES)
            found.append(record(key, hardness < accuracy * IMAGES))
    return found


def begun(*, cifar: bool = False, profile: str = "paper") -> dict[str, Any]:
    """Return what experiment.json holds of an experiment on digits, or on CIFAR-10."""
    classes = CLASSES if cifar else tuple("0123456789")
    test = [2000 if cifar else 120, "0" * 16]
    return {
        "format": 1,
        "experiment": "vision",
        "unit": "task",
        "score": SCORE,
        "scores": {SCORE: {"title": SCORE, "chance": 0.5}},
        "device": "cpu",
        "precision": "no",
        "begun": {"command": "loraml vision", "date": "2026-01-02T03:04:05+00:00", "versions": {}},
        "settings": json.loads(json.dumps(settings(profile).document())),
        "data": {
            "source": "parquet" if cifar else "digits",
            "classes": list(classes),
            "shape": [32, 32, 3] if cifar else [8, 8, 1],
            "tasks": {"-".join(classes[i : i + 2]): {"test": test} for i in range(0, 10, 2)},
        },
    }


def experiment(*records: list[Record], name: str = "here", **about: Any) -> RecordedExperiment:
    every = [one for some in records for one in some]
    return RecordedExperiment(name, "vision", begun(**about), Results(every, score=SCORE))


def written(folder: Path, records: list[Record], **changes: Any) -> Path:
    """Write an experiment's folder."""
    folder.mkdir(exist_ok=True)
    (folder / "experiment.json").write_text(json.dumps({**begun(), **changes}), "utf-8")
    for one in records:
        write_record(folder, one)
    return folder
