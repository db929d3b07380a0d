"""What departs from a packaged schema is named by its place."""

from __future__ import annotations

from typing import Any

import pytest

from loraml_theory.harness.json_schema import first_problem

EXPERIMENT: dict[str, Any] = {
    **{"format": 1, "experiment": "vision", "settings": {}, "data": {"source": "digits"}, "unit": "task"},
    **{"score": "accuracy", "scores": {"accuracy": {"title": "accuracy", "chance": 0.5}}, "device": "cpu"},
    **{"precision": "no", "begun": {"command": "loraml vision", "date": "2026-01-01", "versions": {}}},
}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, None),
        ({"format": 2}, "format: 1 was expected"),
        ({"unit": 1, "device": None}, "device: None is not of type 'string'"),
        ({"data": {}}, "data: 'source' is a required property"),
        ({"scores": {"accuracy": {"title": "accuracy"}}}, "scores.accuracy: 'chance' is a required property"),
    ],
    ids=["none", "another format", "two, the first in order", "a key lacks", "deep inside"],
)
def test_the_first_problem_is_named_by_its_place(changes: dict[str, Any], problem: str | None) -> None:
    assert first_problem({**EXPERIMENT, **changes}, "realdata.experiments", "experiment") == problem


def test_a_file_of_another_kind_is_told() -> None:
    assert first_problem([], "realdata.experiments", "experiment") == "the file: [] is not of type 'object'"
