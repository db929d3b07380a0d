from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loraml_theory.harness.structure_file import read_structure
from paper_checks.commands import program
from paper_checks.evidence.evidence import Note
from paper_checks.evidence.instance import Instance
from tests.paper_checks import fakes
from tests.paper_checks.conftest import Loraml

FAKE = """
import os, signal, time
from paper_checks import cli, registry
from tests.paper_checks import fakes
def waits(on, profile):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
registry.claims = lambda: (fakes.claim(), fakes.claim(id="ML-1", check=waits))
cli.main()
"""


def outside(folder: Path, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `loraml` with fake claims as a process; ML-1 interrupts itself."""
    root = str(Path(__file__).parents[3])
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run(
        [sys.executable, "-c", FAKE, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": root},
        text=True,
        timeout=60,
        check=False,
        **options,
    )


def structure(path: Path, **changes: Any) -> Path:
    np.savez(path, **{"A_star": np.eye(4), "U_star": np.ones((3, 4, 1)), **changes})
    return path


def test_verify_prints_a_table_and_writes_both_reports(loraml: Loraml, tmp_path: Path) -> None:
    ended = loraml("verify")
    assert (ended.status, ended.err) == (0, "")
    assert "SR-1" in ended.out
    assert "✓ supported" in ended.out
    assert "1 supported; 2 of 2 controls refuted. Report: reports/verify/report.html" in ended.out
    assert "\x1b" not in ended.out
    assert sorted(os.listdir(tmp_path / "reports/verify")) == ["report.html", "verdicts.json"]


def test_mutants_are_shown_written_and_fail_the_run(loraml: Loraml, tmp_path: Path) -> None:
    blind = fakes.claim(check=fakes.measures_size(1.0, measured=1.0))
    ended = loraml("verify", "--mutants", "--out", "r", known=(blind,))
    assert ended.status == 1
    assert "Mutant not caught by SR-1: missing 1/T in the base of standard retraining." in ended.out
    assert "SR-1, the largest entry is 2" in ended.out
    made = json.loads((tmp_path / "r/verdicts.json").read_text("utf-8"))["mutants"]
    assert not made["sound"]
    assert {mutant["nature"] for mutant in made["mutants"]} == {"check", "code", "theorem"}
    assert "not caught:" in (tmp_path / "r/report.html").read_text("utf-8")
    refused = loraml("verify", "--mutants", "--structure", structure(tmp_path / "s.npz"))
    assert (refused.status, refused.out) == (2, "")
    assert "--mutants: expected no --structure, the mutants" in refused.err


def test_certificates_are_written_beside_the_report(loraml: Loraml, tmp_path: Path) -> None:
    def proves(on: Instance, profile: Any) -> Any:
        yield from fakes.measures_size(1.0)(on, profile)
        yield Note(f"../{on.name}", "a proof", "{}\n")

    ended = loraml("verify", "--out", "r", known=(fakes.claim(check=proves),))
    assert ended.status == 0
    assert sorted(os.listdir(tmp_path / "r/certificates")) == ["first.json", "second.json"]
    assert (tmp_path / "r/certificates/first.json").read_text("utf-8") == "{}\n"
    assert '<a href="certificates/first.json">' in (tmp_path / "r/report.html").read_text("utf-8")
    (made,) = json.loads((tmp_path / "r/verdicts.json").read_text("utf-8"))["claims"]
    assert [note.get("certificate") for note in made["notes"]] == [
        *(None, "certificates/first.json"),
        *(None, "certificates/second.json"),
    ]
    assert made["kinds"] == {"exact": 2}


def test_json_is_the_file_and_nothing_else(loraml: Loraml, tmp_path: Path) -> None:
    ended = loraml("verify", "--json", "--seed", "3", "--out", "r", "--profile", "full")
    assert ended.out == (tmp_path / "r/verdicts.json").read_text("utf-8")
    made = json.loads(ended.out)
    assert (made["seed"], made["profile"]) == (3, "full")
    assert made["environment"]["command"] == "loraml verify --json --seed 3 --out r --profile full"
    assert made["real"]["summary"] == ["A sentence."]


def test_a_refuted_theorem_and_a_control_that_is_not_are_status_1(loraml: Loraml) -> None:
    ended = loraml("verify", known=[fakes.claim(check=fakes.measures_size(3.0), controls=(fakes.control(1.0),))])
    assert (ended.status, ended.err) == (1, "")
    assert "✗ refuted" in ended.out
    assert "largest entry on first: measured 1, expected 3 ± 0.1, 2 off." in ended.out
    assert "Control not refuted but supported on own: the largest entry is 1." in ended.out


def test_claims_are_chosen_by_id(loraml: Loraml) -> None:
    known = [fakes.claim(id=name) for name in ("SR-1", "SR-2", "ML-1")]
    made = json.loads(loraml("verify", "--json", "--claim", " ml-1, SR-1,", known=known).out)
    assert [claim["id"] for claim in made["claims"]] == ["SR-1", "ML-1"]
    assert made["real"] == {}


def test_a_structure_replaces_the_drawn_instances(loraml: Loraml, tmp_path: Path) -> None:
    path = structure(tmp_path / "<mine>.npz", A_star=np.eye(4, dtype=np.int64))
    made = json.loads(loraml("verify", "--json", "--structure", path).out)
    assert [item["instance"] for item in made["claims"][0]["evidence"]] == ["<mine>.npz"]
    assert made["notes"] == ["<mine>.npz: A_star: converted from int64 to float64"]
    assert made["real"] == {}


def test_a_table_fits_80_columns(loraml: Loraml) -> None:
    long = fakes.claim(title="a title that is much too long for one line of the table", check=fakes.says_nothing)
    table, _, _ = loraml("verify", known=[long]).out.rpartition("\n\n")
    assert max(map(len, table.splitlines())) <= 80


BOTH_GROUPS = (fakes.claim(), fakes.claim(id="CL-1", group="continual"))


@pytest.mark.parametrize(
    ("words", "ids"),
    [([], ["SR-1", "CL-1"]), (["all"], ["SR-1", "CL-1"]), (["paper"], ["SR-1"]), (["continual"], ["CL-1"])],
)
def test_a_group_of_claims_is_checked_and_listed(
    loraml: Loraml, tmp_path: Path, words: list[str], ids: list[str]
) -> None:
    group = [word for name in words for word in ("--group", name)]
    made = json.loads(loraml("verify", "--json", *group, known=BOTH_GROUPS).out)
    assert [claim["id"] for claim in made["claims"]] == ids
    assert ("One task after another" in loraml("verify", *group, known=BOTH_GROUPS).out) == (len(ids) == 2)
    assert (made["real"] == {}) == (words == ["continual"])
    page = (tmp_path / "reports/verify/report.html").read_text("utf-8")
    assert ("One task after another" in page) == (len(ids) == 2)
    listed = loraml("claims", *group, known=BOTH_GROUPS).out
    assert [id_ for id_ in ("SR-1", "CL-1") if f"{id_}  " in listed] == ids
    assert ("One task after another" in listed) == (len(ids) == 2)


def test_a_claim_of_another_group_is_refused_by_name(loraml: Loraml) -> None:
    refused = loraml("verify", "--group", "paper", "--claim", "CL-1", known=BOTH_GROUPS)
    assert refused.status == 2
    assert "claim: got 'CL-1', expected one of SR-1" in refused.err


def test_claims_lists_statements_assumptions_and_sources(loraml: Loraml) -> None:
    ended = loraml("claims")
    assert ended.status == 0
    for text in ("SR-1", "The largest entry is one.", "entries of size one", "nowhere, section 1"):
        assert text in ended.out
    assert "the largest entry is 2" not in ended.out
    assert "the largest entry is 2" in loraml("claims", "sr-1").out


def test_a_structure_of_every_kind_is_written_and_read(loraml: Loraml, tmp_path: Path) -> None:
    from loraml_theory.zoo import KINDS

    for kind in KINDS:
        ended = loraml("structure", kind, "--d", "8", "--T", "3", "--seed", "5", "--out", f"{kind}.npz")
        assert (ended.status, ended.err) == (0, "")
        truth, notes = read_structure(tmp_path / f"{kind}.npz")
        assert (truth.d, truth.k, truth.T, notes) == (8, 1, 3, [])


@pytest.mark.parametrize("words", [["--help"], ["verify", "--help"], ["--version"]])
def test_help_and_version(loraml: Loraml, words: list[str]) -> None:
    ended = loraml(*words)
    assert (ended.status, ended.err) == (0, "")
    assert "loraml" in ended.out


WRONG_WORDS = {
    "no command": ([], "Missing command"),
    "unknown command": (["verifi"], "'verifi'"),
    "unknown option": (["verify", "--bogus"], "--bogus"),
    "missing value": (["verify", "--claim"], "--claim"),
    "missing option": (["structure", "generic"], "--out"),
    "missing kind": (["structure", "--out", "x.npz"], "KIND"),
    "too many words": (["verify", "more"], "(more)"),
    "two lines": (["verify", "two\nlines [red]"], "lines [red]"),
    "group": (["verify", "--group", "none"], "--group: got 'none', expected paper, continual or all"),
    "profile": (["verify", "--profile", "slow"], "--profile: got 'slow', expected quick or full"),
    "negative seed": (["verify", "--seed", "-1"], "--seed: got '-1', expected a whole number >= 0"),
    "seed of words": (["verify", "--seed", "one"], "--seed: got 'one', expected a whole number >= 0"),
    "endless seed": (["verify", "--seed", "9" * 5000], "expected a whole number >= 0"),
    "unknown claim": (["verify", "--claim", "SR-1,XX-9"], "claim: got 'XX-9', expected one of SR-1"),
    "unknown claim to list": (["claims", "XX-9"], "claim: got 'XX-9', expected one of SR-1"),
    "no claim": (["verify", "--claim", ","], "--claim: got ',', expected ids"),
    "no structure": (["verify", "--structure", "a\nb.npz"], r"a\nb.npz: cannot be read (No such file"),
    "folder as structure": (["verify", "--structure", "."], "is a folder, expected an npz file"),
    "out is a file": (["verify", "--out", "file"], "file: is a file, expected a folder"),
    "out below a file": (
        ["verify", "--out", "file/below"],
        "file/below: cannot be written (Not a directory)",
    ),
    "unknown kind": (["structure", "odd", "--out", "x"], "KIND: got 'odd', expected one of asymmetric"),
    "sizes": (["structure", "generic", "--k", "11", "--out", "x"], "k: got 11, expected 1 <= k <= d = 10"),
    "no dimension": (["structure", "generic", "--d", "0", "--out", "x"], "d: got 0, expected a whole number >= 1"),
    "huge sizes": (["structure", "generic", "--d", "99999", "--out", "x"], "--d, --k, --T: got 99999, 1, 3"),
    "no number": (
        ["structure", "generic", "--T", "2.5", "--out", "x"],
        "--T: got '2.5', expected a whole number",
    ),
    "no folder": (["structure", "generic", "--out", "no/x"], "no/x: cannot be written (No such file"),
    "a folder": (["structure", "generic", "--out", "."], "is not a regular file, expected the name of a file to write"),
}


@pytest.mark.parametrize(("words", "expected"), WRONG_WORDS.values(), ids=WRONG_WORDS)
def test_wrong_words_are_one_line_and_status_2(loraml: Loraml, tmp_path: Path, words: list[str], expected: str) -> None:
    (tmp_path / "file").write_text("kept")
    ended = loraml(*words)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("loraml: error: ")
    assert ended.err.endswith("\n")
    assert ended.err.count("\n") == 1
    assert expected in ended.err
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "kept"


def test_the_folder_is_tried_before_the_work(loraml: Loraml, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(**_: Any) -> Any:
        raise OSError(28, "No space left on device")

    def never(_on: Instance, _profile: Any) -> Any:
        pytest.fail("the check must not run")

    monkeypatch.setattr("paper_checks.commands.output.TemporaryFile", refuses)
    ended = loraml("verify", "--out", "r", known=[fakes.claim(check=never)])
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == "loraml: error: r: cannot be written (No space left on device)\n"


def test_a_full_disk_leaves_the_old_reports(loraml: Loraml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loraml("verify", "--out", "r")
    before = {path: path.read_bytes() for path in (tmp_path / "r").iterdir()}

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    ended = loraml("verify", "--out", "r", "--seed", "1")
    assert (ended.status, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert {path: path.read_bytes() for path in (tmp_path / "r").iterdir()} == before


@pytest.mark.long
def test_ctrl_c_is_one_line_and_leaves_the_old_reports(tmp_path: Path) -> None:
    assert outside(tmp_path, "verify", "--claim", "SR-1").returncode == 0
    reports = tmp_path / "reports/verify"
    before = {path: path.read_bytes() for path in reports.iterdir()}
    ended = outside(tmp_path, "verify", "--claim", "SR-1,ML-1", "--workers", "1")
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "loraml: interrupted\n")
    assert {path: path.read_bytes() for path in reports.iterdir()} == before


INTERRUPTED = """
import os, signal, sys
class Interrupts:
    def find_spec(self, name, *_):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupts())
