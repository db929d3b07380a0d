"""The wheel alone, in an empty folder, does the main job."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent
PARTS = ("loraml_theory", "sims", "realdata", "paper_checks")


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a command and return its standard output; on failure show all it said."""
    done = subprocess.run(command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def project_files() -> list[Path]:
    """Return the files a commit of everything would hold: tracked or not, but not ignored."""
    listing = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", cwd=ROOT)
    return [path for name in listing.split("\0") if (path := Path(name)).name and (ROOT / path).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, project_files: list[Path]) -> Path:
    """Build the wheel from a clean copy."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    for path in project_files:
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, copy / path)
    offline = ("--quiet", "--no-index", "--no-deps", "--no-build-isolation")
    run(sys.executable, "-m", "pip", "wheel", *offline, "--wheel-dir", out, copy, cwd=out)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """Install the wheel, without its dependencies, into a folder of its own."""
    site = tmp_path_factory.mktemp("site")
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, wheel, cwd=site)
    return site


@pytest.mark.long
def test_holds_every_file_of_the_packages(wheel: Path, project_files: list[Path]) -> None:
    packaged = {path for path in project_files if path.parts[0] in PARTS}
    assert {Path(part, "py.typed") for part in PARTS} <= packaged
    with ZipFile(wheel) as archive:
        held = {Path(name) for name in archive.namelist() if ".dist-info/" not in name}
    assert held == packaged


@pytest.mark.long
def test_checks_a_claim_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    where = "import loraml_theory as a, paper_checks as b; print(a.__path__[0]); print(b.__path__[0])"
    environment = {"PYTHONPATH": str(installed), "PYTHONWARNINGS": "error"}
    imported = run(sys.executable, "-c", where, cwd=tmp_path, **environment).splitlines()
    assert imported == [str(installed / "loraml_theory"), str(installed / "paper_checks")]

    command = (installed / "bin" / "loraml", "verify", "--claim", "SR-1", "--out", "reports", "--json")
    printed = json.loads(run(*command, cwd=tmp_path, **environment))
    assert [(claim["id"], claim["verdict"]) for claim in printed["claims"]] == [("SR-1", "supported")]
    assert json.loads((tmp_path / "reports" / "verdicts.json").read_text("utf-8")) == printed
    assert "SR-1" in (tmp_path / "reports" / "report.html").read_text("utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["reports"]
