"""Edits of formulas: what they find and change, that they survive another spelling, and that mutants are undone."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from loraml_theory import closed_forms
from loraml_theory.moments import population
from paper_checks import registry
from paper_checks.mutation.edits import Edit, Mutant, names
from paper_checks.mutation.mutants import MUTANTS

HALVED = Mutant("half", "closed_forms:best_rank_error", Edit(ast.Pow, becomes="it / 2"), ())


def function(source: str) -> ast.FunctionDef:
    (tree,) = ast.parse(source).body
    assert isinstance(tree, ast.FunctionDef)
    return tree


@pytest.mark.parametrize(
    ("formula", "edit", "expected"),
    [
        ("a * (b - c)", Edit(ast.Sub, becomes="left + right"), "a * (b + c)"),
        ("a - b - c", Edit(ast.Sub, "c", becomes="left"), "a - b"),
        ("a - b - c", Edit(ast.Sub, "a", becomes="right - left"), "b - a - c"),  # the innermost
        ("a / 2 + b / 3", Edit(ast.Div, "3", becomes="left / (right + a)"), "a / 2 + b / (3 + a)"),
        ("-a[0] - b[0]", Edit(ast.USub, becomes="operand"), "a[0] - b[0]"),
        ("a[0, :b]", Edit(ast.Subscript, "b", becomes="value[0, b:]"), "a[0, b:]"),
        ("c.sum(a) + c.sum(b)", Edit(ast.Attribute, "sum", becomes="value.mean", which=(2, 2)), "c.sum(a) + c.mean(b)"),
        ("a(b, c) + c(a)", Edit(ast.Call, "a b", becomes="a(second, first)"), "a(c, b) + c(a)"),
        ("b if a is None else c", Edit(ast.IfExp, becomes="orelse"), "c"),
        ("b if a is None else c", Edit(ast.Is, becomes="False"), "b if False else c"),
        ("a + b", Edit(ast.Name, "a", becomes="it * it"), "a * a + b"),
    ],
)
def test_an_edit_finds_its_place_by_what_is_there(formula: str, edit: Edit, expected: str) -> None:
    before = function(f"def f(a, b, c):\n    return {formula}")
    after = edit.on(before)
    assert ast.unparse(after) == f"def f(a, b, c):\n    return {expected}"
    assert ast.unparse(before) == f"def f(a, b, c):\n    return {formula}"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (Edit(ast.Sub, becomes="left"), "got 0 expressions Sub, expected 1"),
        (Edit(ast.Add, "d", becomes="left"), "got 0 expressions Add that hold 'd', expected 1"),
        (Edit(ast.Mult, becomes="left"), "got 2 expressions Mult, expected 1"),
        (Edit(ast.Mult, becomes="left", which=(1, 3)), "got 2 expressions Mult, expected 3"),
        (Edit(ast.Add, becomes="left + right"), "which is the same, expected another expression"),
        (Edit(ast.Add, becomes="left + d"), r"got \['d'\] in 'left \+ d', expected names of the function"),
        (Edit(ast.Add, becomes="left + e"), r"got \['e'\] in 'left \+ e', expected names of the function"),
    ],
)
def test_an_edit_that_does_not_apply_says_why(edit: Edit, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        edit.on(function("def f(a: 'd - d', b, c):\n    return a * b + b * c.e"))


def test_a_mutant_that_does_not_apply_is_named() -> None:
    lost = replace(HALVED, edit=Edit(ast.Pow, "nowhere", becomes="left"))
    with pytest.raises(ValueError, match=r"mutant 'half' does not apply to closed_forms:best_rank_error: got 0 .*Pow"):
        lost.code  # noqa: B018
    with pytest.raises(TypeError, match="expected the name of a function"):
        replace(HALVED, where="closed_forms:SpectralRecovery").function  # noqa: B018


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
    mutant = Mutant("no sum", "moments:Moments.yy", Edit(ast.Add, "noise", becomes="left - right"), ())
    moments = population(np.eye(2), sigma=1.0)
    with mutant.applied():
        assert float(moments.yy) == 0.0
    assert float(moments.yy) == 4.0


def test_a_change_is_shown_as_it_is_in_the_source() -> None:
    (mutant,) = (m for m in MUTANTS if m.where == "landscape:gauge_dimension")
    assert mutant.change == "landscape.gauge_dimension: k - 1 -> k + 1"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.what)
def test_every_mutant_of_the_catalogue_applies_and_names_claims(mutant: Mutant) -> None:
    assert mutant.code.co_name == mutant.function.__name__
    assert mutant.noticed_by
    assert set(mutant.noticed_by) <= {claim.id for claim in registry.claims()}


def test_no_two_mutants_are_the_same() -> None:
    assert len({mutant.what for mutant in MUTANTS}) == len({mutant.change for mutant in MUTANTS}) == len(MUTANTS) >= 35


class Spelled(ast.NodeTransformer):
    """Gives results names before they are returned, and other names to local variables."""

    def __init__(self, renamed: set[str]) -> None:
        self.renamed = renamed

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(f"{node.id}_anew" if node.id in self.renamed else node.id, node.ctx)

    def visit_Return(self, node: ast.Return) -> list[ast.stmt]:
        assert node.value is not None
        named = ast.Assign([ast.Name("result", ast.Store())], self.visit(node.value))
        return [named, ast.Return(ast.Name("result", ast.Load()))]


def laid_out_anew(tree: ast.FunctionDef) -> ast.FunctionDef:
    return function(ast.unparse(ast.fix_missing_locations(tree)))


def spelled_anew(*used: str) -> Callable[[ast.FunctionDef], ast.FunctionDef]:
    def spelled(tree: ast.FunctionDef) -> ast.FunctionDef:
        stored = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        parameters = {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
        again: ast.FunctionDef = Spelled(stored - parameters - set(used)).visit(function(ast.unparse(tree)))
        return laid_out_anew(again)

    return spelled


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.what)
def test_a_mutant_is_the_same_in_another_spelling(mutant: Mutant) -> None:
    used = {*mutant.edit.holding.split(), *names(ast.parse(mutant.edit.becomes))}
    for spelling in (laid_out_anew, spelled_anew(*used)):
        edited_then_spelled = spelling(mutant.edit.on(mutant.tree))
        assert ast.dump(mutant.edit.on(spelling(mutant.tree))) == ast.dump(edited_then_spelled)
        assert ast.dump(edited_then_spelled) != ast.dump(spelling(mutant.tree))


def test_most_mutants_name_no_local_variable() -> None:
    assert sum(applies(mutant.edit, spelled_anew()(mutant.tree)) for mutant in MUTANTS) >= 33


def applies(edit: Edit, tree: ast.FunctionDef) -> bool:
    try:
        edit.on(tree)
    except ValueError:
        return False
    return True
