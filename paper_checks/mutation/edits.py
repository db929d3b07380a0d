"""Edits of a function's syntax tree, and mutants: functions of `loraml_theory` that run an edited formula.

An edit finds its place by the operation and by its names and constants, so that a formula may be reformatted or
rewritten; it raises if it finds none or too many. While a mutant is applied, the function object stays and its code is
replaced, so that the edited code runs wherever the function was imported.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from importlib import import_module
from textwrap import dedent
from types import CodeType, FunctionType
from typing import Any

ARGUMENTS = ("first", "second", "third")


@dataclass(frozen=True)
class Edit:
    """One expression of a function replaced by another.

    Parameters
    ----------
    of
        The kind of the expression: an operator, as `ast.Sub`, or another node, as `ast.Call`.
    holding
        Names, attributes and constants in the expression, separated by spaces. It is the innermost of its kind that
        holds them all.
        becomes
        The new expression. In it the fields of the node stand for themselves, such as ``left`` and ``right`` of an
        operator, ``value`` of an attribute or a subscript; ``first``, ``second``, ``third`` for a call's arguments;
        and ``it`` for the whole node. Every other name is one of the function's.
        which
        Number of the expression and their total: ``(1, 1)``, or ``(2, 2)`` for the second of two.
    """

    of: type[ast.AST]
    holding: str = ""
    _: KW_ONLY
    becomes: str
    which: tuple[int, int] = (1, 1)

    def place(self, function: ast.FunctionDef) -> ast.expr:
        """Return the replaced expression of the function.

        Raises
        ------
        ValueError
            If the number of expressions is not that of `which`.
        """
        wanted = set(self.holding.split())
        nodes = (node for statement in function.body for node in _in_order(statement))
        fitting = [node for node in nodes if isinstance(node, ast.expr) and self._is_one(node) and wanted <= held(node)]
        found = [node for node in fitting if not any(n is not node and n in fitting for n in ast.walk(node))]
        number, count = self.which
        if len(found) != count:
            holding = f" that hold {self.holding!r}" if self.holding else ""
            raise ValueError(f"got {len(found)} expressions {self.of.__name__}{holding}, expected {count}")
        return found[number - 1]

    def replacement(self, function: ast.FunctionDef) -> ast.expr:
        """Return the new expression.

        Raises
        ------
        ValueError
            If it is the same, or holds a name that the function does not.
        """
        old = self.place(function)
        parts = parts_of(old)
        template = ast.parse(self.becomes, mode="eval").body
        unknown = names(template) - names(function) - set(parts) - set(vars(builtins))
        if unknown:
            raise ValueError(f"becomes: got {sorted(unknown)} in {self.becomes!r}, expected names of the function")
        new: ast.expr = _Filled(parts).visit(template)
        if ast.dump(new) == ast.dump(old):
            raise ValueError(f"becomes: got {self.becomes!r}, which is the same, expected another expression")
        return new

    def on(self, function: ast.FunctionDef) -> ast.FunctionDef:
        """Return a copy of the function with the edit; raises as `place` and `replacement` do."""
        copy = deepcopy(function)
        edited: ast.FunctionDef = _Replaced(self.place(copy), self.replacement(copy)).visit(copy)
        return ast.fix_missing_locations(edited)

    def _is_one(self, node: ast.expr) -> bool:
        if not isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
            return False
        return any(isinstance(kind, self.of) for kind in (node, getattr(node, "op", None), *getattr(node, "ops", ())))


def names(tree: ast.AST) -> set[str]:
    """Return the names of variables and arguments in a syntax tree."""
    variables = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return variables | {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}


def held(tree: ast.AST) -> set[str]:
    """Return the names, attributes and constants in a syntax tree."""
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return names(tree) | attributes | {repr(node.value) for node in ast.walk(tree) if isinstance(node, ast.Constant)}


def parts_of(node: ast.expr) -> dict[str, ast.expr]:
    """Return the parts of a node by their names in `Edit.becomes`."""
    fields = {name: part for name, part in ast.iter_fields(node) if isinstance(part, ast.expr)}
    return {"it": node, **fields, **dict(zip(ARGUMENTS, getattr(node, "args", ()), strict=False))}


def _in_order(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a tree in the order of the source."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        yield from _in_order(child)


class _Filled(ast.NodeTransformer):
    """Replaces names by copies of the parts."""

    def __init__(self, parts: Mapping[str, ast.expr]) -> None:
        self._parts = parts

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return deepcopy(self._parts[node.id]) if node.id in self._parts else node


class _Replaced(ast.NodeTransformer):
    """Replaces one node by another."""

    def __init__(self, old: ast.expr, new: ast.expr) -> None:
        self._old, self._new = old, new

    def visit(self, node: ast.AST) -> Any:
        return self._new if node is self._old else self.generic_visit(node)


@dataclass(frozen=True)
class Mutant:
    """A wrong formula, or a check that was loosened.

    Parameters
    ----------
    what
        The error in words.
    where
        The function, as ``module:name`` or ``module:Class.method`` below `loraml_theory`, or of `paper_checks`, whose
        name then begins the module's.
    edit
        The edit that makes the formula wrong.
    noticed_by
        Ids of the claims that must notice it.
    test
        Path of the test that must notice it, for a check that no claim can.
    """

    what: str
    where: str
    edit: Edit
    noticed_by: tuple[str, ...] = ()
    test: str = ""

    @property
    def change(self) -> str:
        """The place of the edit, the old and the new code, on one line."""
        old, new = (ast.unparse(part(self.tree)) for part in (self.edit.place, self.edit.replacement))
        return f"{self.where.replace(':', '.')}: {old} -> {new}"

    @cached_property
    def function(self) -> Any:
        """The edited function.

        Raises
        ------
        TypeError
            If `where` does not name one.
        """
        module, _, path = self.where.partition(":")
        package = "" if module.startswith("paper_checks.") else "loraml_theory."
        found: Any = import_module(f"{package}{module}")
        for name in path.split("."):
            found = inspect.getattr_static(found, name)
        if isinstance(found, property):
            found = found.fget
        if not isinstance(found, FunctionType):
            raise TypeError(f"where: got {self.where!r}, expected the name of a function")
        return found

    @cached_property
    def tree(self) -> ast.FunctionDef:
        """The syntax tree of the unedited function."""
        (tree,) = ast.parse(dedent(inspect.getsource(self.function))).body
        assert isinstance(tree, ast.FunctionDef)
        return tree

    @cached_property
    def code(self) -> CodeType:
        """The edited function's code.

        Raises
        ------
        ValueError
            If the edit does not apply to the current function.
        """
        try:
            return compiled(self.edit.on(self.tree))
        except ValueError as problem:
            raise ValueError(f"the mutant {self.what!r} does not apply to {self.where}: {problem}") from problem

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Make the function run the edited code, wherever it is called from."""
        with exchanged(self.function, self.code):
            yield


def compiled(tree: ast.FunctionDef) -> CodeType:
    """Return the code of a function."""
    flags = __future__.annotations.compiler_flag
    whole = ast.Module([tree], [])
    module = compile(whole, f"<mutant of {tree.name}>", "exec", flags=flags, dont_inherit=True)
    return next(c for c in module.co_consts if isinstance(c, CodeType) and c.co_name == tree.name)


@contextmanager
def exchanged(function: FunctionType, code: CodeType) -> Iterator[None]:
    """Replace a function's code temporarily."""
    original = function.__code__
    function.__code__ = code
    try:
        yield
    finally:
        function.__code__ = original
