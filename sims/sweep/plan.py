"""The chunks of a sweep: which cells there are, in which order, and how many seeds at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from loraml_theory.rates import adaptation_rank
from sims.methods import family
from sims.sweep.spec import STARTED, Spec

BLOCK = 2**22  # numbers in one array of a batch, at most, unless a single seed needs more


@dataclass(frozen=True)
class Chunk:
    """Some seeds of one retraining setting; its rows are these times every way of fine-tuning.

    `index` numbers the chunks in the order of the spec, `cost` estimates the work in floating-point operations.
    """

    index: int
    d: int
    k: int
    T: int
    N: float
    sigma: float
    method: str
    start: str
    seeds: tuple[int, ...]
    cost: float


def plan(spec: Spec) -> Iterator[Chunk]:
    """Yield a spec's chunks; a method without a start has one cell, not one for each start."""
    index = 0
    for method, d, k, T, N, sigma in product(spec.method, spec.d, spec.k, spec.T, spec.N, spec.sigma):
        size = max(1, min(spec.chunk, BLOCK // (T * d * d)))
        for start in spec.start if method in STARTED else ("none",):
            for first in range(0, len(spec.seeds), size):
                seeds = spec.seeds[first : first + size]
                cost = len(seeds) * _cost(spec, method, d, k, T)
                yield Chunk(index, d, k, T, N, sigma, method, start, seeds, cost)
                index += 1


def _cost(spec: Spec, method: str, d: int, k: int, T: int) -> float:
    settings, product_ = spec.settings, 4.0 * d * d * k
    retraining = {
        "sr-gd": settings.standard_steps * 2 * d**3,
        "lora-ml-gd": settings.outer_steps * (settings.inner_steps + 1) * T * product_,
        "lora-ml-newton": 2000 * T * product_ + 1e6,
    }.get(method, 0)
    each = 1e5 + 50 * d**3
    descent = settings.fine_tuning_steps * 2 * product_ if "gd" in spec.fine_tuning else 0
    return 1e6 + retraining + T * each + len(spec.n) * len(spec.rank) * (each + descent)


def rank_of(rule: str, chunk: Chunk) -> int:
    """Return the rank of a rule of the spec in a chunk; words are cut to d, numbers are not."""
    d, k, T = chunk.d, chunk.k, chunk.T
    if rule == "needed":
        return adaptation_rank(family(chunk.method), k, T, d)
    named = {"k": k, "3k": 3 * k, "k(T+1)": k * (T + 1)}
    return min(d, named[rule]) if rule in named else int(rule)
