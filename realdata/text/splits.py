"""The parts of a task, by a hash of each row: the same for every seed, and kept when other rows are added."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias, TypeVar, get_args

Part: TypeAlias = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = get_args(Part)
Item = TypeVar("Item")


def place(texts: Sequence[str]) -> float:
    """Return where a row's texts are in [0, 1), as if drawn uniformly; equal texts are at the same place.

    Examples
    --------
    >>> round(place(["A fine film."]), 6), place(["A fine film."]) == place(["A fine film."])
    (0.766753, True)
    """
    written = "".join(f"{len(text)}:{text}" for text in texts)
    return int.from_bytes(hashlib.sha256(written.encode("utf-8", "surrogatepass")).digest()[:6]) / 2**48


def part_of(where: float, shares: Sequence[int]) -> Part:
    """Return the part of a place, by the shares of the parts in their order.

    Examples
    --------
    >>> [part_of(where, (70, 10, 20)) for where in (0.1, 0.75, 0.9)], part_of(0.99, (7, 1, 0))
    (['train', 'validation', 'test'], 'validation')
    """
    reached = 0
    for part, share in zip(PARTS, shares, strict=True):
        reached += share
        if where * sum(shares) < reached:
            return part
    raise AssertionError("a place is below 1")


def by_place(items: Iterable[tuple[float, Item]], *, most: int | None) -> list[Item]:
    """Return items in the order of their places, which is a random one, `most` of them at most."""
    ordered = [item for _, item in sorted(items, key=lambda pair: pair[0])]
    return ordered if most is None else ordered[:most]
