"""The claims: one module of `paper_checks.claims` for each, found automatically."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import import_module
from itertools import pairwise
from math import inf
from typing import Any, TypeAlias, get_args

from loraml_theory.harness.errors import InputError
from paper_checks.claim import AnyClaim, Group

GROUPS: tuple[Group, ...] = get_args(Group)
FAMILIES = ("SR", "ML", "FT", "CL", "NL")
Known: TypeAlias = AnyClaim[Any]


@cache
def claims() -> tuple[Known, ...]:
    """Return every claim, group by group, those of the paper in its order, and those of other installed packages.

    Raises
    ------
    InputError
        If those of another package cannot be used.
    """
    from paper_checks import claims as package
    from paper_checks.own_claims import of_packages

    names = sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))
    own = [import_module(f"{package.__name__}.{name}").CLAIM for name in names]
    return in_order([*own, *of_packages(taken={claim.id for claim in own})])


@cache
def of_file(file: str) -> tuple[Known, ...]:
    """Execute a Python file that states claims of one's own, and return them in order.

    Raises
    ------
    InputError
        If the file, or what it states, cannot be used; the text names the file and the line.
    """
    from paper_checks.own_claims import read

    return in_order(read(file, taken={claim.id for claim in claims()}))


def of_group(group: str, *, known: Sequence[Known] | None = None) -> tuple[Known, ...]:
    """Return the claims of a group, or all of them for ``all``."""
    return tuple(claim for claim in (claims() if known is None else known) if group in ("all", claim.group))


def get(ids: Sequence[str], *, known: Sequence[Known] | None = None) -> tuple[Known, ...]:
    """Return the claims with these ids, in small or capital letters, each once, in the order of `claims`.

    Raises
    ------
    InputError
        If an id is unknown; the text names it and the known ones.
    """
    known = claims() if known is None else known
    wanted, listed = {name.casefold() for name in ids}, {claim.id.casefold() for claim in known}
    for name in ids:
        if name.casefold() not in listed:
            raise InputError(f"claim: got {name!r}, expected one of {', '.join(claim.id for claim in known)}")
    return tuple(claim for claim in known if claim.id.casefold() in wanted)


def in_order(found: Iterable[Known]) -> tuple[Known, ...]:
    """Sort claims by group, then by family (SR, ML, FT, CL, NL, others), number, and name after all numbers.

    Raises
    ------
    ValueError
        If two claims have the same id.
    """
    ordered = sorted(found, key=lambda claim: (GROUPS.index(claim.group), *_position(claim.id)))
    for one, next_one in pairwise(ordered):
        if one.id == next_one.id:
            raise ValueError(f"two claims have the id {one.id}: {one.title!r} and {next_one.title!r}")
    return tuple(ordered)


def _position(claim_id: str) -> tuple[int, str, float, str]:
    family, _, own = claim_id.partition("-")
    rank = FAMILIES.index(family) if family in FAMILIES else len(FAMILIES)
    return rank, family, int(own) if own.isdecimal() else inf, own
