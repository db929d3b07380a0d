"""What README.md and CONTRIBUTING.md show is so."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from loraml_theory.harness.structure_file import read_structure
from paper_checks import claims, registry
from paper_checks.claim import PROFILES, Claim, Verdict
from paper_checks.cli import main
from paper_checks.notation import unicode
from paper_checks.own_claims import template
from paper_checks.verify import check

ROOT = Path(__file__).parent.parent
DOCUMENTS = [path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))]


def blocks(document: str, language: str) -> list[str]:
    """Return the fenced blocks of one language in a document."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / document).read_text("utf-8"), re.DOTALL | re.MULTILINE)


def test_python_writes_a_structure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(blocks("docs/formats.md", "python")[0], {})
    truth, notes = read_structure("my.npz")
    assert (truth.d, truth.k, truth.T, notes) == (8, 2, 3, [])


def test_python_example_prints_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    example = blocks("README.md", "python")[1]
    exec(example, {})
    assert capsys.readouterr().out == blocks("README.md", "text")[0]
    assert len([line for line in example.splitlines() if line]) == 10


def test_command_writes_a_structure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (command,) = re.findall(r"^loraml (structure .*?) +#", "".join(blocks("README.md", "sh")), re.MULTILINE)
    with pytest.raises(SystemExit) as ended:
        main(command.split())
    assert ended.value.code == 0
    assert read_structure("my.npz")[0].T == 3


def test_claim_table_matches_the_registry() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    table = text.partition("<!-- claims:begin -->")[2].partition("<!-- claims:end -->")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()[2:]]
    assert [(row[0], row[1]) for row in rows] == [(claim.id, unicode(claim.title)) for claim in registry.claims()]
    assert {row[2].strip("`") for row in rows} <= set(Verdict)


def test_verdicts_are_explained() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert all(f"| `{verdict}` |" in text for verdict in Verdict)


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Claim]:
    """Add the recipe's claim where the registry looks, as if there were no other."""
    (tmp_path / "own_1.py").write_text(template("OWN-1"), "utf-8")
    monkeypatch.setattr(claims, "__path__", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "paper_checks.claims.own_1", raising=False)
    registry.claims.cache_clear()
    (claim,) = registry.get(["OWN-1"])
    assert isinstance(claim, Claim)
    yield claim
    registry.claims.cache_clear()


def test_claim_of_the_recipe_is_supported_and_its_controls_refuted(recipe: Claim) -> None:
    profile = replace(PROFILES["quick"], structures=1, engine="cpu")
    result = check(recipe, recipe.instances(0), profile, seed=0, at_scale=True)
    assert result.verdict is Verdict.SUPPORTED, result.reason
    assert [control.verdict for control in result.controls] == 3 * [Verdict.REFUTED]
    assert {item.kind for item in result.evidence} == {"exact", "numerical", "statistical"}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_local_links_lead_somewhere(document: str) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / document).read_text("utf-8"))
    local = [link for link in links if not link.startswith(("http:", "https:", "claims/"))]  # the site makes these
    assert [link for link in local if not (ROOT / document).parent.joinpath(link).exists()] == []
