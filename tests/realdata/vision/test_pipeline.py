"""The whole experiment on a few digits: what records hold, and that nothing is lost or changed by any end."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loraml_theory.harness.errors import InputError
from loraml_theory.harness.folders import FolderError
from loraml_theory.harness.settings import SettingsError
from realdata.experiments import jobs
from realdata.experiments.folder import read_failures
from realdata.experiments.grid import FINETUNES, NO_RETRAINING, WAYS, GridSettings
from realdata.experiments.records import Record, path_of, read_record, read_records, run_id, write_record
from realdata.vision.quirks import NAMES
from tests.realdata.experiments.killed import killed
from tests.realdata.vision.tiny import GRID, ran, results


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    assert ran(folder) == (8, ())
    return folder


@pytest.fixture(scope="module")
def records(finished: Path) -> list[Record]:
    return read_records(finished)


@pytest.mark.long
def test_every_run_of_the_grid_has_a_record(records: list[Record]) -> None:
    assert {record.key[:6] for record in records} == {
        (method, 0, (), finetune, 1, n) for method in GRID.methods for finetune in GRID.finetune for n in (3, None)
    }
    assert {record.key.task for record in records} == {"8-9"}


def test_methods_spend_the_same(records: list[Record]) -> None:
    # 4 tasks of 2 classes of 6 images in batches of 16, 3 epochs
    assert {record.retraining for record in records} == {(9, 144)}
    for n, spent in ((3, (3, 18)), (None, (6, 36))):
        assert {record.fine_tuning for record in records if record.key.n == n} == {spent}


def test_scores_are_those_of_the_curves_and_of_the_test_images(records: list[Record]) -> None:
    for record in records:
        tested = record.curve["test_accuracy"]
        assert len(record.correct) == 120
        assert record.last["accuracy"] == pytest.approx(record.correct.count("1") / 120)
        assert (record.before["accuracy"], record.last["accuracy"]) == (tested[0], tested[-1])
        assert record.best["accuracy"] == tested[record.best_epoch]


def test_epochs_are_selected_on_held_out_training_images(records: list[Record]) -> None:
    for record in records:
        held_out = record.curve["validation_accuracy"]
        assert record.best_epoch == 1 + int(np.argmax(held_out[1:]))
        assert "test_accuracy" not in record.retraining_curve


def test_checkpoints_are_removed(finished: Path) -> None:
    assert list((finished / "checkpoints").iterdir()) == []
    assert not (finished / "failed").exists()


def test_a_second_call_does_nothing(finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*.json")}
    assert ran(finished) == (0, ())
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*.json")} == before


def test_killed_twice_and_run_again_it_ends_with_the_same_numbers(
    tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(ran, tmp_path, phase="standard.seed-0", epoch=2)
    checkpoint = tmp_path / "checkpoints" / "standard.seed-0.checkpoint"
    assert checkpoint.exists()
    killed(ran, tmp_path, phase="lora-ml.rank-1.seed-0--last-layer.rank-0.n-all", epoch=1)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1
    assert 0 < len(list((tmp_path / "runs").iterdir())) < 8
    there = {path.name for path in (tmp_path / "runs").iterdir()}
    monkeypatch.setattr(jobs, "perf_counter", lambda: 0.0)  # what is counted is of the calls that were killed
    assert ran(tmp_path).failures == ()
    assert results(tmp_path) == results(finished)
    new = [read_record(path).provenance for path in (tmp_path / "runs").iterdir() if path.name not in there]
    assert [made["seconds"] > 0 for made in new].count(True) == 1


def test_more_seeds_and_processes_change_nothing_that_is_there(tmp_path: Path) -> None:
    grid = replace(GRID, methods=("standard",), finetune=("full",))  # which starts fast, without peft
    assert ran(tmp_path / "a", grid).new_runs == 2
    first = results(tmp_path / "a")
    assert ran(tmp_path / "a", replace(grid, seeds=(1, 0))).new_runs == 2
    both = results(tmp_path / "a")
    assert {key: both[key] for key in first} == first
    assert {key.seed for key in both} == {0, 1}
    assert ran(tmp_path / "b", replace(grid, seeds=(0, 1)), workers=2) == (4, ())
    assert results(tmp_path / "b") == both
    one, other = (value for key, value in both.items() if key.n is None)
    assert one[3]["train_loss"] != other[3]["train_loss"]


def test_a_gradient_scaler_is_not_handed_from_job_to_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that doubles in each step overflows in the second job if the first one's is used again."""
    import accelerate
    import torch

    def scaling(**options: Any) -> Any:
        made = accelerator(**options)
        made.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**110, growth_interval=1)
        return made

    grid = replace(GRID, methods=("standard",), finetune=("lora",))
    ran(tmp_path / "plain", grid)
    accelerator = accelerate.Accelerator
    monkeypatch.setattr(accelerate, "Accelerator", scaling)
    ran(tmp_path / "scaled", grid)
    assert results(tmp_path / "scaled") == results(tmp_path / "plain")


def test_ranks_that_change_nothing_are_not_run_again(tmp_path: Path) -> None:
    grid = replace(GRID, methods=("standard",), n=("all",))
    assert ran(tmp_path, grid).new_runs == 2
    assert ran(tmp_path, replace(grid, rank=(1, 2))).new_runs == 1
    found = {(key.finetune, key.rank): value[3:] for key, value in results(tmp_path).items()}
    assert found["last-layer", 1] == found["last-layer", 2]
    assert found["lora", 1] != found["lora", 2]
    assert len(list((tmp_path / "retraining").iterdir())) == 1


