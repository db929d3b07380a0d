from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from sims.sweep.spec import example, parse
from tests.paper_checks.conftest import Loraml

SPEC = 'method = ["sr", "lora-ml-spectral"]\nd = 5\nT = [2, 3]\nseeds = 2'


def test_example_prints_a_spec_that_can_be_read(loraml: Loraml) -> None:
    ended = loraml("sweep", "--example")
    assert (ended.status, ended.out, ended.err) == (0, example(), "")
    parse(ended.out)


def test_sweep_writes_rows_and_goes_on(loraml: Loraml, tmp_path: Path) -> None:
    (tmp_path / "spec.toml").write_text(SPEC)
    ended = loraml("sweep", "spec.toml", "--out", "out")
    counts = "8 rows (6 converged, 2 not_applicable)"
    assert (ended.status, ended.err) == (0, "")
    assert ended.out == f"out/rows.parquet: {counts}; 4 chunks computed now\n"
    again = loraml("sweep", "spec.toml", "--out", "out")
    assert again.out == f"out/rows.parquet: {counts}; 0 chunks computed now\n"


def test_progress_is_shown_on_a_terminal_only(loraml: Loraml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spec.toml").write_text(SPEC)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")  # rich shows no progress on a dumb terminal
    ended = loraml("sweep", "spec.toml", "--out", "out")
    assert ended.status == 0
    assert "4 of 4 chunks" in ended.err
    assert "left" in ended.err


WRONG = {
    "nothing": (["sweep"], "SPEC.toml: is missing; see `loraml sweep --help`"),
    "no folder": (["sweep", "spec.toml"], "--out: is missing"),
    "no spec": (["sweep", "none.toml", "--out", "out"], "none.toml: cannot be read (No such file or directory)"),
    "bad spec": (["sweep", "bad.toml", "--out", "out"], 'bad.toml: method: got 1, expected "sr", '),
    "engine": (
        ["sweep", "spec.toml", "--out", "out", "--engine", "gpu"],
        "--engine: got 'gpu', expected auto, cpu, torch or cupy",
    ),
    "device": (["sweep", "spec.toml", "--out", "out", "--engine", "cpu", "--device", "cuda"], "not on cuda"),
    "executor": (["sweep", "spec.toml", "--out", "out", "--executor", "slurm"], "got 'slurm', expected local or dask"),
    "workers": (
        ["sweep", "spec.toml", "--out", "out", "--workers", "0"],
        "--workers: got '0', expected a whole number",
    ),
    "scheduler": (
        ["sweep", "spec.toml", "--out", "out", "--scheduler", "a:1"],
        "--scheduler: expected --executor dask",
    ),
    "address": (
        ["sweep", "spec.toml", "--out", "out", "--executor", "dask", "--scheduler", "here"],
        "scheduler: got 'here', expected an address such as tcp://host:8786",
    ),
    "out is a file": (["sweep", "spec.toml", "--out", "bad.toml"], "bad.toml: is a file, expected a folder"),
    "out below a file": (
        ["sweep", "spec.toml", "--out", "bad.toml/x"],
        "bad.toml/x: cannot be written (Not a directory)",
    ),
}


@pytest.mark.parametrize(("words", "expected"), WRONG.values(), ids=WRONG)
def test_wrong_words_are_one_line_and_status_2(loraml: Loraml, tmp_path: Path, words: list[str], expected: str) -> None:
    (tmp_path / "spec.toml").write_text(SPEC)
    (tmp_path / "bad.toml").write_text("method = 1")
    ended = loraml(*words)
    assert (ended.status, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert ended.err.startswith("loraml: error: ")
    assert expected in ended.err
    assert not (tmp_path / "out/rows.parquet").exists()


def test_a_changed_spec_is_one_line(loraml: Loraml, tmp_path: Path) -> None:
    (tmp_path / "spec.toml").write_text(SPEC)
    loraml("sweep", "spec.toml", "--out", "out")
    (tmp_path / "spec.toml").write_text(SPEC.replace("d = 5", "d = [5, 6]"))
    before = (tmp_path / "out/rows.parquet").read_bytes()
    ended = loraml("sweep", "spec.toml", "--out", "out")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == (
        "loraml: error: out: was started with other settings (d: was [5], is now [5, 6]); use another folder\n"
    )
    assert (tmp_path / "out/rows.parquet").read_bytes() == before


def test_a_full_disk_is_one_line(loraml: Loraml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spec.toml").write_text(SPEC)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    ended = loraml("sweep", "spec.toml", "--out", "out")
    assert (ended.status, ended.err) == (2, "loraml: error: out: cannot be written (No space left on device)\n")


def test_pyarrow_that_is_not_installed(loraml: Loraml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spec.toml").write_text(SPEC)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    ended = loraml("sweep", "spec.toml", "--out", "out")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == "loraml: error: sweeps need pyarrow: pip install '.[sims]' in a clone of loraml-theory\n"
