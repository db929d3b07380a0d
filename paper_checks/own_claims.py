"""Claims of one's own: a Python file, or a module of another package, that states ``CLAIM`` or ``CLAIMS``.

The file is a program and is executed. Whatever is wrong with it, with what it states, or with what its functions return
is one line with the file, the line number and the claim.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import entry_points
from importlib.resources import files
from traceback import walk_tb
from types import GeneratorType, ModuleType
from typing import Any, TypeAlias
from zlib import crc32

from numpy.linalg import LinAlgError

from loraml_theory.harness.errors import InputError, reason
from loraml_theory.harness.input_files import MEBIBYTE, read_text
from paper_checks.claim import AtScale, Beyond, Claim, Control
from paper_checks.own_fields import ID, ID_EXPECTED, shown, wrong_field, wrong_finding, wrong_instance, wrong_item
from paper_checks.registry import FAMILIES

GROUP = "loraml.claims"
NAMES = ("CLAIM", "CLAIMS")
UNDECIDED = (FloatingPointError, OverflowError, LinAlgError)  # of which the runner says that float64 cannot decide
OF_TEMPLATE = "OWN-1"

Undecided: TypeAlias = tuple[type[Exception], ...]
Wrong: TypeAlias = Callable[[Any], str | None]
"""Returns what is wrong with a value, None where nothing is."""


def template(id_: str) -> str:
    """Return the text of a file that states a complete small claim, under this id.

    Raises
    ------
    InputError
        If it is not an id, or one of the theory's.
    """
    if wrong := _wrong_id(id_, ()):
        raise InputError(f"--new: {wrong}")
    return files("paper_checks.claims").joinpath("_template.py").read_text("utf-8").replace(OF_TEMPLATE, id_)


def read(file: str, *, taken: Collection[str]) -> list[Claim]:
    """Execute a file, and return the claims that it states.

    Parameters
    ----------
    file
        Its name. Modules beside it can be imported, as in a script.
    taken
        The ids of other claims.

    Raises
    ------
    InputError
        If the file cannot be read or executed, or what it states cannot be used.
    """
    text = read_text(file, expected="a Python file with claims", limit=MEBIBYTE)
    path = os.path.abspath(file)
    module = ModuleType(f"own_claims_{crc32(path.encode(errors='surrogateescape')):08x}")
    module.__file__ = path
    sys.modules[module.__name__] = module  # dataclasses and pickle look a class's module up there
    if os.path.dirname(path) not in sys.path:
        sys.path.append(os.path.dirname(path))
    try:
        exec(compile(text, path, "exec", dont_inherit=True), module.__dict__)
    except (Exception, SystemExit) as problem:
        raise InputError(f"{_place(path, _line(problem, path) or 1)}: {_said(problem, path)}") from None
    return _Source(path, text).claims(module, taken)


def of_packages(*, taken: Collection[str]) -> list[Claim]:
    """Return the claims of the modules that installed packages name in the entry-point group ``loraml.claims``.

    Raises
    ------
    InputError
        If a module cannot be imported, or what it states cannot be used.
    """
    found: list[Claim] = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.value):
        where = f"entry point {point.name} = {point.value} of the group {GROUP}"
        try:
            module = point.load()
        except (Exception, SystemExit) as problem:
            raise InputError(f"{where}: {_said(problem)}") from None
        if not isinstance(module, ModuleType):
            raise InputError(f"{where}: got {type(module).__name__}, expected a module that states CLAIM or CLAIMS")
        source = _Source(module.__file__ or module.__name__, inspect.getsource(module))
        found += [replace(claim, file="") for claim in source.claims(module, {*taken, *(c.id for c in found)})]
    return found


@dataclass(frozen=True)
class _Source:
    """The text of a module that states claims."""

    path: str
    text: str

    def claims(self, module: ModuleType, taken: Collection[str]) -> list[Claim]:
        """Return the module's claims, each of which refuses in one line what its functions must not do."""
        names = [name for name in NAMES if hasattr(module, name)]
        if len(names) != 1:
            end = len(self.text.splitlines()) or 1
            how_many = "both" if names else "neither"
            said = f"states {how_many} of CLAIM = Claim(…) and CLAIMS = (…), expected one of them"
            raise InputError(f"{_place(self.path, end)}: {said}")
        (name,) = names
        stated = getattr(module, name)
        one = name == "CLAIM"
        if not one and not (isinstance(stated, tuple | list) and stated):
            raise self.refused(name, f"CLAIMS: got {shown(stated)}, expected a tuple of at least one Claim")
        found: list[Claim] = []
        for claim in (stated,) if one else stated:
            self.check(name, claim, {*taken, *(other.id for other in found)})
            found.append(_Guard(self.path, claim.id, self.line(name)).guarded(claim))
        return found

    def check(self, name: str, claim: Any, taken: Collection[str]) -> None:
        """Raise unless this is a complete claim with an id of its own."""
        if not isinstance(claim, Claim):
            raise self.refused(name, f"{name}: got {shown(claim)}, expected a Claim, which is about structures")
        if wrong := _wrong_id(claim.id, taken):
            raise self.refused(name, wrong, "id")
        for field, wrong in wrong_field(claim):
            raise self.refused(name, f"{claim.id}: {field}: {wrong}", field)

    def refused(self, name: str, what: str, field: str = "") -> InputError:
        """Return the error at the line of a field of what is stated under a name."""
        return InputError(f"{_place(self.path, self.line(name, field))}: {what}")

    def line(self, name: str, field: str = "") -> int:
        """Return the line where a name is assigned, or of this keyword of the call that it is assigned to."""
        for node in reversed(ast.parse(self.text).body):
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                keywords = getattr(getattr(node, "value", None), "keywords", [])
                return next((word.value.lineno for word in keywords if word.arg == field), node.lineno)
        return 1


