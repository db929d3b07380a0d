"""Ensembles: many random structures of one kind and size, drawn in blocks from a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loraml_theory import zoo
from loraml_theory.moments import Moments, draw
from loraml_theory.structure import GroundTruth
from sims.seeding import stream

BLOCK = 500
"""Structures drawn and checked together; changing it changes what a seed draws."""


@dataclass(frozen=True)
class Block:
    """Consecutive structures of an ensemble, with the random stream for everything else drawn for them."""

    first: int
    truth: GroundTruth
    rng: np.random.Generator


@dataclass(frozen=True)
class Ensemble:
    """Random structures of one kind and size; the same seed gives the same ones for any number of them.

    Parameters
    ----------
    kind
        One of `loraml_theory.zoo.KINDS`.
    d, k, T
        Sizes.
    """

    kind: str
    d: int
    k: int
    T: int

    def __str__(self) -> str:
        return f"{self.kind} d={self.d} k={self.k} T={self.T}"

    def block(self, number: int, seed: int, *, purpose: str) -> Block:
        """Draw block `number`; the random stream depends on the purpose as well."""
        place: dict[str, int | str] = {"kind": self.kind, "d": self.d, "k": self.k, "T": self.T, "block": number}
        rng = stream(seed, "ensemble", **place)
        truth = zoo.KINDS[self.kind](rng, self.d, self.k, self.T, batch=(BLOCK,))
        return Block(number * BLOCK, truth, stream(seed, f"ensemble: {purpose}", **place))


def starts(block: Block) -> tuple[np.ndarray]:
    """Draw normal factors whose shifts are as large as the largest true one, ``(B, T, d, k)``."""
    truth = block.truth
    size = np.max(np.linalg.norm(truth.R, axis=(-2, -1)), axis=-1)
    normal = block.rng.standard_normal((len(size), truth.T, truth.d, truth.k))
    return (np.sqrt(size / truth.d)[:, None, None, None] * normal,)


def orbit(block: Block) -> tuple[np.ndarray, np.ndarray]:
    """Draw rapidities from 0.3 to 1.5, ``(B, k)``, and rotations ``(2, B, 2, k, k)`` for elements of O(k, k)."""
    B, k = len(block.truth.A_star), block.truth.k
    return block.rng.uniform(0.3, 1.5, (B, k)), np.linalg.qr(block.rng.standard_normal((2, B, 2, k, k)))[0]


def noise(block: Block, *, samples: int = 10, sigma_x: float = 1.0) -> tuple[Moments]:
    """Draw moments of `samples` d samples of ``y = eps``, eps of standard deviation 1, ``(B, d, d)``."""
    truth = block.truth
    return (draw(block.rng, np.zeros_like(truth.A_star), samples * truth.d, sigma_x=sigma_x, sigma=1.0),)
