"""A folder belongs to one experiment and to one process at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loraml_theory.harness.errors import InputError
from loraml_theory.harness.folders import FolderError
from realdata.experiments.folder import Failure, opened, read_experiment, read_failures
from tests.realdata.experiments.made import experiment, record

FIXED = {
    "experiment": "vision",
    "settings": {"model": {"width": 8, "depth": 1}, "data": {"n": [1, None]}},
    "data": {"source": "digits", "tasks": {"0-1": "hash"}},
    "unit": "task",
    "score": "accuracy",
    "scores": {"accuracy": {"title": "accuracy", "chance": 0.5}},
    "device": "cpu",
    "precision": "no",
}
BEGUN = {"command": "loraml vision", "date": "2026-01-02T03:04:05+00:00", "versions": {"torch": "2"}}
WHOLE = {**FIXED, "begun": BEGUN, "format": 1}


def test_a_folder_is_begun_once_and_recognised(tmp_path: Path) -> None:
    for command in ("first", "second"):
        with opened(tmp_path / "a" / "b") as folder:
            folder.begin(FIXED, {**BEGUN, "command": command})
    found = read_experiment(tmp_path / "a" / "b")
    assert found["begun"] == {**BEGUN, "command": "first"}
    assert {name: found[name] for name in FIXED} == FIXED


def test_another_experiment_is_refused_with_what_differs(tmp_path: Path) -> None:
    with opened(tmp_path) as folder:
        folder.begin(FIXED, BEGUN)
    other = {**FIXED, "settings": {"model": {"width": 9, "depth": 1}, "data": {"n": [1, None]}}, "precision": "bf16"}
    with opened(tmp_path) as folder, pytest.raises(FolderError) as refused:
        folder.begin(other, BEGUN)
    assert str(refused.value) == (
        f"{tmp_path}: was started with other settings (settings.model.width: was 8, is now 9; precision: "
        "was 'no', is now 'bf16'); use another folder"
    )


def test_the_same_data_under_another_name_are_the_same(tmp_path: Path) -> None:
    for data in ({"source": "parquet", "tasks": {"0-1": "hash"}}, FIXED["data"]):
        with opened(tmp_path) as folder:
            folder.begin({**FIXED, "data": data}, BEGUN)
    with opened(tmp_path) as folder, pytest.raises(FolderError, match=r"data\.tasks\.0-1: was 'hash', is now 'other'"):
        folder.begin({**FIXED, "data": {"source": "parquet", "tasks": {"0-1": "other"}}}, BEGUN)


def test_runs_without_an_experiment_are_not_taken_over(tmp_path: Path) -> None:
    experiment(tmp_path, [record()])
    (tmp_path / "experiment.json").unlink()
    with opened(tmp_path) as folder, pytest.raises(FolderError, match=r"holds runs but no experiment\.json"):
        folder.begin(FIXED, BEGUN)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", "is not JSON: "),
        ("[" * 100_000, "is nested too deeply"),
        ("[]", "is not what an experiment writes"),
        ('{"format": 1}', "'experiment' is a required property; use another folder"),
        (json.dumps({**WHOLE, "format": 99}), "format 99, this version writes 1"),
        (json.dumps({**WHOLE, "begun": {}}), "begun: 'command' is a required property"),
        (json.dumps({**WHOLE, "settings": []}), "settings: [] is not of type 'object'"),
        (json.dumps({**WHOLE, "data": {"source": 3}}), "data.source: 3 is not of type 'string'"),
        (json.dumps({**WHOLE, "scores": {"accuracy": {}}}), "scores.accuracy: 'title' is a required property"),
        (json.dumps({**WHOLE, "scores": {}}), "score: got 'accuracy', which is not among scores"),
        (None, "holds no experiment"),
    ],
)
def test_what_is_no_experiment_is_named(tmp_path: Path, content: str | None, text: str) -> None:
    if content is not None:
        (tmp_path / "experiment.json").write_text(content)
    with pytest.raises(InputError) as refused:
        read_experiment(tmp_path)
    assert text in str(refused.value)
    assert "\n" not in str(refused.value)


def test_failures_are_remembered_until_they_succeed(tmp_path: Path) -> None:
    found: list[Any] = [Failure("b", "why"), Failure("a", "why", "traceback")]
    with opened(tmp_path) as folder:
        for failure in found:
            folder.fail(failure)
        assert read_failures(tmp_path) == sorted(found)
        folder.succeed("b")
        folder.succeed("c")
    assert read_failures(tmp_path) == [found[1]]
    (tmp_path / "failed" / "a.json").write_text("{}")
    with pytest.raises(FolderError, match=r"a\.json: is damaged"):
        read_failures(tmp_path)
