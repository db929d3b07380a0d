"""A package imports the module of a name when the name is first asked for."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

INIT = (
    "from loraml_theory.lazy_names import lazy\n__getattr__, __dir__ = lazy(__name__, {'': 'inner', 'inner': 'a b'})\n"
)


def test_names_are_imported_when_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a_lazy_package"
    folder.mkdir()
    (folder / "__init__.py").write_text(INIT)
    (folder / "inner.py").write_text("a, b, c = 1, 2, 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    package = import_module("a_lazy_package")
    assert "a_lazy_package.inner" not in sys.modules
    assert dir(package) == ["a", "b", "inner"]
    assert (package.a, package.b) == (1, 2)
    assert package.__dict__["a"] == 1  # not asked for twice
    assert package.inner.c == 3
    with pytest.raises(AttributeError, match="'a_lazy_package' has no attribute 'c'"):
        _ = package.c
