"""The claims: one module in `paper_checks.claims` for each, found by looking."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import import_module
from itertools import pairwise

from paper_checks.claim import Claim

FAMILIES = ("SR", "ML", "FT")


class UnknownClaimError(ValueError):
    """An id that no claim has."""


@cache
def claims() -> tuple[Claim, ...]:
    """Return every claim, in the order of the paper."""
    from paper_checks import claims as package

    names = sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))
    return in_order(import_module(f"{package.__name__}.{name}").CLAIM for name in names)


def get(ids: Sequence[str], *, known: Sequence[Claim] | None = None) -> tuple[Claim, ...]:
    """Return the claims with these ids, each once, in the order of the paper.

    Raises
    ------
    UnknownClaimError
        If an id is not known; the text names it and those that are.
    """
    known = claims() if known is None else known
    listed = [claim.id for claim in known]
    for name in ids:
        if name not in listed:
            raise UnknownClaimError(f"claim: got {name!r}, expected one of {', '.join(listed)}")
    return tuple(claim for claim in known if claim.id in ids)


def in_order(found: Iterable[Claim]) -> tuple[Claim, ...]:
    """Sort claims by family (SR, ML, FT, others), then by number.

    Raises
    ------
    ValueError
        If two claims have the same id.
    """
    ordered = sorted(found, key=lambda claim: _position(claim.id))
    for one, next_one in pairwise(ordered):
        if one.id == next_one.id:
            raise ValueError(f"two claims have the id {one.id}: {one.title!r} and {next_one.title!r}")
    return tuple(ordered)


def _position(claim_id: str) -> tuple[int, str, int]:
    family, _, number = claim_id.partition("-")
    rank = FAMILIES.index(family) if family in FAMILIES else len(FAMILIES)
    return rank, family, int(number)
