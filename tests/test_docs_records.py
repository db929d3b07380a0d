"""The tables in docs are those that the records kept with them make."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", exc_type=ImportError)

from realdata.continual.report import write as write_chains
from realdata.experiments.packed import unpack
from realdata.experiments.report import write as write_experiment

DOCS = Path(__file__).parents[1] / "docs"


def rows(markdown: str) -> list[list[str]]:
    """Return the cells of all rows of tables, headings left out."""
    lines = [line for line in markdown.splitlines() if line.startswith("|") and "---" not in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.long
def test_capacity(tmp_path: Path) -> None:
    assert unpack(DOCS / "records/cifar10-capacity.jsonl", tmp_path) == 60
    write_experiment(tmp_path, switches={})
    found = [row for row in rows((tmp_path / "results.md").read_text("utf-8")) if len(row) == 8 and row[1] == "5"]
    text = (DOCS / "vision.md").read_text("utf-8")
    assert len(found) == 3 * 4
    for row in found:
        assert (row[3] if row[0] == "standard" else f"{row[5]}, {row[6]}") in text


@pytest.mark.long
@pytest.mark.parametrize(("name", "count", "lines"), [("cpu", 30, 10), ("starts", 150, 30)])
def test_one_task_after_another(tmp_path: Path, name: str, count: int, lines: int) -> None:
    assert unpack(DOCS / f"records/continual-{name}.jsonl", tmp_path) == count
    write_chains(tmp_path)
    found = rows((tmp_path / "results.md").read_text("utf-8"))
    text = (DOCS / "continual.md").read_text("utf-8")
    own = [row for row in found if len(row) == 9 and row[1].isdigit()]
    assert len(own) == lines
    starts = [row for row in found if " − " in row[1]]
    assert len(starts) == (15 if name == "starts" else 0)
    for row in starts:
        assert row[2] in text
    for row in own if name == "cpu" else ():
        assert row[2] in text
        assert row[7] in text
