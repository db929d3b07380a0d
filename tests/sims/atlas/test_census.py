"""The census: structures are independent of each other, and intervals count what is unknown."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("flint")

from loraml_theory.harness.errors import InputError
from loraml_theory.harness.folders import FolderError
from sims.atlas import census as module
from sims.atlas.census import STARTS, Counted, census, counted, draw_census, share, summary, write_census
from sims.ensembles.proportions import clopper_pearson

ROOT = Path(__file__).parents[3]
KNOWN = [
    Counted(0, complete=True, real=19, spurious=1, value=0.02, small=0, large=5),
    Counted(1, complete=True, real=18),
    Counted(2, complete=False, reason="172 of 173 points found"),
    Counted(3, complete=True, real=18),
]


@pytest.mark.long
def test_killed_it_goes_on_where_it_was(tmp_path: Path) -> None:
    """Killed by the system after the first structure; the next call keeps that one, and a structure is alone."""
    program = "from pathlib import Path; from sims.atlas.census import census; import sys; "
    program += "census(Path(sys.argv[1]), 3, seed=0, workers=1)"
    running = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT)
    try:
        while running.poll() is None and not list(tmp_path.glob("structures/*.json")):
            time.sleep(0.01)
    finally:
        running.kill()
    assert running.wait() == -signal.SIGKILL
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("structures/*.json")}
    assert 1 <= len(before) < 3
    found = census(tmp_path, 3, seed=0, workers=2)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert found == [counted(0, number) for number in range(3)]
    assert all(each.complete and each.real > 0 for each in found)


def known(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replace the counting by what is known; return the list of what is counted."""
    asked: list[int] = []

    def instead(_: int, structure: int) -> Counted:
        asked.append(structure)
        return KNOWN[structure]

    monkeypatch.setattr(module, "counted", instead)
    return asked


def test_only_what_is_missing_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, told = known(monkeypatch), list[str]()
    assert census(tmp_path, 2, seed=0, workers=1, progress=told.append) == KNOWN[:2]
    assert census(tmp_path, 4, seed=0, workers=1, progress=told.append) == KNOWN
    assert asked == [0, 1, 2, 3]
    assert told == [f"{n} structures, 1 with a trap" for n in (1, 2, 3, 4)]


def test_a_folder_of_another_seed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = known(monkeypatch)
    census(tmp_path, 1, seed=0, workers=1)
    with pytest.raises(FolderError, match=r"was started with other settings \(seed: was 0, is now 1\)"):
        census(tmp_path, 1, seed=1, workers=1)
    assert asked == [0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "format None, this version writes 1"),
        ('{"format": 1, "structure": 0, "complete": 2}', "complete: got 2, expected true or false; remove it"),
        ('{"format": 1, "structure": 1, "complete": true}', "holds structure 1; remove it and run again"),
    ],
)
def test_a_damaged_record_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str) -> None:
    known(monkeypatch)
    census(tmp_path, 1, seed=0, workers=1)
    (tmp_path / "structures" / "0.json").write_text(text)
    with pytest.raises(InputError, match=r"0\.json") as refused:
        census(tmp_path, 1, seed=0, workers=1)
    assert said in str(refused.value)


def test_a_full_disk_ends_it_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Path, __: str) -> None:
        raise OSError(28, "No space left on device")

    known(monkeypatch)
    census(tmp_path, 1, seed=0, workers=1)
    monkeypatch.setattr(module, "write_whole", full)
    with pytest.raises(InputError, match="No space left on device; what is finished is kept, run the same command"):
        census(tmp_path, 4, seed=0, workers=1)
    assert [path.name for path in tmp_path.glob("structures/*")] == ["0.json"]


def test_what_is_unknown_widens_the_interval() -> None:
    part, low, high = share(KNOWN)
    assert part == pytest.approx(1 / 3)
    assert low == clopper_pearson(1, 4)[0]
    assert high == clopper_pearson(2, 4)[1]
    assert share(KNOWN[:2])[1:] == clopper_pearson(1, 2)


def test_the_summary_names_what_is_incomplete() -> None:
    said = summary(KNOWN)
    assert "3 of 4 structures complete and certified" in said
    assert "1 have a spurious minimum: 33.3 %" in said
    assert f"large starts: {100 * 5 / (3 * STARTS):.2f} % end in a spurious minimum, 25.0 % on the" in said
    assert "structure 2: 172 of 173 points found" in said


def test_the_table_and_the_picture(tmp_path: Path) -> None:
    write_census(KNOWN, tmp_path / "complete.csv")
    rows = list(csv.DictReader((tmp_path / "complete.csv").read_text("utf-8").splitlines()))
    assert [row["value"] for row in rows] == ["0.02", "", "", ""]
    assert [path.name for path in draw_census(KNOWN, tmp_path / "complete.png")] == ["complete.png"]
