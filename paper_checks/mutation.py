"""Mutated code: whether the claims' checks notice a wrong formula in `loraml_theory`.

A mutant is an edit of one function's source. While it is applied the function runs the edited code wherever it was
imported to: the function object stays and its code is exchanged, so that no binding of it is missed.
"""

from __future__ import annotations
import __future__

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from importlib import import_module
from textwrap import dedent
from types import CodeType, FunctionType
from typing import Any, Literal, TypeAlias

from paper_checks.claim import AnyClaim, Claim, Profile, Verdict, applicable, judge
from paper_checks.drawn import draw
from paper_checks.instance import Instance
from paper_checks.verify import ClaimResult, examine

PROFILE = Profile("mutants", trials=600, starts=3)
SHAPES = (
    ("integer", 8, 1, 2),
    ("generic", 8, 1, 3),
    ("generic", 8, 1, 2),
    ("integer", 12, 2, 3),
    ("spurious", 4, 1, 3),
)
"""What every claim is checked on, as far as it applies; small, since a formula is wrong at every size."""

Nature: TypeAlias = Literal["code", "theorem"]


class Notice(StrEnum):
    """What a claim's check made of a mutant."""

    REFUTED = "refuted"
    WITHHELD = "no longer supported"
    CRASHED = "crashed"
    SUPPORTED = "supported"
    NOTHING = "nothing to check"


NOTICED = {"code": (Notice.REFUTED, Notice.WITHHELD), "theorem": (Notice.REFUTED,)}
OF_CONTROLS = {Verdict.REFUTED: Notice.REFUTED, Verdict.INCONCLUSIVE: Notice.WITHHELD}


@dataclass(frozen=True)
class Mutant:
    """A wrong formula.

    Parameters
    ----------
    what
        What is wrong, in words.
    where
        The function, as ``module:name`` or ``module:Class.method`` below `loraml_theory`.
    old, new
        The edit; `old` occurs once in the function's source.
    noticed_by
        Ids of the claims that must notice it.
    """

    what: str
    where: str
    old: str
    new: str
    noticed_by: tuple[str, ...]

    @property
    def edit(self) -> str:
        """Where and what, on one line."""
        return f"{self.where.replace(':', '.')}: {self.old} -> {self.new}"

    @cached_property
    def function(self) -> Any:
        """The function that is edited.

        Raises
        ------
        TypeError
            If `where` does not name one.
        """
        module, _, path = self.where.partition(":")
        found: Any = import_module(f"loraml_theory.{module}")
        for name in path.split("."):
            found = inspect.getattr_static(found, name)
        if isinstance(found, property):
            found = found.fget
        if not isinstance(found, FunctionType):
            raise TypeError(f"where: got {self.where!r}, expected the name of a function")
        return found

    @cached_property
    def code(self) -> CodeType:
        """The edited function's code.

        Raises
        ------
        ValueError
            If `old` does not occur exactly once.
        """
        source = dedent(inspect.getsource(self.function))
        if source.count(self.old) != 1:
            raise ValueError(f"old: {self.old!r} occurs {source.count(self.old)} times in {self.where}, expected once")
        return compiled(source.replace(self.old, self.new), self.function)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the function run the edited code, wherever it is called from."""
        with exchanged(self.function, self.code):
            yield


def compiled(source: str, function: FunctionType) -> CodeType:
    """Return the code of a function's edited source."""
    flags = __future__.annotations.compiler_flag
    module = compile(source, f"<mutant of {function.__qualname__}>", "exec", flags=flags, dont_inherit=True)
    return next(c for c in module.co_consts if isinstance(c, CodeType) and c.co_name == function.__name__)


@contextmanager
def exchanged(function: FunctionType, code: CodeType) -> Iterator[None]:
    """Exchange a function's code for a while."""
    original = function.__code__
    function.__code__ = code
    try:
        yield
    finally:
        function.__code__ = original


