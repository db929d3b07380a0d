"""Seeds that depend on what is drawn, never on the order in which it is drawn."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derived_seed(seed: int, *purpose: str | int) -> int:
    """Return a seed in 0 … 2⁶³ − 1 from a root seed and a purpose, such as ``(3, "adapter", "cat-deer")``."""
    text = "\x1f".join([str(int(seed)), *map(str, purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return NumPy's generator for a purpose."""
    return np.random.default_rng(derived_seed(seed, *purpose))


@contextmanager
def torch_seeded(seed: int, *purpose: str | int) -> Iterator[None]:
    """Seed torch's global generators for what is inside, and put them back after it."""
    drawn = derived_seed(seed, *purpose)
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    with torch.random.fork_rng(devices=devices):
        if devices or torch.backends.mps.is_available():
            torch.manual_seed(drawn)
        else:  # the same for the CPU, without a queue for CUDA that takes 1 ms a call and grows
            torch.default_generator.manual_seed(drawn)
        yield
