"""Ensembles: many random structures of one kind and size, drawn in blocks from a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from loraml_theory.moments import Moments, draw
from loraml_theory.structure import GroundTruth
from sims.seeding import stream

BLOCK = 500
"""Structures drawn and checked together; part of what the seed means, so changing it changes what is drawn."""


@dataclass(frozen=True)
class Block:
    """Consecutive structures of an ensemble, with the stream of all further numbers drawn for them."""

    first: int
    truth: GroundTruth
    rng: np.random.Generator


@dataclass(frozen=True)
class Ensemble:
    """Random structures of one kind and size; the same seed gives the same ones, whatever their number.

    Parameters
    ----------
    kind
        One of `KINDS`.
    d, k, T
        Sizes.
    """

    kind: str
    d: int
    k: int
    T: int

    def __str__(self) -> str:
        """Print as the checks show it."""
        return f"{self.kind} d={self.d} k={self.k} T={self.T}"

    def draw(self, rng: np.random.Generator, count: int) -> GroundTruth:
        """Draw `count` structures, with one leading batch axis."""
        A = rng.standard_normal((count, self.d, self.d))
        U = rng.standard_normal((count, self.T + 1, self.d, self.k))
        return KINDS[self.kind](A, U)

    def block(self, number: int, seed: int, *, purpose: str) -> Block:
        """Draw block `number`; what is drawn beyond the structures depends on the purpose as well."""
        place: dict[str, int | str] = {"kind": self.kind, "d": self.d, "k": self.k, "T": self.T, "block": number}
        truth = self.draw(stream(seed, "ensemble", **place), BLOCK)
        return Block(number * BLOCK, truth, stream(seed, f"ensemble: {purpose}", **place))


def _generic(A: np.ndarray, U: np.ndarray) -> GroundTruth:
    """Return the paper's synthetic truth: A* the symmetric part of a normal matrix."""
    return GroundTruth((A + A.swapaxes(-1, -2)) / 2, U)


def _asymmetric(A: np.ndarray, U: np.ndarray) -> GroundTruth:
    """Return a truth whose A* is not symmetric."""
    return GroundTruth(A, U)


def _scaled(A: np.ndarray, U: np.ndarray) -> GroundTruth:
    """Return a truth whose factors' scales run evenly on a log axis from 1 to 30: shifts differ by 10^3."""
    return GroundTruth(A, U * np.logspace(0, 1.5, U.shape[-3])[:, None, None])


def _repeated_task(A: np.ndarray, U: np.ndarray) -> GroundTruth:
    """Return a truth whose retraining tasks are two in turn: no triple is independent."""
    return _generic(A, U[..., [*(t % 2 for t in range(U.shape[-3] - 1)), -1], :, :])


KINDS: dict[str, Callable[[np.ndarray, np.ndarray], GroundTruth]] = {
    "generic": _generic,
    "asymmetric": _asymmetric,
    "scaled": _scaled,
    "repeated-task": _repeated_task,
}


def starts(rng: np.random.Generator, truth: GroundTruth) -> np.ndarray:
    """Draw normal factors whose shifts are as large as the largest true one, ``(B, T, d, k)``."""
    size = np.max(np.linalg.norm(truth.R, axis=(-2, -1)), axis=-1)
    return np.sqrt(size / truth.d)[:, None, None, None] * rng.standard_normal((len(size), truth.T, truth.d, truth.k))


def orbit(rng: np.random.Generator, truth: GroundTruth) -> tuple[np.ndarray, np.ndarray]:
    """Draw rapidities from 0.3 to 1.5, ``(B, k)``, and rotations ``(2, B, 2, k, k)`` for elements of O(k, k)."""
    B, k = len(truth.A_star), truth.k
    return rng.uniform(0.3, 1.5, (B, k)), np.linalg.qr(rng.standard_normal((2, B, 2, k, k)))[0]


def noise(rng: np.random.Generator, truth: GroundTruth, n: int, *, sigma_x: float = 1.0) -> Moments:
    """Draw moments of n samples of ``y = eps``, eps of standard deviation 1, ``(B, d, d)``."""
    return draw(rng, np.zeros_like(truth.A_star), n, sigma_x=sigma_x, sigma=1.0)
