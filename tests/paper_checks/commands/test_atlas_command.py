"""`loraml atlas` writes a picture and a table, and says in one line what is wrong with its options."""

from __future__ import annotations

from math import inf
from pathlib import Path

import pytest

pytest.importorskip("flint")

from sims.atlas import census, landscape
from sims.atlas.census import Counted
from sims.atlas.landscape import Scale
from tests.paper_checks.conftest import Loraml


def test_the_command_writes_both(loraml: Loraml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smallest = Scale(3, (1,), (3,), (inf,), 2, 2)
    monkeypatch.setitem(landscape.SCALES, "quick", smallest)
    ended = loraml("atlas", "--out", tmp_path / "here", "--seed", "3")
    assert (ended.status, ended.err) == (0, "")
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == ["atlas.csv", "atlas.png"]
    assert f"{tmp_path / 'here' / 'atlas.png'}" in ended.out


def test_complete_writes_the_census(loraml: Loraml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Counted(0, complete=True, real=19, spurious=1, value=0.02, large=5), Counted(1, complete=True, real=18)]
    monkeypatch.setattr(census, "census", lambda _, count, **__: found[:count])
    ended = loraml("atlas", "--complete", "--out", tmp_path / "here")
    assert (ended.status, ended.err) == (0, "")
    assert "2 of 2 structures complete" in ended.out
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == ["complete.csv", "complete.png"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--profile", "slow"], "--profile: got 'slow', expected quick or full"),
        (["--seed", "-1"], "--seed: got '-1', expected a whole number >= 0 of at most 18 digits"),
        (["--engine", "abacus"], "--engine: got 'abacus', expected auto, cpu, torch or cupy"),
    ],
)
def test_wrong_options_are_one_line(loraml: Loraml, words: list[str], text: str) -> None:
    ended = loraml("atlas", *words)
    assert (ended.status, ended.out, ended.err) == (2, "", f"loraml: error: {text}\n")


def test_an_unwritable_folder_is_refused_at_once(loraml: Loraml, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = loraml("atlas", "--out", tmp_path / "file")
    assert ended.status == 2
    assert "expected a folder" in ended.err
