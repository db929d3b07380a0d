"""The drawn instances on which claims are checked when the user gives none."""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

import numpy as np

from loraml_theory import zoo
from paper_checks.evidence.instance import Instance


def draw(kind: str, d: int, k: int, T: int, seed: int) -> Instance:
    """Draw one instance of a kind of the zoo; it depends only on the arguments."""
    name = f"{kind} d={d} k={k} T={T}"
    rng = np.random.default_rng([seed, crc32(name.encode())])
    return Instance(name, zoo.KINDS[kind](rng, d, k, T), seed)


def carry(kind: str, d: int, k: int, T: int) -> Callable[[int], Instance]:
    """Return a drawer of one instance from a seed, for a control to carry."""
    return lambda seed: draw(kind, d, k, T, seed)


PAPER = (("generic", 10, 1, 2), ("generic", 10, 1, 3), ("generic", 10, 1, 5), ("generic", 10, 3, 3))
"""The paper's linear settings; at k = 3, T = 3, d = 10 assumption I cannot hold (12 > 10)."""

FURTHER = (
    ("asymmetric", 12, 2, 2),
    ("asymmetric", 8, 2, 3),  # k(T+1) = d
    ("scaled", 12, 1, 3),  # factors differ by 10^5
    ("orthogonal", 20, 2, 5),
    ("generic", 64, 4, 5),
    ("generic", 64, 4, 10),
)


INTEGERS = (("integer", 10, 1, 2), ("integer", 12, 2, 2), ("integer", 10, 2, 3), ("integer", 30, 3, 5))
"""Structures of small whole numbers, whose ranks are also decided over the rational numbers."""


def all_kinds(seed: int) -> list[Instance]:
    """Draw the whole set; a claim applies to those that meet its assumptions."""
    return [draw(*shape, seed) for shape in PAPER + FURTHER]


def with_integers(seed: int) -> list[Instance]:
    """Draw the whole set and structures of whole numbers, for claims with exact evidence."""
    return [*all_kinds(seed), *(draw(*shape, seed) for shape in INTEGERS)]


def with_one_integer(seed: int) -> list[Instance]:
    """Draw the whole set and one structure of whole numbers, for claims whose checks draw many samples."""
    return [*all_kinds(seed), draw("integer", 10, 2, 3, seed)]


def all_but(kind: str) -> Callable[[int], list[Instance]]:
    """Return a drawer of all instances that are not of a kind, for checks that float64 cannot always decide there."""
    return lambda seed: [draw(*shape, seed) for shape in PAPER + FURTHER if shape[0] != kind]


def up_to(d: int) -> Callable[[int], list[Instance]]:
    """Return a drawer of the instances of ambient dimension at most d, for checks that iterate."""
    return lambda seed: [draw(*shape, seed) for shape in PAPER + FURTHER if shape[1] <= d]
