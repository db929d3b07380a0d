"""Certificates of theorems: identities that prove one for all instances, as a file that `check_theorem` verifies."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from loraml_theory.certified.certificate import sealed
from loraml_theory.certified.identities import Identity
from loraml_theory.certified.minors import Ideal, Monomial

SCHEMA = 1
KIND = "exact recovery of LoRA-ML for every independent structure"
CLAIM = (
    "Let A_star be any d x d matrix and U_star_1, ..., U_star_T any d x k matrices, with k as in `k`, some three of "
    "which are jointly of full column rank 3k. If A_star + U_star_t U_star_t^T - A is, for every t, {shift} with d x k "
    "factors, then A = A_star. Each identity of `identities` says that `multiple` times the unknown X[i, j] of `entry` "
    "is the sum of `terms`: a coefficient, times a monomial given by [i, j, exponent] for each of its unknowns X[i, j],"
    " times the determinant of the listed rows and columns of E_task - X, where X is a {unknown} 3k x 3k matrix and "
    "E_task is 1 on the diagonal of block `task` and 0 elsewhere. All indices are counted from 0."
)
ADAPTERS = {
    "symmetric": CLAIM.format(shift="U_t U_t^T", unknown="symmetric"),
    "asymmetric": CLAIM.format(shift="U_t V_t^T", unknown="general"),
}


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
