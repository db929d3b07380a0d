"""Pages escape every text, load nothing, and refuse a variable that is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from loraml_theory.harness.page import page

TEMPLATE = "{% extends 'page.html.j2' %}{% block content %}<p>{{ said | louder }}</p>{% endblock %}"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / "a_package_with_a_page"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "own.html.j2").write_text(TEMPLATE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, folder.name, raising=False)
    return folder.name


def test_texts_are_escaped_and_filters_applied(package: str) -> None:
    text = page(package, "own.html.j2", {"said": "<b>&"}, filters={"louder": lambda said: f"{said}!"})
    assert "<p>&lt;b&gt;&amp;!</p>" in text
    assert "<script src" not in text


def test_a_missing_variable_is_an_error(package: str) -> None:
    with pytest.raises(UndefinedError, match="said"):
        page(package, "own.html.j2", {}, filters={"louder": str})
