"""The results of the claims' checks on mutants: mutated theorems, and mutated code of `loraml_theory`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias

Nature: TypeAlias = Literal["code", "theorem", "check"]


class Notice(StrEnum):
    """The result of a claim's check on a mutant."""

    REFUTED = "refuted"
    WITHHELD = "no longer supported"
    MISSED = "a control is not refuted"
    CRASHED = "crashed"
    SUPPORTED = "supported"
    NOTHING = "nothing to check"


NOTICED = {
    "code": (Notice.REFUTED, Notice.WITHHELD),
    "theorem": (Notice.REFUTED,),
    "check": (Notice.REFUTED, Notice.WITHHELD, Notice.MISSED),
}


@dataclass(frozen=True)
class MutantResult:
    """The results of all claims on a mutant.

    Parameters
    ----------
    what, edit
        The mutation in words; and the edit of the source, empty for a mutated theorem.
        nature
        ``code``, ``theorem`` for a control, or ``check`` for a check that was loosened.
    noticed_by
        The claims that must notice it.
    notices
        Results of the checks by claim.
    """

    what: str
    edit: str
    nature: Nature
    noticed_by: tuple[str, ...]
    notices: Mapping[str, Notice]

    @property
    def caught(self) -> bool:
        """Whether every claim that must notice it did: refuted it or, but for a theorem, no longer supports it.

        A check that was loosened is also noticed by a control that it does not refute any more.
        """
        return all(self.notices.get(id_) in NOTICED[self.nature] for id_ in self.noticed_by)


@dataclass(frozen=True)
class Matrix:
    """Mutants and the results of the claims; `unmutated` holds those of the same checks on the right code."""

    unmutated: Mapping[str, Notice]
    mutants: tuple[MutantResult, ...]

    @property
    def sound(self) -> bool:
        """Whether the right code is supported wherever a check applies, and every mutant is caught."""
        right = all(notice in (Notice.SUPPORTED, Notice.NOTHING) for notice in self.unmutated.values())
        return right and all(mutant.caught for mutant in self.mutants)
