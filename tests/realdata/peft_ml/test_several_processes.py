"""MetaTrainer in two processes, by DDP and with the model divided between them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from loraml_theory.harness.errors import InputError
from realdata.peft_ml import trainer as trainer_module
from realdata.peft_ml.bundle import load
from realdata.peft_ml.sharding import shard
from tests.realdata.peft_ml import sharded_run
from tests.realdata.peft_ml.small_models import tiny_bert
from tests.realdata.peft_ml.trainer_runs import (
    CASES,
    SHARDED,
    classified,
    distance,
    meta,
    moved,
    run,
    start,
    state,
    trained,
)

ROUNDING = 1e-13  # of float64, over the few steps here


def in_two_processes(module: str, file: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--module"]
    root = Path(__file__).parents[3]
    subprocess.run([*command, f"tests.realdata.peft_ml.{module}", file], cwd=root, check=True, timeout=300)


@pytest.mark.long
def test_two_processes_end_where_one_does(tmp_path: Path) -> None:
    """With the same rows in every step; batches of a process lack tasks in all cases but those of six rows.

    These also run with the model divided between the processes, of which each then holds half.
    """
    in_two_processes("trainer_runs", tmp_path / "ends")
    found = torch.load(tmp_path / "ends", weights_only=True)
    resumed = found.pop("resumed")
    assert distance(resumed, found["mixed"]) == 0
    assert found.keys() == {*CASES, *(f"sharded, {case}" for case in SHARDED)}
    for name, end in found.items():
        case = name.removeprefix("sharded, ")
        expected = run(case, str(tmp_path), processes=1)
        assert distance({"logged": end.pop("logged")}, {"logged": expected.pop("logged")}) < 1e-6
        assert distance(end, expected) < 1e-7, name
        assert len(moved(state(start(case)), end)) > len(end) / 2


@pytest.mark.long
def test_a_model_divided_between_processes_has_the_gradients_of_a_whole_one(tmp_path: Path) -> None:
    in_two_processes("sharded_run", tmp_path)
    found = torch.load(tmp_path / "found", weights_only=True)
    assert found["lacking"] == "task: a sharded model got a batch without c, expected rows of every task in each"
    assert found["untried"].startswith("model: is sharded, expected a call with rows of several tasks")
    model = meta()
    model.train()(**sharded_run.batch()).loss.backward()
    assert distance(found["gradients"], sharded_run.gradients(model)) < ROUNDING
    assert distance(state(load(tiny_bert(), tmp_path / "bundle")), state(meta())) == 0


SAVED = {"save_strategy": "epoch"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batches": "blocks"}, "batches: got 'blocks', expected 'mixed' for a sharded model"),
        (SAVED, "save_only_model: got False, expected True for a sharded model"),
        ({**SAVED, "save_only_model": True, "resume": "x"}, "resume_from_checkpoint: got one, expected none"),
        ({"load_best_model_at_end": True, **SAVED, "eval_strategy": "epoch"}, "load_best_model_at_end: got True"),
        ({"per_device_train_batch_size": 2, "gradient_accumulation_steps": 6}, "per_device_train_batch_size: got 2"),
    ],
)
def test_what_a_sharded_model_cannot_do_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: Mapping[str, Any], message: str
) -> None:
    """At the start; a model that only looks sharded shows it in one process."""
    monkeypatch.setattr(trainer_module, "is_sharded", lambda _: True)
    rows = classified() if changes.get("eval_strategy") else None
    with pytest.raises(InputError, match=f"^{message}"):
        trained(tmp_path, options={"eval_dataset": rows}, **changes)


def test_sharding_is_tried_with_rows_of_every_task() -> None:
    some = {"input_ids": torch.zeros(2, 6, dtype=torch.int64), "task": ["a", "b"]}
    with pytest.raises(InputError, match=r"^batch: got no rows of c, expected rows of every task$"):
        shard(meta(), some, layers=torch.nn.Linear)
    with pytest.raises(InputError, match=r"^layers: got Conv2d, expected a class of layers that the model has$"):
        shard(meta(), sharded_run.batch(), layers=torch.nn.Conv2d)
