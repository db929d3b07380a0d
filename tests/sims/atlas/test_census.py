"""The census: structures are independent of each other, and intervals count what is unknown."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

pytest.importorskip("flint")

from sims.atlas.census import STARTS, Counted, census, counted, draw_census, share, summary, write_census
from sims.ensembles.proportions import clopper_pearson

KNOWN = [
    Counted(0, complete=True, real=19, spurious=1, value=0.02, small=0, large=5),
    Counted(1, complete=True, real=18),
    Counted(2, complete=False, reason="172 of 173 points found"),
    Counted(3, complete=True, real=18),
]


@pytest.mark.long
def test_a_structure_does_not_depend_on_the_others() -> None:
    both = census(2, seed=0, workers=2)
    assert both == [counted(0, 0), counted(0, 1)]
    assert all(each.complete and each.real > 0 for each in both)


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
