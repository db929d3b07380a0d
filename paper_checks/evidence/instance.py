"""Instances: named ground truths with a seed for everything that is drawn on them."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

import numpy as np

from loraml_theory.structure import GroundTruth


@dataclass(frozen=True)
class Instance:
    """A named ground truth.

    Parameters
    ----------
    name
        Shown in every table; may come from a user and is escaped where it is rendered.
    truth
        One truth, without batch axes.
    seed
        Root of every random number drawn on this instance.
    exact
        Whether the floats are exact, so that they may be taken for rational numbers.
    """

    name: str
    truth: GroundTruth
    seed: int
    exact: bool = False

    def rng(self, purpose: str) -> np.random.Generator:
        """Return a generator that depends only on seed, name and purpose."""
        return np.random.default_rng([self.seed, crc32(self.name.encode()), crc32(purpose.encode())])
