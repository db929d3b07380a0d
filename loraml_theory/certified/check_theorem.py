r"""Check a certificate that proves ML-3 for every independent structure of a k, with the integers of Python alone.

It shares no code with the search for the identities, nor its way of expanding a determinant. With X the distance of a
base from the truth after the congruence that takes an independent triple to the blocks of the identity:

1. each identity is expanded, and its two sides are the same polynomial, so that its entry of X vanishes wherever all
   minors of size k + 1 of E_0 - X, E_1 - X and E_2 - X do;
2. there is an identity for an entry off the blocks, one in a block but not on the diagonal, and one on the diagonal. A
   permutation of the indices that permutes the blocks takes minors to minors, up to the sign, and takes each of the
   three to any entry of its kind. So all of X vanishes.

docs/certificates.md has the congruence and the step from d = 3k to any d >= 3k.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, TypeAlias

from loraml_theory.certified.check import InvalidError, UnreadableError

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
BLOCKS = 3
# Limits on the time and memory of a check; a determinant of four rows has fewer than 100 monomials.
MOST_K = 3
MOST_TERMS = 2000  # of an identity
MOST_DEGREE = 4  # of a monomial
MOST_BITS = 64  # of a coefficient
TERM = frozenset({"coefficient", "monomial", "task", "rows", "columns"})

Monomial: TypeAlias = tuple[tuple[int, int], ...]
Polynomial: TypeAlias = dict[Monomial, int]


@dataclass(frozen=True)
class Term:
    """A coefficient times a monomial times a determinant."""

    coefficient: int
    monomial: Monomial
    task: int
    rows: tuple[int, ...]
    columns: tuple[int, ...]


@dataclass(frozen=True)
class Theorem:
    """What a valid certificate proves: ML-3 for every independent structure of this k, with these adapters."""

    k: int
    adapters: str
    terms: int


def check(document: dict[str, Any]) -> Theorem:
    """Verify a certificate; returning at all means that it is valid.

    Parameters
    ----------
    document
        The file, as `loraml_theory.certified.check.opened` returns it.

    Raises
    ------
    UnreadableError
        If it is not a certificate of the known form.
    InvalidError
        If the sides of an identity differ.
    """
    k, adapters = _header(document)
    kinds = entries(k)
    identities = document.get("identities")
    if not (isinstance(identities, list) and len(identities) == len(kinds)):
        raise UnreadableError(f"identities: expected a list of {len(kinds)}, for the entries {kinds}")
    expansions = _Expansions(k, adapters == "symmetric")
    terms = 0
    for at, (identity, entry) in enumerate(zip(identities, kinds, strict=True)):
        terms += _check_identity(expansions, identity, entry, f"identities[{at}]")
    return Theorem(k, adapters, terms)


def entries(k: int) -> list[tuple[int, int]]:
    """Return an entry of each kind, in the order of a certificate."""
    return [(0, k), *([(0, 1)] if k > 1 else []), (0, 0)]


def _header(document: dict[str, Any]) -> tuple[int, str]:
    k, adapters = document.get("k"), document.get("adapters")
    if not (isinstance(k, int) and not isinstance(k, bool) and 1 <= k <= MOST_K):
        raise UnreadableError(f"k: got {k!r:.60}, expected a whole number from 1 to {MOST_K}")
    if not (isinstance(adapters, str) and adapters in ADAPTERS):
        raise UnreadableError(f"adapters: got {adapters!r:.60}, expected one of {', '.join(ADAPTERS)}")
    for key, expected in (("schema", SCHEMA), ("kind", KIND), ("claim", ADAPTERS[adapters])):
        found = document.get(key)
        if type(found) is not type(expected) or found != expected:
            raise UnreadableError(f"{key}: got {found!r:.60}, expected {expected!r:.60}")
    return k, adapters


def _check_identity(expansions: _Expansions, identity: Any, entry: tuple[int, int], name: str) -> int:
    """Raise unless an identity is one, and for this entry; return the number of its terms."""
    if not (isinstance(identity, dict) and identity.keys() == {"entry", "multiple", "terms"}):
        raise UnreadableError(f"{name}: expected an object of entry, multiple and terms")
    if identity["entry"] != list(entry):
        raise UnreadableError(f"{name}: entry: got {identity['entry']!r:.60}, expected {list(entry)}")
    multiple, terms = identity["multiple"], identity["terms"]
    if not _is_whole(multiple, 1, 2**MOST_BITS):
        raise UnreadableError(f"{name}: multiple: got {multiple!r:.60}, expected a positive whole number")
    if not (isinstance(terms, list) and len(terms) <= MOST_TERMS):
        raise UnreadableError(f"{name}: terms: expected a list of at most {MOST_TERMS}")
    left: Polynomial = {(entry,): -multiple}
    for at, term in enumerate(terms):
        expansions.add(left, expansions.read(term, f"{name}: terms[{at}]"))
    if any(left.values()):
        raise InvalidError(f"{name}: its two sides differ")
    return len(terms)


class _Expansions:
    """The terms for one k, read in their one form and expanded into monomials."""

    def __init__(self, k: int, symmetric: bool) -> None:
        self.k, self.n, self.symmetric = k, BLOCKS * k, symmetric
        self.determinant = cache(self._determinant)

    def read(self, term: Any, name: str) -> Term:
        """Return a term, or raise unless it is in its one form."""
        if not (isinstance(term, dict) and term.keys() == TERM):
            raise UnreadableError(f"{name}: expected an object of {', '.join(sorted(TERM))}")
        c, task = term["coefficient"], term["task"]
        if not (_is_whole(c, -(2**MOST_BITS), 2**MOST_BITS) and c != 0):
            raise UnreadableError(
                f"{name}: coefficient: got {c!r:.60}, expected a whole number of {MOST_BITS} bits, not 0"
            )
        if not _is_whole(task, 0, BLOCKS - 1):
            raise UnreadableError(f"{name}: task: got {task!r:.60}, expected 0 to {BLOCKS - 1}")
        rows, columns = self._indices(term["rows"], f"{name}: rows"), self._indices(term["columns"], f"{name}: columns")
        if self.symmetric and rows > columns:
            raise UnreadableError(f"{name}: expected the rows of a symmetric matrix to come before the columns")
        ones = {i // self.k for i in set(rows) & set(columns)}
        if task not in ones and not {*range(task)} <= ones:
            raise UnreadableError(f"{name}: task: got {task}, expected the first with the same minor")
        return Term(c, self._monomial(term["monomial"], f"{name}: monomial"), task, rows, columns)

    def _indices(self, found: Any, name: str) -> tuple[int, ...]:
        if not (isinstance(found, list) and len(found) == self.k + 1 and all(self._is_index(i) for i in found)):
            raise UnreadableError(f"{name}: expected {self.k + 1} numbers from 0 to {self.n - 1}")
        if any(one >= two for one, two in pairwise(found)):
            raise UnreadableError(f"{name}: got {found}, expected them in increasing order")
        return tuple(found)

    def _monomial(self, found: Any, name: str) -> Monomial:
        form = f"{name}: expected lists [i, j, exponent], in increasing order, of degree at most {MOST_DEGREE} in total"
        if not (isinstance(found, list) and len(found) <= MOST_DEGREE and all(self._is_power(one) for one in found)):
            raise UnreadableError(form)
        unknowns = [(i, j) for i, j, _ in found]
        if any(one >= two for one, two in pairwise(unknowns)):
            raise UnreadableError(form)
        if sum(exponent for _, _, exponent in found) > MOST_DEGREE:
            raise UnreadableError(form)
        return tuple((i, j) for i, j, exponent in found for _ in range(exponent))

    def _is_power(self, found: Any) -> bool:
        if not (isinstance(found, list) and len(found) == 3 and all(self._is_index(i) for i in found[:2])):
            return False
        return _is_whole(found[2], 1, MOST_DEGREE) and not (self.symmetric and found[0] > found[1])

    def _is_index(self, found: Any) -> bool:
        return _is_whole(found, 0, self.n - 1)

    def add(self, to: Polynomial, term: Term) -> None:
        """Add a term to a polynomial."""
        for monomial, c in self.determinant(term.task, term.rows, term.columns).items():
            merged = tuple(sorted(monomial + term.monomial))
            to[merged] = to.get(merged, 0) + term.coefficient * c

    def _determinant(self, task: int, rows: tuple[int, ...], columns: tuple[int, ...]) -> Polynomial:
        """Expand a determinant of E_task - X along its first row."""
        if not rows:
            return {(): 1}
        i, found = rows[0], Polynomial()
        for at, j in enumerate(columns):
            minor = self.determinant(task, rows[1:], columns[:at] + columns[at + 1 :])
            for monomial, c in minor.items():
                signed = -c if at % 2 else c
                if i == j and i // self.k == task:
                    found[monomial] = found.get(monomial, 0) + signed
                unknown = (j, i) if self.symmetric and i > j else (i, j)
                merged = tuple(sorted((unknown, *monomial)))
                found[merged] = found.get(merged, 0) - signed
        return found


def _is_whole(found: Any, least: int, most: int) -> bool:
    return isinstance(found, int) and not isinstance(found, bool) and least <= found <= most
