"""The search for a counterexample: it finds one where there is one, and says how hard it tried where not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loraml_theory.structure import GroundTruth
from paper_checks import falsify as searching
from paper_checks import registry
from paper_checks.claim import Claim, Given, Profile, Verdict
from paper_checks.commands import verify as verify_command
from paper_checks.evidence.evidence import Evidence
from paper_checks.evidence.instance import Instance
from paper_checks.falsify import Search, Tried, falsify, strain
from paper_checks.own_claims import template
from paper_checks.report.counterexample import text
from paper_checks.verify import check
from tests.paper_checks import fakes
from tests.paper_checks.conftest import Loraml

CONJECTURE = Path(__file__).parents[2] / "examples/conjecture.py"


def searched(claim: Claim, *, structures: int = 40, seed: int = 0) -> Search:
    return falsify(claim, fakes.QUICK, seed=seed, structures=structures)


def base(instance: Instance, _profile: Profile) -> Iterator[Evidence]:
    """State that the base is not large: no drawn structure has one of half the size."""
    value = float(np.linalg.norm(instance.truth.A_star))
    yield fakes.evidence(instance=instance.name, measured=value, predicted=200.0, relation="at most", tolerance=0.0)


@pytest.mark.parametrize("seed", range(3))
def test_a_false_conjecture_has_a_smallest_counterexample(seed: int) -> None:
    (claim,) = registry.of_file(str(CONJECTURE))
    assert isinstance(claim, Claim)
    found = searched(claim, structures=200, seed=seed)
    assert found.counterexample is not None
    truth = found.counterexample.truth
    assert (truth.d, truth.k, truth.T) == (3, 1, 2)
    assert not truth.A_star.any()
    assert np.array_equal(truth.U_star[..., 0], np.eye(3))
    assert check(claim, [found.counterexample], fakes.QUICK, seed=seed).verdict is Verdict.REFUTED


def test_the_control_of_the_conjecture_is_refuted() -> None:
    (claim,) = registry.of_file(str(CONJECTURE))
    result = check(claim, claim.subjects(Given(0)), fakes.QUICK, seed=0)
    assert result.verdict is Verdict.REFUTED
    assert [control.verdict for control in result.controls] == [Verdict.REFUTED]


def test_the_counterexample_is_printed_as_a_program(
    loraml: Loraml, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = loraml("verify", "--claims", CONJECTURE, "--falsify", "--seed", "3")
    assert (ended.status, ended.err) == (1, "")
    exec(compile(ended.out, "counterexample.py", "exec"), {})
    assert capsys.readouterr().out.startswith("refuted: ||W_3 - A - (W_3 - A)_2k||_F")
    assert os.listdir(tmp_path) == []
    assert loraml("verify", "--claims", CONJECTURE, "--falsify", "--seed", "3").out == ended.out


@pytest.mark.long
def test_a_true_claim_has_none_and_the_search_says_how_hard_it_tried() -> None:
    (claim,) = registry.get(["ML-3"])
    assert isinstance(claim, Claim)
    found = searched(claim, structures=30)
    assert found.counterexample is None
    assert 30 <= found.checked <= 32  # Hypothesis may draw a structure twice
    assert found.unmet > 0
    assert found.nearest is not None
    assert 0 < strain(found.nearest) < 1
    said = text(found)
    assert said.startswith(
        f"# ML-3: no counterexample; {found.checked} structures checked; {found.unmet} others did not"
    )
    assert "% of what is tolerated: " in said


@pytest.mark.long
@pytest.mark.parametrize("number", range(1, 13))
def test_claims_about_chains_are_searched_too(number: int) -> None:
    (claim,) = registry.get([f"CL-{number}"])
    assert isinstance(claim, Claim)
    found = searched(claim, structures=4)
    assert found.checked >= 1
    assert found.counterexample is None


def test_climbs_find_what_no_drawn_structure_shows() -> None:
    found = searched(fakes.claim(check=base), structures=200)
    assert found.counterexample is not None
    assert found.checked > 100
    assert found.nearest is not None
    assert found.nearest.measured > 200.0
    A_star = found.counterexample.truth.A_star
    assert np.array_equal(A_star, A_star.round(0))
    assert searched(fakes.claim(check=base), structures=10).counterexample is None


def test_a_search_without_structures_says_so() -> None:
    found = searched(fakes.claim(assumptions=(fakes.assumption(False),)), structures=4)
    assert (found.checked, found.counterexample, found.nearest) == (0, None, None)
    assert "no structure that was drawn meets its assumptions" in text(found)


def test_a_check_that_decides_nothing_is_no_support() -> None:
    found = searched(fakes.claim(check=fakes.says_nothing), structures=4)
    assert found.checked > 0
    assert "On none of them could the check decide anything." in text(found)


@pytest.mark.parametrize(("always", "is_found"), [(True, True), (False, False)])
def test_a_sample_that_disagrees_must_do_so_again(always: bool, is_found: bool) -> None:
    def by_chance(on: Instance, _profile: Profile) -> Iterator[Evidence]:
        far = always or on.seed == 0
        yield fakes.evidence(
            kind="statistical", measured=5.0 if far else 1.0, interval=(0.9, 1.1) if not far else (4, 6)
        )

    found = searched(fakes.claim(check=by_chance), structures=6)
    assert (found.counterexample is not None) == is_found


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"measured": 1.05}, 0.5),
        ({"measured": 1.3}, 3.0),
        ({"relation": "at most", "predicted": 2.9, "measured": 3.0}, 1.0),
        ({"relation": "at most", "predicted": 2.9, "measured": 1.0}, 0.5),
        ({"relation": "at most", "predicted": 2.9, "measured": 9.0}, 1.5),
        ({"relation": "at least", "predicted": 1.1, "measured": 3.0}, 0.5),
        ({"relation": "at least", "predicted": 1.1, "measured": 3.0, "interval": (2.0, 4.0)}, 0.4),
        ({"relation": "at most", "predicted": 0.0, "measured": 0.0, "tolerance": 0.0}, 1.0),
    ],
)
def test_the_strain_says_how_near_evidence_is_to_a_disagreement(changes: dict[str, Any], expected: float) -> None:
    assert strain(fakes.evidence(**changes)) == pytest.approx(expected)


def test_a_counterexample_of_a_climb_keeps_only_the_digits_it_needs() -> None:
    def nearly_parallel(on: Instance, _profile: Profile) -> Iterator[Evidence]:
        u, v = on.truth.U_star[:2, :, 0]
        value = float(abs(u @ v) / np.linalg.norm(u) / np.linalg.norm(v))
        yield fakes.evidence(measured=value, predicted=0.0, tolerance=0.99)

    tried = Tried(fakes.claim(check=nearly_parallel), fakes.QUICK, 0, lambda _: None)
    U = np.array([[1.04, 0.33, 0.0], [1.04, 0.34, 0.0], [0.0, 0.0, 1.23]])[..., None]
    rounded = searching._rounded(tried, GroundTruth(np.full((3, 3), 0.5), U))
    assert rounded.U_star[..., 0].tolist() == [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    assert not rounded.A_star.any()


def test_a_check_that_fails_names_the_smallest_structure(loraml: Loraml, tmp_path: Path) -> None:
    failing = template("OWN-6").replace("    truth = instance.truth\n", "    truth = instance.nothing\n", 1)
    (tmp_path / "failing.py").write_text(failing, "utf-8")
    ended = loraml("verify", "--claims", "failing.py", "--falsify")
    assert (ended.status, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert ": OWN-6: check on d=3 k=1 T=2: AttributeError: " in ended.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--falsify",), "--falsify: expected --claims FILE.py or --claim ID,ID with it"),
        (
            ("--falsify", "--claim", "SR-1", "--json", "--out", "x"),
            "--falsify: got --json, --out with it, expected only",
        ),
        (("--tries", "3"), "--tries: expected --falsify with it"),
        (("--falsify", "--claim", "SR-1", "--tries", "0"), "--tries: got '0', expected a whole number from 1"),
    ],
)
def test_options_that_do_not_go_together(loraml: Loraml, words: tuple[str, ...], expected: str) -> None:
    ended = loraml("verify", *words)
    assert (ended.status, ended.out) == (2, "")
    assert expected in ended.err


def test_claims_about_experiments_have_no_structures(loraml: Loraml) -> None:
    ended = loraml("verify", "--falsify", "--claim", "NL-vision", known=registry.get(["NL-vision"]))
    assert (ended.status, ended.err) == (
        2,
        "loraml: error: --falsify: NL-vision is about experiments, expected claims about structures\n",
    )


def test_without_hypothesis_the_search_is_refused(loraml: Loraml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_command, "find_spec", lambda _: None)
    ended = loraml("verify", "--falsify", "--claim", "SR-1")
    assert (ended.status, ended.out) == (2, "")
    assert "--falsify: needs Hypothesis: pip install '.[testing]' in a clone of loraml-theory" in ended.err
