"""Mutants: what an edit changes and restores, what counts as caught, and that the catalogue's are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from loraml_theory import closed_forms
from loraml_theory.moments import population
from paper_checks import mutation, registry
from paper_checks.claim import Profile, Verdict
from paper_checks.mutants import MUTANTS
from paper_checks.mutation import Matrix, Mutant, MutantResult, Notice, matrix, mutated_theorems
from paper_checks.verify import check, verify
from tests.paper_checks import fakes

HALVED = Mutant("half", "closed_forms:best_rank_error", "axis=-1)", "axis=-1) / 2", ("SR-3",))


def test_an_edit_holds_wherever_the_function_was_imported_and_no_longer() -> None:
    bound, before = closed_forms.best_rank_error, closed_forms.best_rank_error.__code__
    with HALVED.applied():
        assert bound(np.eye(2), 0) == 1.0
    assert bound(np.eye(2), 0) == 2.0
    assert bound.__code__ is before


def test_an_edit_is_undone_after_an_error() -> None:
    before = closed_forms.best_rank_error.__code__
    with pytest.raises(KeyError), HALVED.applied():
        raise KeyError
    assert closed_forms.best_rank_error.__code__ is before


def test_properties_and_methods_can_be_edited() -> None:
    mutant = Mutant("no sum", "moments:Moments.yy", "+ self.noise", "- self.noise", ("SR-1",))
    moments = population(np.eye(2), sigma=1.0)
    with mutant.applied():
        assert float(moments.yy) == 0.0
    assert float(moments.yy) == 4.0


def test_an_edit_that_is_not_one_is_refused() -> None:
    with pytest.raises(ValueError, match="'nowhere' occurs 0 times"):
        replace(HALVED, old="nowhere").code  # noqa: B018
    with pytest.raises(TypeError, match="expected the name of a function"):
        replace(HALVED, where="closed_forms:SpectralRecovery").function  # noqa: B018


def test_every_mutant_of_the_catalogue_compiles_and_names_claims() -> None:
    known = {claim.id for claim in registry.claims()}
    assert len({mutant.what for mutant in MUTANTS}) == len(MUTANTS) >= 35
    for mutant in MUTANTS:
        assert mutant.code.co_name == mutant.function.__name__
        assert mutant.code.co_code != mutant.function.__code__.co_code or mutant.code.co_consts
        assert set(mutant.noticed_by) <= known
        assert mutant.noticed_by


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
    same = Mutant("nothing", "closed_forms:best_rank_error", "** 2", "** 2.0", ("SR-3",))
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
    assert [mutant.caught for mutant in found] == [True, False]


def test_a_run_with_an_uncaught_mutant_fails() -> None:
    run = verify([fakes.claim()], Profile("quick", 10, 1), seed=0)
    assert run.claims[0].verdict is Verdict.SUPPORTED
    assert replace(run, mutants=Matrix({}, (result(a=Notice.REFUTED),))).exit_status == 0
    assert replace(run, mutants=Matrix({}, (result(a=Notice.SUPPORTED),))).exit_status == 1
