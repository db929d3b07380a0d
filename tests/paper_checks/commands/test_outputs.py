"""Whatever cannot be written is said in one line before anything is computed, and nothing that is there is harmed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.paper_checks.conftest import NEEDS_REALDATA, Loraml

FOLDERS: tuple[Any, ...] = (
    ["verify"],
    ["sweep", "spec.toml"],
    ["rates", "none"],
    ["atlas"],
    ["figure", "linear", "--vary", "T"],
    ["figure", "shallow", "--vary", "T"],
    pytest.param(["vision"], marks=NEEDS_REALDATA),
    pytest.param(["language"], marks=NEEDS_REALDATA),
)
FILES = (
    ["structure", "generic"],
    ["certify", "spurious", "--search", "4,1,3"],
    ["certify", "theorem", "ML-3", "--k", "1"],
    ["certify", "export", "none.json"],
    ["language", "tasks", "--data", "none.txt"],
)


def loop(path: Path) -> None:
    path.symlink_to(path.name)


PLACES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "too long": ("x" * 4000, lambda _: None),
    "a pipe": ("pipe", os.mkfifo),
    "below a file": ("spec.toml/x", lambda _: None),
    "a loop": ("loop", loop),
    "read-only": ("/proc/x", lambda _: None),
}


@pytest.mark.parametrize("words", [*FOLDERS, *FILES], ids=" ".join)
@pytest.mark.parametrize("place", PLACES)
def test_a_place_that_cannot_be_written_is_one_line(
    loraml: Loraml, tmp_path: Path, words: list[str], place: str
) -> None:
    (tmp_path / "spec.toml").write_text('method = "sr"\nseeds = 2\nn = [20, 40]\n')
    name, make = PLACES[place]
    make(Path(name))
    before = sorted(os.listdir(tmp_path))
    ended = loraml(*words, "--out", name)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith(f"loraml: error: {name[:200]}")
    assert ended.err.count("\n") == 1
    assert len(ended.err) < 1100
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("words", [words for words in FOLDERS if words != ["sweep", "spec.toml"]], ids=" ".join)
@pytest.mark.parametrize("name", ["report.html", "slopes.json", "atlas.png"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, loop], ids=["pipe", "folder", "loop"])
def test_a_file_that_cannot_be_replaced_is_named_before_the_work(
    loraml: Loraml, words: list[str], name: str, make: Callable[[Path], object]
) -> None:
    Path("out").mkdir()
    make(Path("out", name))
    ended = loraml(*words, "--out", "out")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == (
        f"loraml: error: out/{name}: is not a regular file, expected one that can be replaced, or none\n"
    )


@NEEDS_REALDATA
@pytest.mark.parametrize("words", [["vision"], ["language"]], ids=" ".join)
@pytest.mark.parametrize("name", ["retraining", "runs", "failed", "checkpoints", ".lock"])
def test_a_pipe_in_the_folder_of_an_experiment_is_named_before_the_work(
    loraml: Loraml, words: list[str], name: str
) -> None:
    Path("out").mkdir()
    os.mkfifo(f"out/{name}")
    ended = loraml(*words, "--out", "out")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith(f"loraml: error: out/{name}: is not a ")
    assert ended.err.count("\n") == 1
