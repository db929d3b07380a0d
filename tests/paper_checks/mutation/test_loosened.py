"""Loosened checks: the claims' controls and near misses notice them, or the test that the catalogue names does."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from paper_checks import registry
from paper_checks.mutation.edits import Edit, Mutant
from paper_checks.mutation.loosened import LOOSENED
from paper_checks.mutation.matrix import loosened_checks
from paper_checks.mutation.noticed import Notice

ROOT = Path(__file__).parents[3]
OF_TESTS = [mutant for mutant in LOOSENED if mutant.test]
FEW = ("either side", "disagreement", "what vanishes", "a rounding level", "trapped", "the Hessian does not vary")
RUN = """
import sys, pytest
from paper_checks.mutation.loosened import LOOSENED
mutant = next(mutant for mutant in LOOSENED if mutant.what == sys.argv[1])
with mutant.applied():
    sys.exit(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-p", "no:randomly", mutant.test]))
"""


@pytest.mark.parametrize("mutant", LOOSENED, ids=lambda mutant: mutant.what)
def test_every_loosened_check_applies_and_says_what_notices_it(mutant: Mutant) -> None:
    assert mutant.code.co_name == mutant.function.__name__
    assert bool(mutant.noticed_by) != bool(mutant.test)
    assert set(mutant.noticed_by) <= {claim.id for claim in registry.claims()}
    assert not mutant.test or (ROOT / mutant.test).is_file()


def test_there_are_many_and_no_two_are_the_same() -> None:
    assert len({mutant.what for mutant in LOOSENED}) == len(LOOSENED) >= 40
    assert len({(mutant.change, mutant.edit.which) for mutant in LOOSENED}) == len(LOOSENED)


def test_claims_notice_loosened_checks() -> None:
    chosen = [mutant for mutant in LOOSENED if mutant.what.startswith(FEW) and mutant.noticed_by]
    assert len(chosen) == len(FEW)
    found = loosened_checks(chosen, registry.get(["SR-1", "SR-2", "ML-4", "ML-5"]), seed=1)
    assert [result.what for result in found if not result.caught] == []
    assert {result.nature for result in found} == {"check"}


def test_a_check_that_is_as_strict_as_before_is_not_noticed_and_one_that_cannot_run_is_not_caught() -> None:
    where = "paper_checks.evidence.measure:zero_evidence"
    same = Mutant("the same", where, Edit(ast.Lt, "tolerance", becomes="it and True"), ("SR-1", "FT-1"))
    broken = Mutant("broken", where, Edit(ast.Lt, "tolerance", becomes="1 / 0"), ("SR-1",))
    bug = Mutant("bug", where, Edit(ast.Lt, "tolerance", becomes="value.bug"), ("SR-1",))
    found = loosened_checks([same, broken, bug], registry.get(["SR-1"]), seed=0)
    assert [result.notices["SR-1"] for result in found] == [Notice.SUPPORTED, Notice.MISSED, Notice.CRASHED]
    assert [result.caught for result in found] == [False, True, False]


@pytest.mark.slow
@pytest.mark.parametrize("mutant", [m for m in LOOSENED if m.noticed_by], ids=lambda mutant: mutant.what)
def test_claims_notice_every_loosened_check(mutant: Mutant) -> None:
    (found,) = loosened_checks([mutant], registry.claims(), seed=0)
    assert found.caught, found.notices


@pytest.mark.slow
@pytest.mark.parametrize("mutant", OF_TESTS, ids=lambda mutant: mutant.what)
def test_a_test_notices_what_no_claim_can(mutant: Mutant) -> None:
    run = subprocess.run(
        [sys.executable, "-c", RUN, mutant.what], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, run.stdout[-500:] + run.stderr[-500:]
