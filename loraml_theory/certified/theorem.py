"""Certificates of theorems: identities that prove one for all instances, as a file that `check_theorem` verifies."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from loraml_theory.certified.certificate import sealed
from loraml_theory.certified.check_theorem import ADAPTERS, KIND, SCHEMA
from loraml_theory.certified.identities import Identity
from loraml_theory.certified.minors import Ideal, Monomial


def document(ideal: Ideal, identities: list[Identity], found: dict[str, Any]) -> dict[str, Any]:
    """Return identities as JSON's objects, strings and whole numbers, with the digest of all of it.

    Parameters
    ----------
    ideal
        The minors, of three tasks.
    identities
        An identity for an entry of each kind.
    found
        Command and versions; shown and part of the digest, but not used by the proof.
    """
    adapters = "symmetric" if ideal.symmetric else "asymmetric"
    return sealed(
        {
            "schema": SCHEMA,
            "kind": KIND,
            "claim": ADAPTERS[adapters],
            "adapters": adapters,
            "k": ideal.k,
            "identities": [_identity(each) for each in identities],
            "found": found,
        }
    )


def _identity(given: Identity) -> dict[str, Any]:
    terms = [
        {
            "coefficient": c,
            "monomial": _powers(monomial),
            "task": minor.task,
            "rows": list(minor.rows),
            "columns": list(minor.columns),
        }
        for (monomial, minor), c in given.terms.items()
    ]
    return {"entry": list(given.entry), "multiple": given.multiple, "terms": terms}


def _powers(monomial: Monomial) -> list[list[int]]:
    return [[*entry, len(list(same))] for entry, same in groupby(monomial)]
