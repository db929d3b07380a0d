"""Mutants: what counts as caught, and that the catalogue's are."""

from __future__ import annotations

import ast
from dataclasses import replace

import pytest

from paper_checks import registry
from paper_checks.claim import Profile, Verdict
from paper_checks.mutation import matrix as mutation
from paper_checks.mutation.edits import Edit, Mutant
from paper_checks.mutation.matrix import matrix, mutated_theorems
from paper_checks.mutation.mutants import MUTANTS
from paper_checks.mutation.noticed import Matrix, MutantResult, Notice
from paper_checks.verify import check, verify
from tests.paper_checks import fakes


def test_the_claims_notice_their_mutants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutation, "SHAPES", mutation.SHAPES[:2])
    words = ("missing 1/T in the base", "half of the derivative", "wrong rank: the tail", "T for T + 1 in the rank")
    chosen = [mutant for mutant in MUTANTS if mutant.what.startswith(words)]
    assert len(chosen) == 4
    found = matrix(chosen, registry.get(["SR-1", "SR-3", "SR-4", "ML-4"]), seed=1)
    assert set(found.unmutated.values()) == {Notice.SUPPORTED}
    reached = {m.what: [id_ for id_, notice in m.notices.items() if notice is Notice.REFUTED] for m in found.mutants}
    assert all(set(m.noticed_by) & set(reached[m.what]) for m in found.mutants), reached
    assert found.sound == all(m.caught for m in found.mutants) is True


def test_a_mutant_that_changes_nothing_is_not_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutation, "SHAPES", mutation.SHAPES[1:2])
    same = Mutant("nothing", "closed_forms:best_rank_error", Edit(ast.Pow, becomes="left**2.0"), ("SR-3",))
    found = matrix([same], registry.get(["SR-3"]), seed=0)
    assert found.mutants[0].notices == {"SR-3": Notice.SUPPORTED}
    assert not found.sound


def result(**notices: Notice) -> MutantResult:
    return MutantResult("x", "", "code", tuple(notices), notices)


def test_caught_means_noticed_by_all_that_must() -> None:
    assert result(a=Notice.REFUTED, b=Notice.WITHHELD).caught
    assert not result(a=Notice.REFUTED, b=Notice.SUPPORTED).caught
    assert not result(a=Notice.CRASHED).caught
    theorem = replace(result(a=Notice.WITHHELD), nature="theorem")
    assert not theorem.caught


def test_checks_that_refute_the_right_code_are_not_sound() -> None:
    caught = (result(a=Notice.REFUTED),)
    assert Matrix({"a": Notice.SUPPORTED}, caught).sound
    assert not Matrix({"a": Notice.REFUTED}, caught).sound


def test_controls_are_mutated_theorems() -> None:
    never = fakes.claim(controls=(fakes.control(), fakes.control(1.0)))
    found = mutated_theorems([check(never, [fakes.instance()], fakes.QUICK, seed=0)])
    assert [mutant.caught for mutant in found] == [True, False, True]  # the last is the near miss


def test_a_run_with_an_uncaught_mutant_fails() -> None:
    run = verify([fakes.claim()], Profile("quick", 10, 1), seed=0)
    assert run.claims[0].verdict is Verdict.SUPPORTED
    assert replace(run, mutants=Matrix({}, (result(a=Notice.REFUTED),))).exit_status == 0
    assert replace(run, mutants=Matrix({}, (result(a=Notice.SUPPORTED),))).exit_status == 1