from paper_checks import cli
cli.main(["claims"])
"""


@pytest.mark.parametrize("module", ["loraml_theory.harness.errors", "typer", "paper_checks.commands.verify"])
def test_ctrl_c_is_one_line_while_commands_are_imported(module: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED, module]
    ended = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "loraml: interrupted\n")


def test_ctrl_c_that_typer_takes_is_one_line(loraml: Loraml, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(program._commands(), "invoke", interrupted)
    ended = loraml("claims")
    assert (ended.status, ended.out, ended.err) == (130, "", "loraml: interrupted\n")


@pytest.mark.long
def test_ctrl_c_ends_all_processes(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from paper_checks import cli; cli.main()", "verify", "--claim", "ML-7,FT-2"]
    options: dict[str, Any] = {"cwd": tmp_path, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen([*command, "--workers", "2"], env=environment, process_group=0, **options) as running:
        while not (working := children(running.pid)):
            time.sleep(0.05)
        time.sleep(1.0)
        os.killpg(running.pid, signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert (running.returncode, out, err) == (130, "", "loraml: interrupted\n")
    until = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in working):
        assert time.monotonic() < until, "a process is left"
        time.sleep(0.05)


def children(pid: int) -> list[str]:
    """Return the processes below a process."""
    own = Path(f"/proc/{pid}/task/{pid}/children").read_text("utf-8").split()
    return [*own, *(below for child in own for below in children(int(child)))]


@pytest.mark.long
def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    ended = outside(tmp_path, "verify", "--claim", "SR-1", "--json", stdout=write)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.long
def test_full_standard_output_is_one_line(tmp_path: Path) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        ended = outside(tmp_path, "verify", "--claim", "SR-1", stdout=full)
    expected = "loraml: error: standard output: cannot be written (No space left on device)\n"
    assert (ended.returncode, ended.stderr) == (2, expected)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_standard_error_does_not_change_the_status(tmp_path: Path) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        assert outside(tmp_path, "verifi", stderr=full).returncode == 2
        assert outside(tmp_path, "verify", "--claim", "ML-1", stderr=full).returncode == 130


def test_a_link_that_leads_nowhere_is_not_a_folder(loraml: Loraml, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    ended = loraml("verify", "--out", "link")
    expected = "loraml: error: link: is a link that leads nowhere, expected a folder or a new name\n"
    assert (ended.status, ended.err) == (2, expected)


@pytest.mark.long
def test_names_that_are_no_text_are_escaped(tmp_path: Path) -> None:
    path = structure(tmp_path / os.fsdecode(b"bad-\xff.npz"))
    ended = outside(tmp_path, "verify", "--claim", "SR-1", "--structure", str(path), "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    (claim,) = json.loads(ended.stdout)["claims"]
    assert claim["evidence"][0]["instance"] == r"bad-\udcff.npz"
