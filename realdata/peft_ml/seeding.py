"""torch's random numbers by purpose."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from loraml_theory.harness.seeds import derived_seed


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
