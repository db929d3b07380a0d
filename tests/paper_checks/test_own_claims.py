"""Claims of one's own: files and packages that state them, and one line for whatever is wrong with them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from loraml_theory.harness.errors import InputError
from paper_checks import own_claims, registry
from paper_checks.claim import PROFILES, Claim, Verdict
from paper_checks.own_claims import of_packages, read, template
from paper_checks.verify import verify
from tests.paper_checks.conftest import Loraml

SMALL = """\
from dataclasses import replace

from paper_checks.claim import Assumption, Control, Finding
from paper_checks.evidence.evidence import Evidence, Note
from tests.paper_checks import fakes


def check(instance, profile):
    yield fakes.evidence(instance=instance.name)


CLAIM = replace(
    fakes.claim(),
    id="OWN-2",
)
"""


def line_of(text: str, part: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if part in line)


def stated(tmp_path: Path, text: str | bytes, name: str = "mine.py") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_template_is_the_claim_under_another_id(tmp_path: Path) -> None:
    (claim,) = read(str(stated(tmp_path, template("MINE-7"))), taken=())
    assert (claim.id, claim.file) == ("MINE-7", str(tmp_path / "mine.py"))
    assert "OWN-1" not in template("MINE-7")
    assert template("OWN-1") == (Path(own_claims.__file__).parent / "claims/_template.py").read_text("utf-8")


@pytest.mark.long
def test_the_template_unedited_is_supported_and_its_control_refuted(loraml: Loraml, tmp_path: Path) -> None:
    ended = loraml("claims", "--new", "MINE-7")
    assert (ended.status, ended.err, ended.out) == (0, "", template("MINE-7"))
    checked = loraml("verify", "--claims", stated(tmp_path, ended.out))
    assert (checked.status, checked.err) == (0, "")
    assert "1 supported; 2 of 2 controls refuted" in checked.out


def test_the_claims_of_a_file_are_checked_alone_or_beside_others(loraml: Loraml, tmp_path: Path) -> None:
    two = SMALL.replace("CLAIM =", "FIRST =") + 'CLAIMS = (FIRST, replace(FIRST, id="OWN-3"))\n'
    file = stated(tmp_path, two)
    alone = loraml("verify", "--claims", file)
    assert (alone.status, alone.out.count("supported "), "real data" in alone.out) == (0, 2, False)
    beside = loraml("verify", "--claims", file, "--claim", "own-3,SR-1", "--json")
    assert [beside.out.count(f'"id": "{id_}"') for id_ in ("SR-1", "OWN-2", "OWN-3")] == [1, 0, 1]


def test_a_group_of_which_a_file_states_nothing_is_refused(loraml: Loraml, tmp_path: Path) -> None:
    ended = loraml("verify", "--claims", stated(tmp_path, SMALL), "--group", "continual")
    assert (ended.status, ended.out) == (2, "")
    assert "--group: got continual, expected another: " in ended.err
    assert "mine.py states no claim of it" in ended.err


def test_a_refuted_claim_of_a_file_is_status_1(loraml: Loraml, tmp_path: Path) -> None:
    file = stated(tmp_path, SMALL.replace('id="OWN-2",', 'id="OWN-2", check=fakes.measures_size(3.0),'))
    ended = loraml("verify", "--claims", file)
    assert (ended.status, ended.err) == (1, "")
    assert "measured 1, expected 3" in ended.out


@pytest.mark.long
def test_other_processes_know_the_claims_of_a_file(tmp_path: Path) -> None:
    claims = [*registry.get(["SR-1"]), *registry.of_file(str(stated(tmp_path, template("OWN-4"))))]
    run = verify(claims, PROFILES["quick"], seed=0, workers=2)
    assert [result.verdict for result in run.claims] == 2 * [Verdict.SUPPORTED]
    assert run.claims[1].claim is claims[1]
    raising = template("OWN-5").replace("    truth = instance.truth\n", "    raise KeyError('three')\n")
    claims[1:] = registry.of_file(str(stated(tmp_path, raising, "raising.py")))
    with pytest.raises(InputError, match=r"raising.py:\d+: OWN-5: check on generic d=10 k=1 T=2: KeyError: 'three'"):
        verify(claims, PROFILES["quick"], seed=0, workers=2)


def test_a_module_beside_the_file_can_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    stated(tmp_path, "NAME = 'from beside'\n", "my_lemma.py")
    file = stated(tmp_path, "from my_lemma import NAME\n" + SMALL.replace('id="OWN-2"', 'id="OWN-2", title=NAME'))
    (claim,) = read(str(file), taken=())
    assert claim.title == "from beside"


FIELD = "    id="
WRONG: dict[str, tuple[str | bytes, str, str]] = {
    "syntax": (SMALL + "x = = 3\n", "x = =", "SyntaxError: invalid syntax"),
    "name": (SMALL + "nothing\n", "nothing", "NameError: name 'nothing' is not defined"),
    "exit": (SMALL + "raise SystemExit(0)\n", "raise", "SystemExit: 0"),
    "no claim": (SMALL.replace("CLAIM =", "OTHER ="), ")", "states neither of CLAIM = Claim(…) and CLAIMS = (…)"),
    "both": (SMALL + "CLAIMS = (CLAIM,)\n", "CLAIMS", "states both of CLAIM = Claim(…) and CLAIMS = (…)"),
    "no claims": (SMALL.replace("CLAIM =", "OTHER =") + "CLAIMS = ()\n", "CLAIMS", "CLAIMS: got (), expected a tuple"),
    "not a claim": ("CLAIM = 3\n", "CLAIM", "CLAIM: got 3, expected a Claim"),
    "twice": (
        SMALL.replace("CLAIM =", "OTHER =") + "CLAIMS = (OTHER, OTHER)\n",
        "CLAIMS",
        "id: got 'OWN-2', which another claim has",
    ),
    "of the theory": (SMALL.replace("OWN-2", "ML-77"), FIELD, "id: got 'ML-77', expected a family other than those of"),
    "no id": (SMALL.replace("OWN-2", "own"), FIELD, "id: got 'own', expected capital letters, a hyphen, and a number"),
    "missing field": ("from paper_checks.claim import Claim\nCLAIM = Claim(id='OWN-2')\n", "CLAIM =", "missing 8 req"),
    **{
        f"{field}={value}": (
            SMALL.replace('id="OWN-2",', f'id="OWN-2",\n    {field}={value},'),
            f"    {field}=",
            f"OWN-2: {field}: got {shown}, expected {expected}",
        )
        for field, value, shown, expected in (
            ("title", "3", "3", "a text"),
            ("statement", "''", "''", "a text"),
            ("title", "r'$\\foo$'", r"'$\\foo$'", "formulas whose signs paper_checks/notation.py knows"),
            ("nature", "'axiom'", "'axiom'", "'theorem' or 'empirical'"),
            (
                "assumptions",
                "fakes.assumption(True)",
                "a value of type Assumption",
                "a tuple of Assumption(what, test)",
            ),
            ("check", "'check'", "'check'", "a function"),
            ("controls", "()", "none", "at least one false statement, which the check must refute"),
            ("controls", "(check,)", "a value of type tuple", "a tuple of Control(what, check, own_instance)"),
            ("keys", "'key'", "'key'", "a tuple of texts"),
            ("at_scale", "check", "a value of type function", "an AtScale or None"),
            ("group", "'mine'", "'mine'", "one of paper, continual"),
            ("existential", "1", "1", "True or False"),
            ("instances", "[1]", "a value of type list", "a function"),
        )
    },
}


@pytest.mark.parametrize(("text", "part", "expected"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_a_file_is_one_line(
    loraml: Loraml, tmp_path: Path, text: str, part: str, expected: str
) -> None:
    lines = [number for number, line in enumerate(text.splitlines(), 1) if part in line]
    ended = loraml("verify", "--claims", stated(tmp_path, text))
    assert (ended.status, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert ended.err.startswith(f"loraml: error: mine.py:{lines[-1]}: ")
    assert expected in ended.err
    assert os.listdir(tmp_path) == ["mine.py"]


YIELD = "    yield fakes.evidence(instance=instance.name)"
CHECKED = SMALL.replace('id="OWN-2",', 'id="OWN-2",\n    check=check,')
RUNNING: dict[str, tuple[str, str, str]] = {
    "raises": (CHECKED.replace(YIELD, "    raise ValueError('no\\nway')"), "raise", "check on first: ValueError: no"),
    "divides": (
        CHECKED.replace(YIELD, "    yield 1 / 0"),
        "1 / 0",
        "check on first: ZeroDivisionError: division by zero",
    ),
    "a number": (
        CHECKED.replace(YIELD, "    yield 3.0"),
        "3.0",
        "check on first: got 3.0, expected Evidence or a Note",
    ),
    "nothing": (
        CHECKED.replace("yield", "return; "),
        "def check",
        "check on first: TypeError: 'NoneType' object is not it",
    ),
    "a measured word": (
        CHECKED.replace("=instance.name", "=instance.name, measured='one'"),
        "yield",
        "check on first: Evidence: measured: got 'one', expected a number",
    ),
    "a negative tolerance": (
        CHECKED.replace("=instance.name", "=instance.name, tolerance=-1.0"),
        "yield",
        "check on first: Evidence: tolerance: got -1.0, expected a number >= 0",
    ),
    "a coarser resolution": (
        CHECKED.replace("=instance.name", "=instance.name, coarser='mine'"),
        "yield",
        "check on first: Evidence: coarser: got 'mine', expected nothing, 'many tasks' or 'random tasks'",
    ),
    "an unreadable formula": (
        CHECKED.replace("=instance.name", "=instance.name, what='$a^$'"),
        "yield",
        "check on first: got '$a^$', expected formulas whose signs",
    ),
    "an empty note": (CHECKED.replace(YIELD, "    yield Note('x', '')"), "Note(", "check on first: Note: text: got ''"),
    "instances": (
        SMALL.replace(FIELD, "    instances=lambda seed: [seed], id="),
        "[seed]",
        "instances: got 0, expected an I",
    ),
    "an assumption": (
        SMALL.replace(FIELD, "    assumptions=(Assumption('it is', lambda on: True),), id="),
        "lambda",
        "assumption 'it is' on first: got True, expected a Finding",
    ),
    "an assumption's finding": (
        SMALL.replace(FIELD, "    assumptions=(Assumption('it is', lambda on: Finding('yes', 1)),), id="),
        "lambda",
        "assumption 'it is' on first: Finding: holds: got 'yes', expected True, False or None",
    ),
    "a control": (
        SMALL.replace(FIELD, "    controls=(Control('two', lambda on, _: on.nothing, lambda seed: 0),), id="),
        "lambda",
        "control 'two' on first: AttributeError: 'Instance' object has no attribute 'nothing'",
    ),
    "a control's instance": (
        SMALL.replace(FIELD, "    controls=(Control('two', check, lambda seed: seed, on_given=False),), id="),
        "lambda",
        "control 'two': own_instance: got 0, expected an Instance",
    ),
    "a figure": (
        SMALL.replace(FIELD, "    figure=lambda ax, on: ax[0], id="),
        "lambda",
        "figure on first: TypeError: ",
    ),
}


@pytest.mark.parametrize(("text", "part", "expected"), RUNNING.values(), ids=RUNNING)
def test_what_the_functions_of_a_claim_do_wrong_is_one_line(
    loraml: Loraml, tmp_path: Path, text: str, part: str, expected: str
) -> None:
    ended = loraml("verify", "--claims", stated(tmp_path, text))
    assert (ended.status, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert ended.err.startswith(f"loraml: error: mine.py:{line_of(text, part)}: OWN-2: {expected}")


@pytest.mark.parametrize("error", ["FloatingPointError", "OverflowError", "np.linalg.LinAlgError"])
def test_what_float64_cannot_decide_stays_undecided(loraml: Loraml, tmp_path: Path, error: str) -> None:
    text = "import numpy as np\n" + CHECKED.replace(YIELD, f"    raise {error}('too large')\n{YIELD}")
    ended = loraml("verify", "--claims", stated(tmp_path, text))
    assert (ended.status, ended.err) == (1, "")
    assert "? inconclusive" in ended.out


def test_a_file_that_cannot_be_read_is_one_line(loraml: Loraml, tmp_path: Path) -> None:
    for words, expected in (
        (
            (tmp_path / "none.py",),
            "none.py: cannot be read (No such file or directory), expected a Python file with cl",
        ),
        ((tmp_path,), "is a folder, expected a Python file with claims"),
        ((stated(tmp_path, b"x = '\xff'"),), "mine.py: is not UTF-8 (byte 5), expected a Python file with claims"),
    ):
        ended = loraml("verify", "--claims", *words)
        assert (ended.status, ended.out, ended.err.count("\n")) == (2, "", 1)
        assert expected in ended.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("claims", "--new", "ML-3"), "--new: id: got 'ML-3', expected a family other than those of the theory"),
        (("claims", "--new", "mine"), "--new: id: got 'mine', expected capital letters"),
        (("claims", "SR-1", "--new", "X-1"), "--new: got SR-1 with it, expected no other id"),
    ],
)
def test_an_id_that_a_new_claim_cannot_have(loraml: Loraml, words: tuple[str, ...], expected: str) -> None:
    ended = loraml(*words)
    assert (ended.status, ended.out) == (2, "")
    assert expected in ended.err


def package(tmp_path: Path, text: str, value: str = "my_claims") -> None:
    stated(tmp_path, text, "my_claims.py")
    about = tmp_path / "mine-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n", "utf-8")
    (about / "entry_points.txt").write_text(f"[loraml.claims]\nmine = {value}\n", "utf-8")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_claims", raising=False)
    return tmp_path


def test_claims_of_an_installed_package_are_known_by_their_ids(installed: Path) -> None:
    package(installed, SMALL)
    registry.claims.cache_clear()
    try:
        (claim,) = registry.get(["own-2"])
        assert isinstance(claim, Claim)
        assert (claim.id, claim.file) == ("OWN-2", "")
        assert claim in registry.claims()
    finally:
        registry.claims.cache_clear()


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("import nothing_there", "my_claims", "mine = my_claims of the group loraml.claims: ModuleNotFoundError: No m"),
        (SMALL, "my_claims:CLAIM", "got Claim, expected a module that states CLAIM or CLAIMS"),
        (SMALL.replace("OWN-2", "SR-6"), "my_claims", "my_claims.py:14: id: got 'SR-6', expected a family other than"),
    ],
)
def test_what_is_wrong_with_a_package_is_one_line(installed: Path, text: str, value: str, expected: str) -> None:
    package(installed, text, value)
    with pytest.raises(InputError) as refused:
        of_packages(taken=())
    assert expected in str(refused.value)
