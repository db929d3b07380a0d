"""`loraml retrain`: from files to a base in one command, and one line for everything that is wrong."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from paper_checks.commands import experiments
from realdata.text.splits import part_of, place
from tests.paper_checks.conftest import Loraml
from tests.realdata.text.made import model, rows, tasks, write

QUICK = ["--epochs", "1", "--batch-size", "12", "--rank", "2", "--workers", "1", "--model", "model"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with a model and three tasks."""
    monkeypatch.chdir(tmp_path)
    tasks(tmp_path)
    model(tmp_path / "model")
    return tmp_path


@pytest.mark.long
def test_a_run_its_continuation_and_its_card(loraml: Loraml, here: Path) -> None:
    words = ["retrain", "--task", "four=four.jsonl", "--task", "three=three.jsonl", "--test", "two=two.jsonl", *QUICK]
    ended = loraml(*words, "--out", "out")
    assert (ended.status, ended.err) == (0, "")
    assert "3 runs computed now. Report: out/report.html" in ended.out
    assert ended.out.endswith("Base of lora-ml, seed 0: out/base, with its adapters beside it\n")
    said = " ".join(ended.out.split())
    assert "guessing 50.0 50.0 50.0" in said
    assert "no-retraining" in said
    card = (here / "out/base/README.md").read_text("utf-8")
    assert "loraml retrain --task four=four.jsonl" in card
    assert "| two | test |" in card
    assert "| lora-ml | 1 |" in card
    again = loraml(
        *words, "--out", "out", "--seeds", "0,1", "--methods", "standard,lora-ml", "--report-to", "tensorboard"
    )
    assert any(path.name.startswith("events.out.tfevents.") for path in (here / "out/logs").rglob("*"))
    assert "2 runs computed now." in again.out
    assert "Base of standard, seed 0" in again.out
    assert (here / "out/base").readlink() == Path("standard/seed-0/base")
    assert (here / "out/lora-ml/seed-1/adapters/four").is_dir()
    assert "Retraining experiment on four and three" in (here / "out/report.html").read_text("utf-8")
    refused = loraml(*words, "--out", "out", "--max-length", "5")
    assert refused.status == 2
    assert "settings.data.max_length: was 128, is now 5" in refused.err


@pytest.mark.long
def test_without_a_test_task_the_base_is_written_and_nothing_is_measured(loraml: Loraml, here: Path) -> None:
    ended = loraml("retrain", "--task", "two=two.jsonl", *QUICK, "--methods", "lora-ml", "--out", "out")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out == (
        "No task to test on was given (--test NAME=FILE): what the base is worth was not measured.\n"
        "Base of lora-ml, seed 0: out/base, with its adapters beside it\n"
    )
    assert (here / "out/base/model.safetensors").is_file()
    assert not (here / "out/runs").exists()


def test_the_example_has_every_key(loraml: Loraml) -> None:
    ended = loraml("retrain", "--example")
    assert ended.status == 0
    assert tomllib.loads(ended.out)["data"]["split"] == [70, 10, 20]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "--task: is missing, expected --task NAME=FILE, once for each task to retrain on"),
        (["--task", "two"], "--task: got 'two', expected NAME=FILE or NAME=TRAIN,TEST"),
        (["--task", f"{'é' * 40}=two.jsonl"], "--task: got the name éé"),
        (["--task", "two=two.jsonl", "--max-length", "2"], "--max-length: got 2, of which 2 are not the text's"),
        (["--task", "two=no.jsonl"], "no.jsonl: cannot be read (No such file or directory)"),
        (["--task", "two=two.jsonl", "--text", "body"], "--text: got body, expected a field of two.jsonl: text, label"),
        (["--task", "two=two.jsonl", "--label", "kind"], "--label: got kind, expected a field of two.jsonl: text"),
        (["--task", "two=two.jsonl", "--split", "70,30"], "--split: got '70,30', expected three whole numbers"),
        (["--task", "two=two.jsonl", "--split", "70,30,0"], "--split: got 70,30,0, expected three whole numbers"),
        (["--task", "two=two.jsonl", "--report-to", "paper"], "--report-to: got paper, expected some of"),
        (["--task", "two=two.jsonl", "--rank", "0"], "--rank: got '0', expected a whole number from 1"),
        (["--task", "two=two.jsonl", "--methods", "magic"], "--methods: got 'magic', expected some of"),
        (["--task", "two=two.jsonl", "--model", "./none"], "model ./none: no such folder"),
        (["--task", "two=two.jsonl", "--settings", "bad.toml"], "bad.toml: data.max_length: got 'x', expected a whole"),
        (["--task", "two=two.jsonl", "--test", "two=two.jsonl"], "--task, --test: got a name twice"),
        (["--task", "two=two.jsonl", "--out", "model"], "--out: got 'model', which is an input; expected another"),
        (["--task", "two=two.jsonl", "--out", "./model/"], "--out: got 'model', which is an input"),
        (["--task", "rare=rare.jsonl"], "--task rare: none of the 41 rows to train on has the label 'rare', as rare."),
    ],
)
def test_what_is_wrong_is_one_line(loraml: Loraml, here: Path, words: Sequence[str], text: str) -> None:
    (here / "bad.toml").write_text('[data]\nmax_length = "x"\n')
    held_out = next(row for row in rows(["no"], count=200) if part_of(place([row["text"]]), (70, 10, 20)) == "test")
    write(here / "rare.jsonl", [*rows(["no", "yes"]), {**held_out, "label": "rare"}])
    kept = sorted(path.name for path in (here / "model").iterdir())
    ended = loraml("retrain", "--model", "model", *words)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith(f"loraml: error: {text}")
    assert ended.err.count("\n") == 1
    assert not (here / "reports/retrain/retraining").exists()
    assert sorted(path.name for path in (here / "model").iterdir()) == kept


def test_missing_packages_are_one_line_with_what_to_install(loraml: Loraml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.setattr(experiments, "find_spec", lambda name: None if name == "datasets" else object())
    ended = loraml("retrain", "--model", "model", "--task", "two=two.jsonl")
    assert ended.status == 2
    assert ended.err.startswith("loraml: error: experiments need datasets: pip install '.[realdata]'")
