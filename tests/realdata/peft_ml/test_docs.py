"""What docs/peft_ml.md shows is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

PAGE = (Path(__file__).parents[3] / "docs" / "peft_ml.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_the_page_runs_and_prints_what_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    with torch.random.fork_rng():
        for block in blocks("python"):
            exec(block, names)
    assert capsys.readouterr().out == blocks("text")[0]
    inputs = names["inputs"]
    expected = names["meta"].eval()(inputs, "dog-frog")
    assert torch.equal(names["again"].eval()(inputs, "dog-frog"), expected)
    assert torch.equal(names["stock"].eval()(inputs), expected)
    assert names["adapted"](inputs).shape == (24, 2)
    assert len([line for line in blocks("python")[1].splitlines() if line]) == 10
