"""Evidence for all instances at once: certificates of identities between polynomials, checked again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any, TypeAlias

from loraml_theory.certified import check, check_theorem
from paper_checks.evidence.evidence import Evidence

ADAPTERS = ("symmetric", "asymmetric")
LARGEST_K = 3

Change: TypeAlias = Callable[[int, dict[str, Any]], object]


def unchanged(_k: int, _document: dict[str, Any]) -> None:
    """Leave a certificate as it ships."""


def every_independent_structure(
    key: str, *, change: Change = unchanged, predicted: int = LARGEST_K
) -> Iterator[Evidence]:
    """Count up to which k the certificates of ML-3 that ship are valid for both kinds of adapters; predict `predicted`.

    Parameters
    ----------
    key
        Name of the claim's key quantity.
    change
        Changes the document of a certificate of a k in place, for controls.
    predicted
        Largest k with certificates.
    """
    proved = 0
    while proved < predicted and all(_is_valid(proved + 1, adapters, change) for adapters in ADAPTERS):
        proved += 1
    yield Evidence(
        "proved",
        f"all independent structures, k ≤ {predicted}",
        f"{key}; symmetric and asymmetric adapters, any $d \\ge 3k$ and $T \\ge 3$",
        proved,
        predicted,
        "equal",
        0.0,
        "identities between polynomials, expanded by a program that shares no code with the one that found them",
        key=key,
    )


def _is_valid(k: int, adapters: str, change: Change) -> bool:
    """Return whether a certificate that ships, changed and with a digest that fits, proves what its name says."""
    name = f"certificates/theorems/ml-3-k{k}-{adapters}.json"
    document = check.opened(files("loraml_theory").joinpath(name).read_text("ascii"))
    change(k, document)
    document["sha256"] = check.content_digest(document)
    try:
        proved = check_theorem.check(check.opened(json.dumps(document)))
    except (check.InvalidError, check.UnreadableError):
        return False
    return (proved.k, proved.adapters) == (k, adapters)


def change_coefficient(k: int, document: dict[str, Any]) -> None:
    """Raise a coefficient of k = 2 by 1."""
    if k == 2:
        document["identities"][-1]["terms"][-1]["coefficient"] += 1


def change_index(k: int, document: dict[str, Any]) -> None:
    """Replace a row of a determinant of k = 2."""
    if k == 2:
        rows = document["identities"][0]["terms"][0]["rows"]
        rows[-1] = 3 * k - 1 if rows[-1] != 3 * k - 1 else rows[-1] - 1
