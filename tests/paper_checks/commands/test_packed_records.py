"""`loraml records`: a folder becomes a text file and comes back, and what cannot be used is one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from realdata.experiments.grid import GridSettings
from realdata.experiments.report import findings, markdown
from tests.paper_checks.claims import test_nl_continual
from tests.paper_checks.conftest import Loraml
from tests.paper_checks.experiments import IN_ORDER, runs, written
from tests.realdata.vision.tiny import ran, results


def test_tables_are_the_same_from_the_file(loraml: Loraml, tmp_path: Path) -> None:
    folder, file, again = tmp_path / "runs", tmp_path / "runs.jsonl", tmp_path / "again"
    written(folder, runs(IN_ORDER))
    ended = loraml("records", "pack", folder, file)
    assert (ended.status, ended.out, ended.err) == (0, f"15 records written to {file}\n", "")
    assert loraml("records", "unpack", file, again).status == 0
    assert markdown(findings(again)) == markdown(findings(folder))
    assert results(again) == results(folder)


def test_chains_are_packed_too(loraml: Loraml, tmp_path: Path) -> None:
    folder, file, again = test_nl_continual.written(tmp_path / "runs"), tmp_path / "runs.jsonl", tmp_path / "again"
    assert loraml("records", "pack", folder, file).status == 0
    assert loraml("records", "unpack", file, again).status == 0
    assert loraml("power", again).out == loraml("power", folder).out


@pytest.mark.long
def test_an_experiment_goes_on_from_packed_records(loraml: Loraml, tmp_path: Path) -> None:
    grid = GridSettings(methods=("standard", "standard-longer"), finetune=("lora",), seeds=(0,), n=(3,))
    more = GridSettings(methods=("standard", "standard-longer"), finetune=("lora",), seeds=(0, 1), n=(3,))
    assert ran(tmp_path / "runs", grid).new_runs == 2
    assert loraml("records", "pack", tmp_path / "runs", tmp_path / "file").status == 0
    assert '"trained"' not in (tmp_path / "file").read_text("utf-8")  # nor what was trained in words
    assert loraml("records", "unpack", tmp_path / "file", tmp_path / "again").status == 0
    assert ran(tmp_path / "again", more).new_runs == 2
    ran(tmp_path / "runs", more)
    assert results(tmp_path / "again") == results(tmp_path / "runs")


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ("", "file: holds a line that is not a document, expected packed records"),
        ("[1]\n", "file: holds a line that is not a document"),
        ("{}\n{}\n", "file: line 2 is not a record with its name"),
        ('{}\n{"name": "../x.json", "record": {}}\n', "file: line 2 is not a record with its name"),
        ("{\n", "file: is not JSON: "),
    ],
)
def test_what_is_not_packed_records_is_one_line(
    loraml: Loraml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text(lines)
    ended = loraml("records", "unpack", "file", "new")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith(f"loraml: error: {text}")
    assert ended.err.count("\n") == 1


def test_an_experiment_is_not_written_over(loraml: Loraml, tmp_path: Path) -> None:
    folder, file = written(tmp_path / "runs", runs(IN_ORDER)), tmp_path / "file"
    loraml("records", "pack", folder, file)
    before = {path.name: path.read_text() for path in (folder / "runs").iterdir()}
    ended = loraml("records", "unpack", file, folder)
    assert (ended.status, ended.err) == (2, f"loraml: error: {folder}: holds an experiment, use another folder\n")
    assert {path.name: path.read_text() for path in (folder / "runs").iterdir()} == before
    assert json.loads(file.read_text().splitlines()[0])["experiment"] == "vision"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda lines: [*lines, lines[1]], "holds a record twice"),
        (lambda lines: [lines[0], lines[1].replace('"name":"', '"name":"x')], "holds the run"),
        (lambda lines: [lines[0].replace('"vision"', '"continual"'), *lines[1:]], "Additional properties"),
        (lambda lines: lines[1:], "is not what an experiment writes"),
    ],
    ids=["twice", "another name", "another experiment", "no experiment"],
)
def test_records_that_cannot_be_used_leave_the_folder_free(
    loraml: Loraml, tmp_path: Path, change: Callable[[list[str]], list[str]], text: str
) -> None:
    folder, file, wrong = written(tmp_path / "runs", runs(IN_ORDER)), tmp_path / "file", tmp_path / "wrong"
    loraml("records", "pack", folder, file)
    wrong.write_text("\n".join(change(file.read_text().splitlines())))
    ended = loraml("records", "unpack", wrong, tmp_path / "new")
    assert (ended.status, ended.err.count("\n")) == (2, 1)
    assert ended.err.startswith(f"loraml: error: {wrong}: ")
    assert text in ended.err
    assert loraml("records", "unpack", file, tmp_path / "new").status == 0


def test_what_is_packed_is_not_written_over(loraml: Loraml, tmp_path: Path) -> None:
    folder = written(tmp_path / "runs", runs(IN_ORDER))
    before = {path: path.read_bytes() for path in folder.rglob("*.json")}
    for file in (folder / "experiment.json", next(iter(before)), folder / "runs" / "new.json"):
        ended = loraml("records", "pack", folder, file)
        assert (ended.status, ended.err.split(": ", 2)[1]) == (2, "error")
        assert "which is an input" in ended.err
    assert {path: path.read_bytes() for path in folder.rglob("*.json")} == before
