"""The examples run, in their quick form, and show what they say."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

import pytest

from tests.paper_checks.conftest import NEEDS_REALDATA

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.long


def example(name: str) -> dict[str, object]:
    return runpy.run_path(str(ROOT / f"examples/{name}.py"))


def test_a_sweep_has_its_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    example("sweep_with_figure")["main"](tmp_path / "runs")  # type: ignore[operator]
    assert (tmp_path / "runs/error.png").read_bytes().startswith(b"\x89PNG")


@NEEDS_REALDATA
@pytest.mark.filterwarnings("ignore::FutureWarning")  # between the versions of peft and transformers
def test_what_is_retrained_loads_in_stock_peft(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example("retrain")["main"](str(tmp_path / "retrained"), steps=3)  # type: ignore[operator]
    assert "an adapter of stock peft: 512 numbers" in capsys.readouterr().out