def test_a_rank_is_honoured(tmp_path: Path) -> None:
    ran(tmp_path, replace(GRID, methods=("lora-ml",), finetune=("lora",), n=("all",), rank=(3,)))
    (record,) = read_records(tmp_path)
    bundle = tmp_path / "retraining" / "lora-ml.rank-3.seed-0" / "bundle"
    configs = [json.loads(path.read_text()) for path in bundle.rglob("adapter_config.json")]
    assert [config["r"] for config in configs] == [3] * 4
    assert "adapter of 8-9" in record.provenance["trained"]


def test_a_run_that_diverges_is_named_and_loses_no_other(tmp_path: Path) -> None:
    grid = GridSettings(methods=("reptile", "standard"), finetune=("lora",), seeds=(0,), n=("all",))
    ended = ran(tmp_path, grid, reptile={"inner_learning_rate": 1e30, "inner_optimizer": "sgd"})
    assert ended.new_runs == 1
    ((id, what, details),) = ended.failures
    assert id == "reptile.seed-0"
    assert "diverged in epoch 1" in what
    assert what.endswith("(1 run missing)")
    assert "DivergedError" in details
    assert [record.key.method for record in read_records(tmp_path)] == ["standard"]


def test_a_damaged_base_is_named_and_a_fresh_one_repairs_it(tmp_path: Path) -> None:
    grid = replace(GRID, methods=("standard",), finetune=("lora",), n=("all",))
    ran(tmp_path, grid)
    base = tmp_path / "retraining" / "standard.seed-0" / "base.safetensors"
    base.write_bytes(base.read_bytes()[:-4])
    wider = replace(grid, n=(3,))
    ended = ran(tmp_path, wider)
    assert [what for _, what, _ in ended.failures] == [
        f"{base}: is damaged; remove the folder and run again (1 run missing)"
    ]
    for path in base.parent.iterdir():
        path.unlink()
    assert ran(tmp_path, wider) == (1, ())
    assert read_failures(tmp_path) == []


@pytest.mark.long
def test_a_full_disk_is_one_line_and_loses_no_finished_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Record] = []

    def full(folder: Path, record: Record) -> Path:
        if written:
            raise OSError(errno.ENOSPC, "No space left on device", str(path_of(folder, record.key)))
        written.append(record)
        return write_record(folder, record)

    monkeypatch.setattr(jobs, "write_record", full)
    with pytest.raises(InputError) as refused:
        ran(tmp_path)
    expected = "No space left on device; what is finished is kept, run the same command again to continue"
    assert str(refused.value).endswith(expected)
    assert len(results(tmp_path)) == 1
    monkeypatch.undo()
    assert ran(tmp_path).new_runs == 7


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"model": {"width": 16}}, "settings.model.width: was 8, is now 16"),
        ({"data": {"train_per_class": 7}}, "settings.data.train_per_class: was 6, is now 7"),
        ({"fine_tuning": {"epochs": 4}}, "settings.fine_tuning.epochs: was 3, is now 4"),
    ],
)
def test_other_settings_are_refused(finished: Path, changes: dict[str, Any], text: str) -> None:
    with pytest.raises(FolderError, match="was started with other settings") as refused:
        ran(finished, **changes)
    assert text in str(refused.value)


def test_more_images_than_there_are_is_refused_before_anything_is_run(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="n: images per class: got 7, expected 1 to 6"):
        ran(tmp_path, replace(GRID, n=(7,)))
    assert not (tmp_path / "runs").exists()


@pytest.mark.long
def test_every_method_and_every_fine_tuning_runs(tmp_path: Path) -> None:
    grid = replace(GRID, methods=WAYS, finetune=FINETUNES, n=("all",))
    assert ran(tmp_path, grid) == (len(WAYS) * len(FINETUNES), ())
    spent = {record.key.method: record.retraining for record in read_records(tmp_path)}
    assert spent.pop(NO_RETRAINING) == (0, 0)
    epochs, steps = spent.pop("standard-longer")
    assert epochs > 9
    assert steps == 16 * epochs
    assert set(spent.values()) == {(9, 144)}


@pytest.mark.long
def test_the_reference_s_switches_run_and_change_what_they_say(tmp_path: Path) -> None:
    grid = replace(GRID, methods=("standard", "lora-ml", "last-layer-ml", "reptile"), n=("all",))
    everything = tuple(NAMES)
    assert ran(tmp_path, grid, quirks=((), everything)) == (16, ())
    found = {(key.method, key.finetune, bool(key.quirks)): value for key, value in results(tmp_path).items()}
    for method in grid.methods:
        for finetune in grid.finetune:
            plain, switched = found[method, finetune, False], found[method, finetune, True]
            assert plain[3] != switched[3], (method, finetune)
            assert "test_accuracy" in switched[3]
    names = sorted(path.name for path in (tmp_path / "retraining").iterdir())
    assert names == [
        "last-layer-ml.seed-0",
        "last-layer-ml.seed-0.augment-once+select-on-test",
        "lora-ml.rank-1.seed-0",
        "lora-ml.rank-1.seed-0.augment-once+bias-dropped+select-on-test",
        "reptile.seed-0",
        "reptile.seed-0.augment-once+reptile-away+select-on-test",
        "standard.seed-0",
        "standard.seed-0.augment-once+select-on-test",
    ]


def test_names_of_runs_are_those_of_their_files(finished: Path, records: list[Record]) -> None:
    assert {path.stem for path in (finished / "runs").iterdir()} == {run_id(record.key) for record in records}
