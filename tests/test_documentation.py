"""The documentation builds without a warning, which checks its links, and loads nothing from outside."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from paper_checks import registry
from tests.test_public_names import NAMES

ROOT = Path(__file__).parent.parent
LOADED = re.compile(
    r'<(?:script|img|link|iframe|source)\b[^>]*\b(?:src|href)="?(?:https?:|//)|(?:url\(|@import )["\']?(?:https?:|//)'
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]  # quiet hides warnings
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(find_spec("mkdocs") is None, reason="needs mkdocs-material, the extra docs"),
]


def test_every_claim_has_a_page_with_its_formulas(site: Path) -> None:
    for claim in registry.claims():
        page = (site / f"claims/{claim.id}.html").read_text("utf-8")
        assert f"{claim.id}:" in page
        assert ("<math" in page) == ("$" in claim.statement + claim.title)
        assert "$<code>" not in page
        assert "What its check must refute" in page


def test_proofs_are_those_of_the_theory(site: Path) -> None:
    theorems = [claim.id for claim in registry.claims() if claim.nature == "theorem"]
    assert all("Proof" in (site / f"claims/{id_}.html").read_text("utf-8") for id_ in theorems)


@pytest.mark.parametrize("package", ["loraml_theory", *NAMES])
def test_the_reference_has_every_public_name(site: Path, package: str) -> None:
    page = (site / f"api/{package.partition('.')[0]}.html").read_text("utf-8")
    described = {found.rpartition(".")[2] for found in re.findall(r'id="([\w.]+)"', page)}
    assert set(import_module(package).__all__) - described == set()


def test_links_and_search_work_in_files(site: Path) -> None:
    start = (site / "index.html").read_text("utf-8")
    assert 'href="guides/referee.html"' in start
    assert 'src="iframe-worker.js"' in start
    assert (site / "search/search_index.js").exists()


def test_no_page_loads_anything_from_outside(site: Path) -> None:
    pages = [path for suffix in ("html", "css") for path in site.rglob(f"*.{suffix}")]
    assert len(pages) > 30
    outside = [found[0] for page in pages if (found := LOADED.search(page.read_text("utf-8")))]
    assert outside == []
