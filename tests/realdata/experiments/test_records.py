"""Records survive the disk, and what is not a record is named in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from math import inf, isnan, nan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraml_theory.harness.errors import InputError
from realdata.experiments.grid import FINETUNES, WAYS
from realdata.experiments.records import RunKey, path_of, read_record, read_records, run_id, write_record
from tests.realdata.experiments.made import experiment, key, record


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = record(key(method="lora-ml", quirks=("augment-once", "warm-start"), n=50, rank=4, task="a b/ç"))
    assert read_record(write_record(tmp_path, made)) == made


def test_a_missing_value_of_a_curve_stays_missing(tmp_path: Path) -> None:
    path = write_record(tmp_path, record(curve={"epoch": [0.0, 1.0], "train_loss": [nan, 0.5]}))
    assert "NaN" not in path.read_text()
    assert isnan(read_record(path).curve["train_loss"][0])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"last": {"accuracy": nan}}, "last.accuracy: got nan, expected a finite number"),
        ({"last": {"accuracy": inf}}, "last.accuracy: inf is greater than the maximum of 1"),
        ({"before": {"accuracy": 7.5}}, "before.accuracy: 7.5 is greater than the maximum of 1"),
        ({"before": {"accuracy": -0.1}}, "before.accuracy: -0.1 is less than the minimum of 0"),
        ({"curve": {"epoch": [0.0], "train_loss": [inf]}}, "curve.train_loss: got a number that is not finite"),
        ({"curve": {"epoch": [0.0, 1.0], "train_loss": [1.0]}}, "curve: got columns of {'epoch': 2, 'train_loss': 1}"),
        ({"correct": "10a"}, "correct: '10a' does not match"),
        ({"key": key(rank=0)}, "key.rank: 0 is less than the minimum of 1"),
        ({"key": key(method="magic")}, "key.method: 'magic' is not one of"),
        ({"key": key(quirks=("b", "a"))}, "key.quirks: got ['b', 'a'], expected them sorted"),
    ],
)
def test_what_is_no_record_is_not_written(tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError) as refused:
        write_record(tmp_path, record(**changes))
    assert text in str(refused.value)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.rglob("*.json")) == []


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda text: text[:-30], "expected the JSON of a run; remove it and run again"),
        (lambda text: text.replace("0.75", "NaN"), "is not JSON: NaN is not a JSON number; expected the JSON of a run"),
        (lambda text: text.replace('"train_loss":[', f'"train_loss":[{"9" * 400},'), "curve"),
        (lambda text: text.replace('"examples":', f'"examples":{10**17}'), "is greater than the maximum of"),
        (lambda text: text.replace('"seed":0', '"seed":"0"'), "key.seed: '0' is not of type 'integer'"),
        (lambda text: text.replace('"seed":0', '"seed":3'), "holds the run 'standard.lora.rank-1.n-all.seed-3"),
        (lambda text: text.replace('"format":1', '"format":2'), "format: 1 was expected"),
        (lambda _: "[" * 100_000, "is nested too deeply, expected the JSON of a run"),
        (lambda _: "[]", "[] is not of type 'object'"),
    ],
)
def test_a_damaged_record_is_named_in_one_line(tmp_path: Path, spoil: Any, text: str) -> None:
    folder = experiment(tmp_path, [record()])
    path = path_of(folder, key())
    path.write_text(spoil(path.read_text()))
    with pytest.raises(InputError) as refused:
        read_records(folder)
    assert str(refused.value).startswith(f"{path}: ")
    assert text in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_folder_without_an_experiment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no experiment"):
        read_records(tmp_path)


def test_records_are_sorted_by_numbers_and_all_comes_last(tmp_path: Path) -> None:
    keys = [key(seed=seed, n=n) for seed in (10, 9) for n in (None, 50, 200)]
    found = read_records(experiment(tmp_path, [record(one) for one in keys]))
    assert [(one.key.seed, one.key.n) for one in found] == [(s, n) for s in (9, 10) for n in (50, 200, None)]


def test_a_record_is_replaced_whole(tmp_path: Path) -> None:
    write_record(tmp_path, record())
    changed = replace(record(), best_epoch=2)
    assert read_record(write_record(tmp_path, changed)) == changed
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [f"{run_id(key())}.json"]


keys = st.builds(
    RunKey,
    method=st.sampled_from(WAYS),
    seed=st.integers(0, 12),
    quirks=st.sampled_from([(), ("augment-once",), ("augment-once", "warm-start")]),
    finetune=st.sampled_from(FINETUNES),
    rank=st.integers(1, 12),
    n=st.none() | st.integers(1, 12),
    task=st.text(min_size=1, max_size=60) | st.sampled_from(["a-b", "A-B", "a b"]),
)


@given(keys, keys)
def test_runs_have_names_of_their_own_that_are_safe_for_files(one: RunKey, other: RunKey) -> None:
    # equal even where a file system folds capitals
    assert (run_id(one).lower() == run_id(other).lower()) == (one == other)
    assert len(run_id(one)) < 250
    assert "/" not in run_id(one)
    json.dumps(run_id(one)).encode("ascii")
