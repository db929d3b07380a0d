"""The documentation builds without a warning, which checks its links, and loads nothing from outside."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from paper_checks import registry

ROOT = Path(__file__).parent.parent
LOADED = re.compile(r'<(?:script|img|link|iframe|source)\b[^>]*\b(?:src|href)="(https?:|//)')


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    return folder


pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(find_spec("mkdocs") is None, reason="needs mkdocs-material, the extra docs"),
]


def test_every_claim_has_a_page_with_its_formulas(site: Path) -> None:
    for claim in registry.claims():
        page = (site / f"claims/{claim.id}/index.html").read_text("utf-8")
        assert f"{claim.id}:" in page
        assert ("<math" in page) == ("$" in claim.statement + claim.title)
        assert "<code>$" not in page
        assert "What its check must refute" in page


def test_proofs_are_those_of_the_theory(site: Path) -> None:
    theorems = [claim.id for claim in registry.claims() if claim.nature == "theorem"]
    assert all("Proof" in (site / f"claims/{id_}/index.html").read_text("utf-8") for id_ in theorems)


def test_no_page_loads_anything_from_outside(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    outside = [found[0] for page in pages if (found := LOADED.search(page.read_text("utf-8")))]
    assert outside == []
