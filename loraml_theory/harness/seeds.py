"""Seeds that depend on what is drawn, never on the order in which it is drawn."""

from __future__ import annotations

import hashlib

import numpy as np


def derived_seed(seed: int, *purpose: str | int) -> int:
    """Return a seed in 0 … 2⁶³ − 1 from a root seed and a purpose, such as ``(3, "adapter", "cat-deer")``.

    Examples
    --------
    >>> derived_seed(3, "adapter", "cat-deer") == derived_seed(3, "adapter", "cat-deer")
    True
    """
    text = "\x1f".join([str(int(seed)), *map(str, purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return NumPy's generator for a purpose."""
    return np.random.default_rng(derived_seed(seed, *purpose))