@dataclass(frozen=True)
class MutantResult:
    """What the claims made of a mutant.

    Parameters
    ----------
    what, edit
        In words; and the edit of the source, empty for a mutated theorem.
    nature
        Of ``code``, or of a ``theorem``: a control.
    noticed_by
        The claims that must notice it.
    notices
        From the claims that were tried to what their checks made of it.
    """

    what: str
    edit: str
    nature: Nature
    noticed_by: tuple[str, ...]
    notices: Mapping[str, Notice]

    @property
    def caught(self) -> bool:
        """Whether every claim that must notice it did: refuted it or, of code, support no longer."""
        return all(self.notices.get(id_) in NOTICED[self.nature] for id_ in self.noticed_by)


@dataclass(frozen=True)
class Matrix:
    """Mutants and what the claims made of them; `unmutated` is what the same checks make of the right code."""

    unmutated: Mapping[str, Notice]
    mutants: tuple[MutantResult, ...]

    @property
    def sound(self) -> bool:
        """Whether the right code is supported, wherever there is something to check, and every mutant is caught."""
        right = all(notice in (Notice.SUPPORTED, Notice.NOTHING) for notice in self.unmutated.values())
        return right and all(mutant.caught for mutant in self.mutants)


def mutated_theorems(results: Iterable[ClaimResult]) -> list[MutantResult]:
    """Return the negative controls of the claims that a run checked: the statements themselves, mutated."""
    return [
        MutantResult(
            f"{result.claim.id}, {control.what}",
            "",
            "theorem",
            (result.claim.id,),
            {result.claim.id: OF_CONTROLS.get(control.verdict, Notice.SUPPORTED)},
        )
        for result in results
        if isinstance(result.claim, Claim)
        for control in result.controls
    ]


def matrix(
    mutants: Sequence[Mutant],
    claims: Sequence[AnyClaim[Any]],
    *,
    seed: int,
    theorems: Sequence[MutantResult] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> Matrix:
    """Try every mutant that one of the claims must notice on all of the claims.

    Parameters
    ----------
    mutants
        Of code.
    claims
        Those about experiments are left out.
    seed
        Root of everything that is drawn.
    theorems
        Mutated theorems, whose results are there already.
    progress
        Told what is about to be done.
    """
    tried = [claim for claim in claims if isinstance(claim, Claim)]
    subjects = {claim.id: _subjects(claim, seed) for claim in tried}
    unmutated = {claim.id: _notice(claim, subjects[claim.id]) for claim in tried}
    results = list(theorems)
    for mutant in mutants:
        must = tuple(id_ for id_ in mutant.noticed_by if id_ in subjects)
        if not must:
            continue
        progress(f"mutant: {mutant.what}")
        with mutant.applied():
            notices = {claim.id: _notice(claim, subjects[claim.id]) for claim in tried}
        results.append(MutantResult(mutant.what, mutant.edit, "code", must, notices))
    return Matrix(unmutated, tuple(results))


def _subjects(claim: Claim, seed: int) -> list[Instance]:
    """Draw what a claim is supported on with the right code; then a mutant that changes that is noticed."""
    drawn = [draw(*shape, seed) for shape in SHAPES]
    met = [subject for subject, findings in applicable(claim, drawn) if all(f.holds for f in findings)]
    return [subject for subject in met if _verdict(claim, subject) is not Verdict.INCONCLUSIVE]


def _notice(claim: Claim, subjects: Sequence[Instance]) -> Notice:
    """Run a claim's check until an instance refutes it; code that cannot run at all is no refutation."""
    notice = Notice.SUPPORTED if subjects else Notice.NOTHING
    for subject in subjects:
        try:
            verdict = _verdict(claim, subject)
        except Exception:
            notice = Notice.CRASHED
        else:
            if verdict is Verdict.REFUTED:
                return Notice.REFUTED
            if verdict is Verdict.INCONCLUSIVE:
                notice = Notice.WITHHELD
    return notice


def _verdict(claim: Claim, subject: Instance) -> Verdict:
    return judge(examine(claim.check, subject, PROFILE)[0])
