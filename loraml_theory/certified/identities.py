r"""Find identities ``m X_ij = sum c (monomial) (minor)`` that prove ML-3 for every independent structure of a k.

Such an identity, with whole numbers m and c, shows that ``X_ij = 0`` wherever all minors vanish. The products of a
degree are the columns of a linear system over Q, which FLINT solves. Relabelling indices and blocks permutes the
minors, so that one entry of each kind is enough. From k = `AVERAGED` on the unknowns are sums over the relabellings
that keep the entry: if an identity exists, its average over them is one as well, and there are far fewer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import gcd, lcm
from typing import NamedTuple

from flint import fmpq, fmpq_mat, fmpz_mat

from loraml_theory.certified.minors import Entry, Ideal, Minor, Monomial, Polynomial, Product, Relabelling

AVERAGED = 3
EXTRA_DEGREE = 1  # of the monomials: enough up to k = 3


class NoIdentityError(ValueError):
    """No identity was found; the text says for which entry, and why."""


class Identity(NamedTuple):
    """``multiple`` times an entry of X is the sum of the products, each times its whole number."""

    entry: Entry
    multiple: int
    terms: dict[Product, int]


def entries(k: int) -> list[Entry]:
    """Return an entry of each kind: off the blocks, in a block but not on the diagonal, on the diagonal."""
    return [(0, k), *([(0, 1)] if k > 1 else []), (0, 0)]


def find(ideal: Ideal, *, extra: int = EXTRA_DEGREE) -> list[Identity]:
    """Return an identity for an entry of each kind, each of the lowest degree.

    Parameters
    ----------
    ideal
        The minors.
    extra
        Largest degree of the monomials.

    Raises
    ------
    NoIdentityError
        If there is none of that degree; with two tasks, at any degree.
    """
    return [_find(ideal, target, extra) for target in entries(ideal.k)]


def _find(ideal: Ideal, target: Entry, extra: int) -> Identity:
    for degree in range(ideal.k + 1, ideal.k + 2 + extra):
        identity = at_degree(ideal, target, degree)
        if identity:
            return identity
    reason = common_zero(ideal) if ideal.tasks == 2 else "one of a higher degree may exist"
    raise NoIdentityError(f"no identity for X[{target[0]}, {target[1]}] up to degree {ideal.k + 1 + extra}: {reason}")


def at_degree(ideal: Ideal, target: Entry, degree: int) -> Identity | None:
    """Return an identity of this degree for an entry, None if there is none."""
    group = ideal.symmetries(target) if ideal.k >= AVERAGED else ideal.symmetries(target)[:1]
    columns = _sums(ideal, ideal.products(target, degree), group)
    solution = _solve(ideal, target, columns, group)
    if solution is None:
        return None
    multiple = lcm(*(int(c.q) for c in solution))
    terms: Counter[Product] = Counter()
    for c, column in zip(solution, columns, strict=True):
        for each, times in column.items():
            terms[each] += int(c * multiple) * times
    return Identity(target, multiple, {each: c for each, c in terms.items() if c})


def _sums(ideal: Ideal, products: Iterable[Product], group: list[Relabelling]) -> list[dict[Product, int]]:
    """Return the sums of products over a group, without those that cancel, divided by what they have in common."""
    seen: set[Product] = set()
    found = []
    for each in products:
        if each in seen:
            continue
        orbit: Counter[Product] = Counter()
        for by in group:
            moved, factor = ideal.moved_product(each, by)
            orbit[moved] += factor
        seen.update(orbit)
        common = gcd(*orbit.values())
        if common:
            found.append({moved: c // common for moved, c in orbit.items()})
    return found


def _solve(
    ideal: Ideal, target: Entry, columns: list[dict[Product, int]], group: list[Relabelling]
) -> list[fmpq] | None:
    """Return numbers with which the columns add up to the target, as many of them 0 as elimination leaves."""
    expanded: dict[Minor, Polynomial] = {}
    polynomials = [_expanded(ideal, column, expanded) for column in columns]
    rows = _representatives(ideal, [(target,), *(m for polynomial in polynomials for m in polynomial)], group)
    polynomials.append({(target,): 1})
    system = fmpz_mat(len(rows), len(polynomials))
    for column, polynomial in enumerate(polynomials):
        for monomial, c in polynomial.items():
            if monomial in rows:
                system[rows[monomial], column] = c
    return _basic_solution(system)


def _expanded(ideal: Ideal, column: dict[Product, int], minors: dict[Minor, Polynomial]) -> Polynomial:
    found: Counter[Monomial] = Counter()
    for (factor, minor), times in column.items():
        if minor not in minors:
            minors[minor] = ideal.expanded(minor)
        for monomial, c in minors[minor].items():
            found[tuple(sorted(monomial + factor))] += times * c
    return found


def _representatives(ideal: Ideal, monomials: Iterable[Monomial], group: list[Relabelling]) -> dict[Monomial, int]:
    """Number one monomial of each orbit: sums over the group have the same coefficient on all of an orbit."""
    seen: set[Monomial] = set()
    numbered: dict[Monomial, int] = {}
    for monomial in monomials:
        if monomial not in seen:
            seen.update(ideal.moved(monomial, by) for by in group)
            numbered[monomial] = len(numbered)
    return numbered


def _basic_solution(system: fmpz_mat) -> list[fmpq] | None:
    """Solve the system whose right-hand side is the last column; None if it has no solution."""
    reduced, denominator, rank = system.rref()
    unknowns = system.ncols() - 1
    solution = [fmpq(0)] * unknowns
    column = 0
    for row in range(rank):
        while reduced[row, column] == 0:
            column += 1
        if column == unknowns:
            return None
        solution[column] = fmpq(reduced[row, unknowns], denominator)
    return solution


def common_zero(ideal: Ideal) -> str:
    """Say why two tasks have no identity at any degree: all minors vanish at a point other than 0, which is checked.

    It is a point of ML-2's set of minimisers, the first factors' first columns turned by a hyperbolic rotation.
    """
    k, n = ideal.k, ideal.n
    X = fmpq_mat(n, n)
    for i, j, value in ((0, 0, -9), (k, k, -9), (0, k, -15), (k, 0, -15)):
        X[i, j] = fmpq(value, 16)
    for task in range(2):
        E = fmpq_mat(n, n)
        for i in range(task * k, (task + 1) * k):
            E[i, i] = 1
        if (E - X).rank() > k:
            raise ArithmeticError("the point is not a common zero of the minors")
    return (
        f"with two tasks all minors vanish where X[0, 0] = X[{k}, {k}] = -9/16, X[0, {k}] = X[{k}, 0] = -15/16 and all "
        "other entries are 0, so no identity exists at any degree"
    )
