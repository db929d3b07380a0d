"""The printed advice: a layer takes one line of a narrow terminal, and every number is whole."""

from __future__ import annotations

from io import StringIO
from typing import Any

from rich.console import Console

from paper_checks.report.advice import middle_cut, summary

LONG = "model.language_model.layers.{}.mlp.experts.gate_up_proj_with_a_long_name.weight"


def layer(name: str) -> dict[str, Any]:
    ranks = {f"rank_{start}_share": rank for start, rank in (("base", 16), ("sr", 128), ("ml", None))}
    return {
        "name": name,
        "shape": [14336, 4096],
        "k": 12,
        "k_ci": [10, 14],
        "k_censored": True,
        "null_p": 0.01,
        **ranks,
    }


def printed(names: list[str], width: int) -> list[str]:
    said = {"findings": ["Use rank 16 from the base as it is."], "cannot_tell": []}
    found = {"layers": [layer(name) for name in names], "overall": said, "settings": {"share": 0.95}}
    page = StringIO()
    summary(Console(file=page, width=width), {**found, "notes": [], "skipped": [], "written": None}, "advice.html")
    return page.getvalue().splitlines()


def test_a_layer_with_a_long_name_takes_one_line_of_80_columns() -> None:
    lines = printed([LONG.format(i) for i in range(12)], 80)
    rows = [line.split() for line in lines if "14336" in line]
    assert len(rows) == 12
    assert all(len(line) <= 80 for line in lines)
    assert [row[1:] for row in rows] == [
        ["14336", "×", "4096", "≥", "12", "[10,", "14]", "0.01", "16", "128", "–"]
    ] * 12
    assert rows[0][0].startswith("0")
    assert rows[0][0] != rows[11][0]
    assert next(line for line in lines if "LoRA-ML" in line and "average" in line and "shape" in line)


def test_a_name_keeps_its_begin_and_its_end() -> None:
    assert middle_cut("layers.0.q_proj", 15) == "layers.0.q_proj"
    assert middle_cut("layers.0.self_attn.q_proj", 15) == "layer…tn.q_proj"
