"""`loraml certify` proves, checks, and says in one line what is wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import process_time

import numpy as np
import pytest

from loraml_theory import zoo
from loraml_theory.harness.structure_file import write_structure
from loraml_theory.structure import GroundTruth
from tests.loraml_theory.certified import points, test_check_theorem
from tests.paper_checks.conftest import Loraml


def spurious_file(path: Path, d: int = 3) -> Path:
    write_structure(path, zoo.spurious(np.random.default_rng(0), d, 1, 3))
    return path


def test_a_structure_is_certified_and_the_certificate_is_valid(loraml: Loraml, tmp_path: Path) -> None:
    started = process_time()
    path = spurious_file(tmp_path / "mine.npz", 10)
    ended = loraml("certify", "spurious", "--structure", path.name, "--out", "c.json", "--starts", "40", "--seed", "1")
    assert (ended.status, ended.err) == (0, "")
    assert "Proved: a strict spurious minimum with 0.0973459445488 <= f <= 0.0973459445489" in ended.out
    assert process_time() - started < 30
    made = json.loads((tmp_path / "c.json").read_text("ascii"))
    assert made["found"]["search"] == {"structure": "mine.npz", "starts": 40}
    assert made["found"]["command"].endswith("--starts 40 --seed 1")
    ended = loraml("certify", "check", "c.json")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("Valid: at d = 10, k = 1, T = 3 a strict spurious minimum with f >= 0.09734594")


def test_a_certificate_never_takes_the_place_of_its_structure(loraml: Loraml, tmp_path: Path) -> None:
    path = spurious_file(tmp_path / "mine.npz")
    (tmp_path / "link.json").symlink_to(path)
    before = path.read_bytes()
    for out in (path.name, "link.json"):
        ended = loraml("certify", "spurious", "--structure", path.name, "--out", out)
        expected = f"loraml: error: --out: got {out!r}, which is an input; expected another file\n"
        assert (ended.status, ended.err) == (2, expected)
        assert path.read_bytes() == before


def test_a_search_over_whole_numbers(loraml: Loraml) -> None:
    ended = loraml("certify", "spurious", "--search", "4,1,3", "--seed", "13", "--out", "c.json")
    assert ended.status == 0
    assert "Searched 2 structures from 60 random starts" in ended.out
    assert loraml("certify", "check", "c.json").status == 0


def test_nothing_found_is_status_1_and_nothing_written(loraml: Loraml, tmp_path: Path) -> None:
    words = ("certify", "spurious", "--search", "4,1,2", "--structures", "3", "--starts", "5", "--out", "c.json")
    ended = loraml(*words)
    assert (ended.status, ended.err) == (1, "")
    assert ended.out == (
        "None found, nothing written. Searched 3 structures from 15 random starts: 15 ends stationary, 0 of them "
        "distinct candidates, 0 proofs attempted. This does not prove that there is none.\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", points.SHIPPED, ids=lambda path: path.stem)
def test_shipped_certificates_re_check(loraml: Loraml, path: Path) -> None:
    assert loraml("certify", "check", path).status == 0


def test_a_tampered_certificate_is_status_1(loraml: Loraml, tmp_path: Path) -> None:
    text = points.SHIPPED[0].read_text("ascii")
    (tmp_path / "c.json").write_text(text.replace('"0.0245376"', '"0.0345376"'), "ascii")
    ended = loraml("certify", "check", "c.json")
    assert (ended.status, ended.out, ended.err) == (
        1,
        "Not valid: sha256: the digest does not match the content.\n",
        "",
    )


def test_what_is_no_certificate_is_status_2(loraml: Loraml, tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    (tmp_path / "empty").write_text("")
    (tmp_path / "large").write_bytes(b" " * 10_485_761)
    for name, text in (
        ("bytes", "begins with the byte order mark of UTF-16, expected a certificate in UTF-8"),
        ("empty", "is not JSON"),
        ("large", "is of 10 MiB, expected a certificate of at most 10 MiB"),
        ("none", "cannot be read (No such file or directory), expected a certificate"),
        (".", "is a folder, expected a certificate"),
        ("/dev/zero", "is not a regular file, expected a certificate"),
    ):
        ended = loraml("certify", "check", name)
        assert (ended.status, ended.out) == (2, "")
        assert ended.err.startswith(f"loraml: error: {name}: {text}")
        assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "certify spurious: expected one of --structure FILE.npz and --search d,k,T"),
        (["--search", "4,1,3", "--structure", "x.npz"], "expected one of --structure FILE.npz and --search d,k,T"),
        (["--search", "4,1"], "--search: got '4,1', expected three whole numbers d,k,T"),
        (["--search", "4,one,3"], "--search: got '4,one,3', expected three whole numbers d,k,T"),
        (["--search", "2,3,3"], "--search: got d = 2, k = 3, T = 3, expected 1 <= k <= d, T >= 2, d k T <= 300"),
        (["--search", "101,1,3"], "d k T <= 300"),
        (["--search", "4,1,3", "--starts", "0"], "--starts: got '0', expected a whole number from 1 to 1000000"),
        (["--search", "4,1,3", "--structures", "-1"], "--structures: got '-1'"),
        (["--search", "4,1,3", "--seed", "x"], "--seed: got 'x'"),
        (["--structure", "none.npz"], "none.npz: cannot be read"),
        (["--structure", "large.npz"], "large.npz: got T d k = 303 unknowns, expected at most 300"),
        (["--structure", "tiny.npz"], "tiny.npz: U_star: got entries up to 1e-200, expected 1e-100 to 1e100"),
    ],
)
def test_wrong_options_are_one_line(loraml: Loraml, tmp_path: Path, words: list[str], text: str) -> None:
    write_structure(tmp_path / "large.npz", zoo.generic(np.random.default_rng(0), 101, 1, 3))
    write_structure(tmp_path / "tiny.npz", GroundTruth(np.zeros((3, 3)), np.full((4, 3, 1), 1e-200)))
    ended = loraml("certify", "spurious", "--out", "c.json", *words)
    assert (ended.status, ended.out) == (2, "")
    assert text in ended.err
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "c.json").exists()


def test_an_unwritable_certificate_is_status_2(loraml: Loraml, tmp_path: Path) -> None:
    path = spurious_file(tmp_path / "mine.npz")
    words = ("certify", "spurious", "--structure", path.name, "--starts", "40", "--seed", "1", "--out")
    ended = loraml(*words, "none/c.json")
    assert (ended.status, ended.err) == (
        2,
        "loraml: error: none/c.json: cannot be written (No such file or directory)\n",
    )


def test_without_flint_proving_is_an_error_and_checking_is_not(loraml: Loraml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flint", None)
    ended = loraml("certify", "spurious", "--search", "4,1,3", "--out", "c.json")
    assert (ended.status, ended.err) == (
        2,
        "loraml: error: certify spurious: needs python-flint: pip install '.[exact]' in a clone of loraml-theory\n",
    )
    assert loraml("certify", "check", points.SHIPPED[0]).status == 0


@pytest.mark.parametrize("adapters", [[], ["--asymmetric"]], ids=["symmetric", "asymmetric"])
def test_a_theorem_is_certified_for_all_structures(loraml: Loraml, tmp_path: Path, adapters: list[str]) -> None:
    ended = loraml("certify", "theorem", "ML-3", "--k", "1", *adapters, "--out", "c.json")
    assert (ended.status, ended.err) == (0, "")
    kind = "asymmetric" if adapters else "symmetric"
    said = f"ML-3 for every structure with an independent triple at k = 1, any d >= 3 and T >= 3, {kind} adapters"
    assert ended.out == f"Proved: {said}, by 2 identities of 2, 2 terms.\nCertificate: c.json\n"
    assert json.loads((tmp_path / "c.json").read_text("ascii"))["found"]["command"].endswith("--out c.json")
    ended = loraml("certify", "check", "c.json")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out == f"Valid: {said}. 4 terms checked in exact arithmetic.\n"


def test_two_tasks_prove_nothing(loraml: Loraml, tmp_path: Path) -> None:
    ended = loraml("certify", "theorem", "ML-3", "--k", "1", "--tasks", "2", "--out", "c.json")
    assert (ended.status, ended.err) == (1, "")
    assert ended.out.startswith("Not proved, nothing written: no identity for X[0, 1] up to degree 3: with two tasks ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("ML-4", "--k", "1"), "CLAIM: got 'ML-4', expected ML-3"),
        (("ML-3", "--k", "4"), "--k: got '4', expected a whole number from 1 to 3"),
        (("ML-3", "--k", "1", "--tasks", "4"), "--tasks: got '4', expected a whole number from 2 to 3"),
    ],
)
def test_another_theorem_is_an_error_in_one_line(loraml: Loraml, words: tuple[str, ...], text: str) -> None:
    ended = loraml("certify", "theorem", *words, "--out", "c.json")
    assert (ended.status, ended.out, ended.err) == (2, "", f"loraml: error: {text}\n")


def test_without_flint_no_theorem_is_proved_and_checking_is_possible(
    loraml: Loraml, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "flint", None)
    ended = loraml("certify", "theorem", "ML-3", "--k", "1", "--out", "c.json")
    assert ended.status == 2
    assert ended.err.startswith("loraml: error: certify theorem: needs python-flint: ")
    assert loraml("certify", "check", test_check_theorem.SHIPPED[0]).status == 0


def test_a_damaged_theorem_is_one_line(loraml: Loraml, tmp_path: Path) -> None:
    document = test_check_theorem.document("ml-3-k2-symmetric")
    document["identities"][0]["terms"][0]["coefficient"] += 5
    (tmp_path / "wrong.json").write_text(test_check_theorem.sealed(document), "ascii")
    ended = loraml("certify", "check", "wrong.json")
    assert (ended.status, ended.out) == (1, "Not valid: identities[0]: its two sides differ.\n")
    document["identities"][0]["terms"][0]["coefficient"] = "1"
    (tmp_path / "odd.json").write_text(test_check_theorem.sealed(document), "ascii")
    ended = loraml("certify", "check", "odd.json")
    assert (ended.status, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert "identities[0]: terms[0]: coefficient: got '1'" in ended.err


def test_a_theorem_is_exported_once_it_is_checked(loraml: Loraml, tmp_path: Path) -> None:
    shipped = test_check_theorem.SHIPPED[0]
    ended = loraml("certify", "export", shipped, "--out", "recovery.v")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.endswith("Written: recovery.v; check it with coqc\n")
    assert "Theorem exact_recovery" in (tmp_path / "recovery.v").read_text("ascii")
    document = test_check_theorem.document(shipped.stem)
    document["identities"][0]["multiple"] += 1
    (tmp_path / "wrong.json").write_text(test_check_theorem.sealed(document), "ascii")
    ended = loraml("certify", "export", "wrong.json", "--out", "wrong.v")
    assert (ended.status, ended.out) == (1, "Not valid: identities[0]: its two sides differ.\n")
    assert not (tmp_path / "wrong.v").exists()
    ended = loraml("certify", "export", points.SHIPPED[0], "--out", "wrong.v")
    assert ended.status == 2
    assert ended.err.endswith("got a certificate of a spurious minimum, expected one of a theorem\n")
