"""Certificates: what was proved, as a file that a person can read and `check` verifies."""

from __future__ import annotations

import hashlib
import json
from math import floor, log10
from typing import Any

from flint import fmpq, fmpz

from loraml_theory.certified.prove import PRECISION, Proof
from loraml_theory.exact.rational import Rationals

SCHEMA = 1
KIND = "strict spurious local minimum of LoRA-ML"
VALUE_DIGITS = 12
SHORT = 100  # characters

CLAIM = (
    "For every A_star the population objective f(A, U) = 1/2 sum_t ||A + U_t U_t^T - A_star - U_star_t U_star_t^T||_F^2"
    " has a local minimum whose factors lie within `radius` of `point`, in the Euclidean norm of all entries. But for "
    "U_t -> U_t Q_t with orthogonal Q_t it is strict. Its value lies between the bounds of `value`, while the global "
    "minimum is 0, at (A_star, U_star). With A eliminated, the Hessian there is at least the bound of `curvature` on "
    "all directions orthogonal to the orbit of the Q_t."
)
METHOD = (
    "Krawczyk's operator for the gradient in the coordinates that the gauge leaves free; L D L^T of the Hessian minus "
    "the bound, and the value, over the whole box; all in ball arithmetic"
)


def document(proof: Proof, found: dict[str, Any]) -> dict[str, Any]:
    """Return a proof as JSON's objects, strings and whole numbers, with the digest of all of it.

    Parameters
    ----------
    proof
        The proof.
    found
        Command, seed and versions; shown and part of the digest, but not used by the proof.
    """
    T, d, k = proof.U_star.shape
    low, high = proof.value
    made: dict[str, Any] = {
        "schema": SCHEMA,
        "kind": KIND,
        "claim": CLAIM,
        "structure": {"d": d, "k": k, "T": T, "U_star": _nested(proof.U_star)},
        "point": {
            "U": _nested(proof.U),
            "radius": number(proof.radius),
            "gauge_rows": [list(rows) for rows in proof.rows],
        },
        "value": {"lower": number(rounded(low)), "upper": number(-rounded(-high))},
        "curvature": {"lower": number(proof.curvature)},
        "proof": {"method": METHOD, "bits": PRECISION},
        "found": found,
    }
    return sealed(made)


def sealed(made: dict[str, Any]) -> dict[str, Any]:
    """Return a document with the digest of all of it."""
    canonical = json.dumps(made, sort_keys=True, separators=(",", ":"))
    return {**made, "sha256": hashlib.sha256(canonical.encode("ascii")).hexdigest()}


def dumps(made: dict[str, Any]) -> str:
    """Write a document as text, the innermost lists, and whatever is short, on one line each."""
    return _indented(made, 0) + "\n"


def number(q: fmpq) -> str:
    """Write a rational number exactly: in decimals where it has few, as p/q otherwise.

    Examples
    --------
    >>> number(fmpq(-1, 8)), number(fmpq(1, 3)), number(fmpq(1, 10**30)), number(fmpq(5))
    ('-0.125', '1/3', '1e-30', '5')
    """
    p, rest, places = int(q.p), int(q.q), 0
    for prime in (2, 5):
        power = 0
        while rest % prime == 0:
            rest, power = rest // prime, power + 1
        places = max(places, power)
    if rest > 1 or places > 60:
        return f"{p}/{q.q}"
    if places == 0:
        return str(p)
    digits = str(abs(p) * 10**places // int(q.q))
    if digits == "1" and places > 6:
        return f"{'-' * (p < 0)}1e-{places}"
    digits = digits.rjust(places + 1, "0")
    return f"{'-' * (p < 0)}{digits[:-places]}.{digits[-places:]}"


def rounded(q: fmpq) -> fmpq:
    """Return a number that is at most q and has `VALUE_DIGITS` digits."""
    size = abs(int(q.p)) / int(q.q)
    power = floor(log10(size)) + 1 - VALUE_DIGITS
    unit = fmpq(fmpz(10) ** power) if power >= 0 else fmpq(1, fmpz(10) ** -power)
    return fmpq((q / unit).floor()) * unit


def _nested(U: Rationals) -> list[list[list[str]]]:
    return [[[number(x) for x in row] for row in factor] for factor in U]


def _indented(value: Any, depth: int) -> str:
    inner, in_line = "  " * (depth + 1), json.dumps(value)
    if len(in_line) <= SHORT:
        return in_line
    if isinstance(value, dict) and value:
        lines = [f"{inner}{json.dumps(key)}: {_indented(item, depth + 1)}" for key, item in value.items()]
        return "{\n" + ",\n".join(lines) + "\n" + "  " * depth + "}"
    if isinstance(value, list) and any(isinstance(item, list | dict) and item for item in value):
        return "[\n" + ",\n".join(inner + _indented(item, depth + 1) for item in value) + "\n" + "  " * depth + "]"
    return in_line
