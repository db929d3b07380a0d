"""The whole experiment on a few made-up dialogues: what records hold, and that nothing is changed by a kill."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from realdata.experiments.records import Record, read_records
from realdata.peft_ml.budget import Count
from tests.realdata.experiments.killed import killed
from tests.realdata.language.tiny_experiment import GRID, ran, results

pytestmark = pytest.mark.long

METHODS: Any = ("no-retraining", "standard", "lora-ml", "last-layer-ml", "reptile")
EVERY = replace(GRID, methods=METHODS)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    assert ran(folder, EVERY) == (20, ())
    return folder


@pytest.fixture(scope="module")
def records(finished: Path) -> list[Record]:
    return read_records(finished)


def test_every_run_of_the_grid_has_a_record(records: list[Record]) -> None:
    assert {(record.key.method, record.key.finetune, record.key.task) for record in records} == {
        (method, finetune, task)
        for method in METHODS
        for finetune in GRID.finetune
        for task in ("persona-003", "persona-004")
    }


def test_methods_spend_the_same(records: list[Record]) -> None:
    # 2 personas with 20 turns to train on in batches of 4, 2 epochs; 15 turns in batches of 8
    for record in records:
        none = record.key.method == "no-retraining"
        assert record.retraining == (Count(0, 0) if none else Count(20, 80))
        assert record.fine_tuning == Count(4, 30)


def test_scores_are_those_of_ten_test_turns(records: list[Record]) -> None:
    for record in records:
        assert len(record.correct) == 10
        assert record.last["accuracy"] == pytest.approx(record.correct.count("1") / 10)
        assert record.last["accuracy"] <= record.last["reciprocal_rank"] <= 1
        assert record.last["reciprocal_rank"] >= 1 / 20
        curve = record.curve["test_accuracy"]
        assert (record.before["accuracy"], record.last["accuracy"]) == (curve[0], curve[-1])
        assert record.best["accuracy"] == curve[record.best_epoch]


def test_epochs_are_selected_on_held_out_dialogues(records: list[Record]) -> None:
    for record in records:
        assert record.best_epoch == 1 + int(np.argmax(record.curve["validation_accuracy"][1:]))
        assert not any(name.startswith("test") for name in record.retraining_curve)


def test_records_say_what_they_are_of(records: list[Record]) -> None:
    for record in records:
        assert record.provenance["data"] == "made-up dialogues (templates, not ConvAI2)"
        assert f" of {record.key.task} " in record.provenance["trained"]
        features = "without its dropout" in record.provenance["note"]
        assert features == (record.key.finetune == "last-layer")
        assert features == ("train_base is off" not in record.provenance["trained"])


def test_before_fine_tuning_heads_are_fresh(records: list[Record]) -> None:
    """The same head on the same base, whether LoRA or the last layer is fine-tuned; losses before the first step."""
    losses = {record.key[0:1] + record.key[3:4] + record.key[6:]: record.curve["train_loss"][0] for record in records}
    for method in METHODS:
        for task in ("persona-003", "persona-004"):
            assert losses[method, "lora", task] == pytest.approx(losses[method, "last-layer", task], rel=1e-4)


def test_killed_and_run_again_it_ends_with_the_same_numbers(tmp_path: Path, finished: Path) -> None:
    killed(ran, tmp_path, phase="standard.seed-0--last-layer", epoch=1)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1
    assert ran(tmp_path).failures == ()
    whole = results(finished)
    assert results(tmp_path) == {key: whole[key] for key in results(tmp_path)}
    assert len(results(tmp_path)) == 8


def test_a_rank_is_an_axis(tmp_path: Path) -> None:
    grid = replace(GRID, methods=("lora-ml",), rank=(1, 2))
    assert ran(tmp_path, grid).failures == ()
    assert {path.name for path in (tmp_path / "retraining").iterdir()} == {
        "lora-ml.rank-1.seed-0",
        "lora-ml.rank-2.seed-0",
    }
