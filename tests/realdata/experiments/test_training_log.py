"""The log of a training, as TensorBoard reads it."""

from __future__ import annotations

import struct
from collections import defaultdict
from pathlib import Path

import pytest
from torch import nn

pytest.importorskip("tensorboardX")
from tensorboardX.proto.event_pb2 import Event

from loraml_theory.harness.errors import InputError
from realdata.experiments.training_log import check_integrations, training_log
from realdata.peft_ml.training_setup import EpochProgress, StepProgress


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Read (step, value) by name from the records of every file of events: their length, its check, data, a check."""
    found: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
    for path in folder.rglob("events.out.tfevents.*"):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + length])
            at += 16 + length
            for value in event.summary.value:
                if value.WhichOneof("value") == "simple_value":
                    found[value.tag].append((event.step, round(value.simple_value, 6)))
    return found


def test_steps_and_epochs_are_at_their_steps(tmp_path: Path) -> None:
    with training_log(["tensorboard"], tmp_path, run="lora-ml--0", model=nn.Linear(1, 1), cpu=True) as log:
        assert log is not None
        log.step(StepProgress(0, 1, 2, 0.75))
        log.step(StepProgress(0, 2, 2, 0.5))
        log.epoch(EpochProgress(1, 2, {"epoch": 1, "validation_accuracy": 0.25}))
        log.step(StepProgress(1, 1, 2, 0.125))
    found = scalars(tmp_path / "lora-ml--0")
    assert found["train/loss"] == [(1, 0.75), (2, 0.5), (3, 0.125)]
    assert found["eval/validation_accuracy"] == [(2, 0.25)]
    assert found["train/epoch"] == [(1, 0.5), (2, 1.0), (2, 1.0), (3, 1.5)]


def test_without_integrations_nothing_is_written(tmp_path: Path) -> None:
    with training_log([], tmp_path, run="lora-ml--0", model=nn.Linear(1, 1), cpu=True) as log:
        assert log is None
    assert not list(tmp_path.iterdir())


def test_what_is_not_there_is_refused_by_name() -> None:
    check_integrations(["tensorboard"], option="--report-to")
    with pytest.raises(InputError, match=r"--report-to: got tensorbord, expected some of azure_ml, .* wandb"):
        check_integrations(["tensorbord"], option="--report-to")
    with pytest.raises(InputError, match=r"--report-to: got neptune, whose package is not installed"):
        check_integrations(["neptune"], option="--report-to")