@dataclass(frozen=True)
class _Guard:
    """Makes the functions of a claim refuse in one line what they must not do: raise, or return something else."""

    path: str
    claim: str
    line: int

    def guarded(self, claim: Claim) -> Claim:
        """Return the claim with its functions guarded."""
        instances = self.each("instances", claim.instances, wrong_instance)
        figure = claim.figure and partial(self.drawn, claim.figure)
        return replace(
            claim,
            file=self.path,
            check=self.each("check", claim.check, wrong_item, UNDECIDED),
            assumptions=tuple(
                replace(a, test=self.one(f"assumption {a.what!r}", a.test, wrong_finding)) for a in claim.assumptions
            ),
            controls=tuple(map(self.control, claim.controls)),
            instances=lambda seed: list(instances(seed)),
            figure=figure,
            at_scale=claim.at_scale and self.at_scale(claim.at_scale),
            for_all=claim.for_all and self.for_all(claim.for_all),
        )

    def control(self, control: Control[Any]) -> Control[Any]:
        """Guard a control's check and the drawing of its instance."""
        what = f"control {control.what!r}"
        own = self.one(f"{what}: own_instance", control.own_instance, wrong_instance)
        return replace(control, check=self.each(what, control.check, wrong_item, UNDECIDED), own_instance=own)

    def at_scale(self, found: AtScale) -> AtScale:
        """Guard the checks at scale."""
        controls = tuple((w, self.each(f"control {w!r} at scale", c, wrong_item)) for w, c in found.controls)
        return AtScale(self.each("check at scale", found.check, wrong_item), controls)

    def for_all(self, found: Beyond) -> Beyond:
        """Guard the checks of a proof."""
        controls = tuple((w, self.each(f"control {w!r} for all", c, wrong_item)) for w, c in found.controls)
        return Beyond(self.each("for_all", found.check, wrong_item), controls)

    def drawn(self, figure: Callable[..., None], ax: Any, subject: Any) -> None:
        """Draw a figure."""
        self.one("figure", lambda on: figure(ax, on), lambda _: None)(subject)

    def one(self, what: str, call: Callable[..., Any], wrong: Wrong) -> Callable[..., Any]:
        """Guard a function that returns one value."""
        each = self.each(what, call, wrong, of_values=False)
        return lambda *given: next(iter(each(*given)))

    def each(
        self,
        what: str,
        call: Callable[..., Any],
        wrong: Wrong,
        undecided: Undecided = (),
        *,
        of_values: bool = True,
    ) -> Callable[..., Iterator[Any]]:
        """Guard a function that yields values; errors of the types `undecided` are the runner's to judge."""

        def refuse(problem: str, line: int, given: tuple[Any, ...]) -> InputError:
            on = "".join(f" on {subject.name}" for subject in given[:1] if hasattr(subject, "name"))
            return InputError(f"{_place(self.path, line)}: {self.claim}: {what}{on}: {problem}")

        def guarded(*given: Any) -> Iterator[Any]:
            made = None
            try:
                made = call(*given)
                for value in made if of_values else (made,):
                    if problem := wrong(value):
                        raise refuse(problem, self.yielding(made) or self.first(call), given)
                    yield value
            except (InputError, GeneratorExit):
                raise
            except undecided:
                raise
            except (Exception, SystemExit) as problem:
                line = _line(problem, self.path) or self.first(call)
                raise refuse(_said(problem, self.path), line, given) from None

        return guarded

    def yielding(self, made: Any) -> int | None:
        """Return the line at which a generator of the file stands."""
        here = isinstance(made, GeneratorType) and made.gi_frame is not None and made.gi_code.co_filename == self.path
        return made.gi_frame.f_lineno if here else None

    def first(self, call: Any) -> int:
        """Return the first line of a function of the file, or else the line of its claim."""
        while isinstance(call, partial):
            call = call.func
        code = getattr(call, "__code__", None)
        return code.co_firstlineno if code is not None and code.co_filename == self.path else self.line


def _wrong_id(id_: Any, taken: Collection[str]) -> str | None:
    if not (isinstance(id_, str) and re.fullmatch(ID, id_)):
        return f"id: got {id_!r}, expected {ID_EXPECTED}"
    if id_.partition("-")[0] in FAMILIES:
        return f"id: got {id_!r}, expected a family other than those of the theory, {', '.join(FAMILIES)}"
    return f"id: got {id_!r}, which another claim has; expected one of its own" if id_ in taken else None


def _place(path: str, line: int) -> str:
    near = os.path.relpath(path)
    return f"{path if near.startswith(os.pardir) else near}:{line}"


def _line(problem: BaseException, path: str) -> int | None:
    """Return the line of the file at which an error was raised, or nothing where none of its lines ran."""
    if isinstance(problem, SyntaxError) and problem.filename == path:
        return problem.lineno
    lines = [line for frame, line in walk_tb(problem.__traceback__) if frame.f_code.co_filename == path]
    return lines[-1] if lines else None


def _said(problem: BaseException, path: str = "") -> str:
    here = isinstance(problem, SyntaxError) and problem.filename == path  # the line is known here
    try:
        text = str(getattr(problem, "msg", "")) if here else reason(problem)
    except Exception:  # of the error's own __str__
        text = ""
    name = type(problem).__name__
    return f"{name}: {text}" if text not in ("", name) else name
