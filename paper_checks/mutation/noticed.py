"""What the claims' checks made of mutants: mutated theorems, and mutated code of `loraml_theory`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias

Nature: TypeAlias = Literal["code", "theorem"]


class Notice(StrEnum):
    """What a claim's check made of a mutant."""

    REFUTED = "refuted"
    WITHHELD = "no longer supported"
    CRASHED = "crashed"
    SUPPORTED = "supported"
    NOTHING = "nothing to check"


NOTICED = {"code": (Notice.REFUTED, Notice.WITHHELD), "theorem": (Notice.REFUTED,)}


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
