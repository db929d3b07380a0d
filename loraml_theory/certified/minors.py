r"""The minors of ``E_t - X``: the polynomials that say which bases have zero loss (ML-3), and their symmetries.

A congruence takes an independent triple to the blocks of the identity of size 3k. Then ``E_t`` is 1 on the diagonal of
block t and 0 elsewhere, X is the base's distance from the truth, and the loss is 0 where all ``E_t - X`` have rank at
most k, so where all their minors of size k + 1 vanish. Indices are counted from 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement, permutations, product
from typing import NamedTuple, TypeAlias

BLOCKS = 3

Entry: TypeAlias = tuple[int, int]
"""A row and a column of X: an unknown."""
Monomial: TypeAlias = tuple[Entry, ...]
"""Its factors, sorted, as often as they occur."""
Polynomial: TypeAlias = dict[Monomial, int]


class Minor(NamedTuple):
    """The determinant of some rows and columns of ``E_t - X``."""

    task: int
    rows: tuple[int, ...]
    columns: tuple[int, ...]


class Product(NamedTuple):
    """A monomial times a minor."""

    monomial: Monomial
    minor: Minor


class Relabelling(NamedTuple):
    """A permutation of the indices that permutes the blocks, and whether rows and columns change places."""

    indices: tuple[int, ...]
    blocks: tuple[int, ...]
    transposed: bool


@dataclass(frozen=True)
class Ideal:
    """The minors of size k + 1 for the first `tasks` blocks; X is symmetric, or any matrix."""

    k: int
    symmetric: bool
    tasks: int = BLOCKS

    @property
    def n(self) -> int:
        """The size of X."""
        return BLOCKS * self.k

    def entry(self, i: int, j: int) -> Entry:
        """Return the name of the unknown in row i and column j."""
        return (j, i) if self.symmetric and i > j else (i, j)

    def expanded(self, minor: Minor) -> Polynomial:
        """Write a minor as a polynomial."""
        found: Counter[Monomial] = Counter()
        for order in permutations(range(self.k + 1)):
            terms: Polynomial = {(): sign(order)}
            for i, at in zip(minor.rows, order, strict=True):
                terms = self._times(terms, minor.task, i, minor.columns[at])
            found.update({tuple(sorted(monomial)): 0 for monomial in terms})
            for monomial, c in terms.items():
                found[tuple(sorted(monomial))] += c
        return {monomial: c for monomial, c in found.items() if c}

    def _times(self, terms: Polynomial, task: int, i: int, j: int) -> Polynomial:
        """Multiply by the entry (i, j) of ``E_t - X``."""
        made = {(*monomial, self.entry(i, j)): -c for monomial, c in terms.items()}
        return made | terms if i == j and i // self.k == task else made

    def products(self, target: Entry, degree: int) -> list[Product]:
        """Return the products up to a degree that have the target's weight, those of small monomials first.

        The rescaling of index i by s_i, of rows and of columns inversely, leaves ``E_t`` as it is and multiplies
        ``X_ij`` by ``s_i / s_j``, and so every product by its weight; only those of the target's weight can be of use.
        Where X is symmetric s_i is 1 or -1.
        """
        entries = sorted({self.entry(i, j) for i, j in product(range(self.n), repeat=2)})
        of_weight: dict[tuple[int, ...], list[Monomial]] = {}
        for size in range(degree - self.k):
            for monomial in combinations_with_replacement(entries, size):
                weight = self._weight([i for i, _ in monomial], [j for _, j in monomial])
                of_weight.setdefault(weight, []).append(monomial)
        found = []
        for minor in self._minors():
            needed = self._weight((target[0], *minor.columns), (target[1], *minor.rows))
            found += [Product(monomial, minor) for monomial in of_weight.get(needed, ())]
        return sorted(found, key=lambda each: len(each.monomial))

    def _minors(self) -> Iterator[Minor]:
        subsets = list(combinations(range(self.n), self.k + 1))
        for rows, columns in product(subsets, repeat=2):
            if not (self.symmetric and rows > columns):
                yield from sorted({self._named(task, rows, columns) for task in range(self.tasks)})

    def _named(self, task: int, rows: tuple[int, ...], columns: tuple[int, ...]) -> Minor:
        """Return a minor by its one name: it is the same for all tasks with no 1 in it, of which the first is named."""
        if self.symmetric and rows > columns:
            rows, columns = columns, rows
        ones = {i // self.k for i in set(rows) & set(columns)}
        return Minor(task if task in ones else min({*range(BLOCKS)} - ones), rows, columns)

    def _weight(self, rows: tuple[int, ...] | list[int], columns: tuple[int, ...] | list[int]) -> tuple[int, ...]:
        weight = [0] * self.n
        for i in rows:
            weight[i] += 1
        for j in columns:
            weight[j] -= 1
        return tuple(w % 2 for w in weight) if self.symmetric else tuple(weight)

    def symmetries(self, target: Entry) -> list[Relabelling]:
        """Return relabellings that take the ideal, and the target, to themselves; the identity is the first."""
        found = []
        for blocks in permutations(range(BLOCKS)):
            if any(blocks[task] >= self.tasks for task in range(self.tasks)):
                continue
            for inside in product(permutations(range(self.k)), repeat=BLOCKS):
                to = tuple(blocks[b] * self.k + a for b in range(BLOCKS) for a in inside[b])
                image = to[target[0]], to[target[1]]
                if image in (target, target[::-1]):
                    found.append(Relabelling(to, blocks, image != target))
        return found

    def moved(self, monomial: Monomial, by: Relabelling) -> Monomial:
        """Relabel a monomial."""
        to, _, transposed = by
        return tuple(sorted(self.entry(to[j], to[i]) if transposed else self.entry(to[i], to[j]) for i, j in monomial))

    def moved_product(self, given: Product, by: Relabelling) -> tuple[Product, int]:
        """Relabel a product, and return the sign with which its minor's rows and columns are sorted again."""
        rows, columns = ([by.indices[i] for i in part] for part in given.minor[1:])
        factor = sign(rows) * sign(columns)
        if by.transposed:
            rows, columns = columns, rows
        minor = self._named(by.blocks[given.minor.task], tuple(sorted(rows)), tuple(sorted(columns)))
        return Product(self.moved(given.monomial, by), minor), factor


def sign(order: tuple[int, ...] | list[int]) -> int:
    """Return 1 or -1: whether an even number of exchanges sorts these distinct numbers.

    Examples
    --------
    >>> sign((0, 1, 2)), sign((1, 0, 2)), sign((1, 2, 0))
    (1, -1, 1)
    """
    return (-1) ** sum(one > two for one, two in combinations(order, 2))
