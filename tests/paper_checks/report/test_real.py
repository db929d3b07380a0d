"""The report's section on real data."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from io import StringIO
from typing import Any

import numpy as np
import pytest
from jsonschema import ValidationError
from rich.console import Console

from loraml_theory.harness.errors import one_line
from loraml_theory.harness.json_schema import validator
from paper_checks.report import html, verdicts
from paper_checks.report.real import section
from paper_checks.report.terminal import show_run
from realdata.completion import digits
from realdata.completion.leave_one_out import Settings
from realdata.completion.tasks import Task
from tests.paper_checks.report.test_report import ENVIRONMENT, EVIL, ran

SMALL = Settings(
    splits=3,
    ranks=(1, 2),
    samples=(6, 12),
    ridges=(1.0,),
    validation_ranks=(1,),
    validation_splits=2,
    validation_reach=1,
    relative_tolerance=1e-6,
    stop_without_ridge=2,
)


def few_tasks() -> list[Task]:
    rng = np.random.default_rng(0)
    names = ["0", "1", "2", EVIL]
    return [Task(name, rng.standard_normal((5, 30)), rng.standard_normal((4, 30))) for name in names]


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], dict[str, Any]]:
    monkeypatch.setattr(digits, "half_images", few_tasks)
    monkeypatch.setitem(digits.SETTINGS, "quick", SMALL)
    return digits.study


def test_the_record_meets_the_schema(study: Callable[[str, int], dict[str, Any]]) -> None:
    made = verdicts.document(replace(ran(), real=study("quick", 1)), ENVIRONMENT)
    assert len(made["real"]["rows"]) == 4 * 2 * 2 * 2
    without_errors = deepcopy(made)
    del without_errors["real"]["rows"][0]["error_sr"]
    without_overall = deepcopy(made)
    del without_overall["real"]["overall"]
    for broken in (without_errors, without_overall):
        with pytest.raises(ValidationError):
            validator("paper_checks.report", "verdicts").validate(broken)


def test_the_page_shows_every_class_and_escapes_its_name(study: Callable[[str, int], dict[str, Any]]) -> None:
    real = study("quick", 1)
    text = html.render(replace(ran(), real=real), ENVIRONMENT)
    assert "<script" not in text
    shown = section(real)
    assert shown is not None
    assert (shown.k, shown.samples) == (2, [6, 12])
    assert [line[0] for line in shown.by_class] == ["0", "1", "2", EVIL]
    assert all(len(line) == 2 + 3 * 2 for line in shown.by_class)
    assert [line[:2] for line in shown.overall] == [["1", "6"], ["1", "12"], ["2", "6"], ["2", "12"]]
    assert all(line[-1] == "4 of 4" for line in shown.overall)  # two sweeps are too few to converge
    assert shown.picture.uri in text


def test_the_terminal_shows_the_summary(study: Callable[[str, int], dict[str, Any]]) -> None:
    real = study("quick", 1)
    console = Console(file=StringIO(), width=2000)
    show_run(console, replace(ran(), real=real), "report.html")
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(f"real data  {one_line(sentence)}" in shown for sentence in real["summary"])


def test_a_record_without_rows_has_no_tables() -> None:
    assert section({}) is None
    assert section({"summary": ["A sentence."]}) is None
