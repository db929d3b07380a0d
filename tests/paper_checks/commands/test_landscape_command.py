"""`loraml landscape` writes a page and a document that follows its schema, and refuses by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("flint")

from loraml_theory import zoo
from loraml_theory.harness.json_schema import first_problem
from loraml_theory.harness.structure_file import write_structure
from loraml_theory.structure import GroundTruth
from tests.paper_checks.conftest import Loraml

REFUSED = {
    "k": (zoo.generic(np.random.default_rng(0), 6, 2, 3), "k: got 2, expected 1"),
    "two tasks": (zoo.generic(np.random.default_rng(0), 6, 1, 2), "T: got 2, expected 3: with two tasks the critical"),
    "four tasks": (zoo.generic(np.random.default_rng(0), 3, 1, 4), "d, T: got 3, 4, expected T = 3 and d >= 3"),
    "plane": (zoo.generic(np.random.default_rng(0), 2, 1, 3), "d, T: got 2, 3, expected T = 3 and d >= 3"),
    "dependent": (zoo.dependent(np.random.default_rng(0), 4, 1, 3), "expected independent factors"),
    "orthogonal": (zoo.orthogonal(np.random.default_rng(0), 4, 1, 3), "end on sets of positive dimension"),
}


def written(truth: GroundTruth, folder: Path) -> Path:
    write_structure(folder / "s.npz", truth)
    return folder / "s.npz"


@pytest.mark.long
@pytest.mark.parametrize("d", [3, 5])
def test_the_integer_instance(loraml: Loraml, tmp_path: Path, d: int) -> None:
    """Padding with zeros changes neither the count nor the values."""
    file = written(zoo.spurious(np.random.default_rng(0), d, 1, 3), tmp_path)
    ended = loraml("landscape", "--structure", file, "--out", tmp_path / "here", "--starts", "100")
    assert (ended.status, ended.err) == (0, "")
    assert "173 of 173 critical points up to signs, all certified: 19 real" in ended.out
    found = json.loads((tmp_path / "here/landscape.json").read_text("utf-8"))
    assert first_problem(found, "paper_checks.report", "landscape") is None
    assert found["minima"] == {"global": 1, "spurious": 1}
    assert (found["d"], found["expected"], found["found"], found["solutions"]) == (d, 173, 173, 1095)
    values = [point["value"] for point in found["points"] if point["kind"] != "complex"]
    assert values == sorted(values)
    assert values[1] == pytest.approx(0.0973459445488, abs=1e-10)
    assert found["points"][1]["curvature"] == pytest.approx(0.024537867, abs=1e-8)
    for descent in found["descents"]:
        assert sum(end["starts"] for end in descent["ends"]) + descent["elsewhere"] == 100
        assert {found["points"][end["point"]]["index"] for end in descent["ends"]} == {0}
    assert "data:image/svg+xml" in (tmp_path / "here/landscape.html").read_text("utf-8")


@pytest.mark.long
def test_units_only_scale(loraml: Loraml, tmp_path: Path) -> None:
    truth = zoo.spurious(np.random.default_rng(0), 3, 1, 3)
    file = written(GroundTruth(truth.A_star, 1e3 * truth.U_star), tmp_path)
    assert loraml("landscape", "--structure", file, "--out", tmp_path / "here", "--starts", "20").status == 0
    found = json.loads((tmp_path / "here/landscape.json").read_text("utf-8"))
    assert found["points"][1]["value"] == pytest.approx(0.0973459445488e12, rel=1e-9)
    assert [each["elsewhere"] for each in found["descents"]] == [0, 0]


@pytest.mark.long
@pytest.mark.parametrize("name", REFUSED)
def test_a_structure_without_a_countable_landscape_is_refused(loraml: Loraml, tmp_path: Path, name: str) -> None:
    truth, said = REFUSED[name]
    file = written(truth, tmp_path)
    ended = loraml("landscape", "--structure", file, "--out", tmp_path / "here")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith(f"loraml: error: {file}: ")
    assert said in ended.err
    assert ended.err.count("\n") == 1
    assert list((tmp_path / "here").iterdir()) == []


def test_bad_options_are_one_line(loraml: Loraml, tmp_path: Path) -> None:
    ended = loraml("landscape", "--structure", tmp_path / "none.npz", "--out", tmp_path / "here")
    assert ended.status == 2
    assert "none.npz" in ended.err
    ended = loraml("landscape", "--structure", tmp_path / "none.npz", "--starts", "0")
    assert ended.err == "loraml: error: --starts: got '0', expected a whole number from 1 to 100000\n"
