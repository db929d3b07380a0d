"""Evidence that the checker of certificates notices a proof that is wrong in one step alone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

from loraml_theory.certified import check
from loraml_theory.certified.forgeries import Forgery, forgeries
from paper_checks.evidence.evidence import Evidence

SHIPPED = ("d3-k1-T3", "d6-k2-T3")


@cache
def shipped(name: str) -> dict[str, Any]:
    """Return the document of a certificate that ships."""
    return check.opened(files("loraml_theory").joinpath(f"certificates/{name}.json").read_text("ascii"))


@cache
def forged() -> tuple[Forgery, ...]:
    """Return the forgeries of all of them."""
    return tuple(forgery for name in SHIPPED for forgery in forgeries(shipped(name)))


def forged_evidence(instance: str) -> Iterator[Evidence]:
    """Count the forgeries that the checker refuses for the step that is wrong, and the originals that it accepts."""
    reason = "each is made from a certificate that ships, to fail in one step alone, by as little as 1e-20"
    for what, measured, predicted in (
        ("forged certificates that are refused for their step", sum(map(_is_refused, forged())), len(forged())),
        ("certificates that ship and are accepted", sum(map(_is_accepted, SHIPPED)), len(SHIPPED)),
    ):
        yield Evidence("certified", instance, what, measured, predicted, "equal", 0.0, reason)


def _is_refused(forgery: Forgery) -> bool:
    try:
        check.verify(forgery.document)
    except check.InvalidError as problem:
        return str(problem).startswith(forgery.step)
    return False


def _is_accepted(name: str) -> bool:
    try:
        check.verify(shipped(name))
    except check.InvalidError:
        return False
    return True
