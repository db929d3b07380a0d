"""What docs/peft_ml.md and docs/trainer.md show is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from realdata.peft_ml.bundle import load

DOCS = Path(__file__).parents[3] / "docs"


def blocks(language: str, page: str = "peft_ml.md") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (DOCS / page).read_text("utf-8"), re.DOTALL | re.MULTILINE)


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


@pytest.mark.filterwarnings("ignore:'pin_memory' argument:UserWarning")  # Trainer's own, where there is no accelerator
def test_ten_lines_with_a_trainer_retrain_and_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    with torch.random.fork_rng():
        for block in blocks("python", "trainer.md"):
            exec(block, names)
    assert len([line for line in blocks("python", "trainer.md")[1].splitlines() if line]) <= 10
    losses = [entry["eval_parity of 2_loss"] for entry in names["trainer"].state.log_history if "eval_loss" in entry]
    assert len(set(losses)) == 2
    base, again = names["base"].state_dict(), load(names["model"], "retrained/bundle").base().state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in base.items())
    assert not torch.equal(names["model"].state_dict()["classifier.weight"], base["classifier.weight"])
