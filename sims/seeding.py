"""Random streams by name: a draw depends on its purpose and coordinates, never on the order of draws.

A stream is derived from the spec's root seed, a purpose and the coordinates that the draw may depend on. Everything
else shares it:

=================  =====================  ==========================================================
purpose            coordinates            shared by
=================  =====================  ==========================================================
truth              seed, kind, d, k       T (nested tasks), N, n, sigma, method, start, rank
retraining data    seed, d, k, N, task    T (nested), n, method, start, rank; sigma (the same noise, scaled)
test data          seed, d, k, n          T, N, method, start, rank; sigma (the same noise, scaled)
start              seed, d, k, task       T (nested), N, n, sigma, rank, method, its scale
fine-tuning start  seed, d, rank          everything else
orbit              seed, d, k             everything else
=================  =====================  ==========================================================

So methods, starts and ranks are compared on the same truth and data, and rows of different seeds are independent.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from json import dumps

import numpy as np

from loraml_theory import zoo
from loraml_theory.moments import Moments, draw, population
from loraml_theory.structure import GroundTruth

Stream = Callable[..., np.random.Generator]

NESTED = ("generic", "asymmetric")


def stream(root: int, purpose: str, /, **coordinates: int | str) -> np.random.Generator:
    """Return the generator of a purpose at some coordinates, whose order does not matter.

    Examples
    --------
    >>> int(stream(0, "truth", seed=1, d=10).integers(10**9) - stream(0, "truth", d=10, seed=1).integers(10**9))
    0
    """
    name = dumps([purpose, coordinates], sort_keys=True).encode()
    words = np.frombuffer(blake2b(name, digest_size=16).digest(), "<u4")
    return np.random.default_rng(np.random.SeedSequence([root, *words.tolist()]))


def truth(root: int, seed: int, *, kind: str, d: int, k: int, T: int) -> GroundTruth:
    """Draw a seed's ground truth.

    Kinds whose tasks are exchangeable (`NESTED`) take the first factor drawn as the test task, so that T retraining
    tasks are the first T of T + 1, with the same test task. The tasks of other kinds depend on T.

    Raises
    ------
    ValueError
        If the kind does not exist at these sizes.
    """
    drawn = zoo.KINDS[kind](stream(root, "truth", seed=seed, kind=kind, d=d, k=k), d, k, T)
    return GroundTruth(drawn.A_star, np.roll(drawn.U_star, -1, axis=0)) if kind in NESTED else drawn


def retraining_moments(root: int, seed: int, truth: GroundTruth, *, N: float, sigma: float) -> Moments:
    """Draw the moments of a seed's T retraining tasks, ``(T, d, d)``, every task from its own stream."""
    if np.isinf(N):
        return population(truth.W_retraining, sigma=sigma)
    rng = partial(stream, root, "retraining data", seed=seed, d=truth.d, k=truth.k, N=int(N))
    return stack([draw(rng(task=t), W, int(N), sigma=sigma) for t, W in enumerate(truth.W_retraining)])


def fine_tuning_moments(root: int, seed: int, truth: GroundTruth, *, n: float, sigma: float) -> Moments:
    """Draw the moments of a seed's test task, ``(d, d)``."""
    if np.isinf(n):
        return population(truth.W_test, sigma=sigma)
    return draw(stream(root, "test data", seed=seed, d=truth.d, k=truth.k, n=int(n)), truth.W_test, int(n), sigma=sigma)


def start(root: int, seed: int, *, d: int, k: int, T: int) -> np.ndarray:
    """Draw standard normal factors ``(T, d, k)``."""
    return np.stack([stream(root, "start", seed=seed, d=d, k=k, task=t).standard_normal((d, k)) for t in range(T)])


def fine_tuning_start(root: int, seed: int, *, d: int, rank: int) -> np.ndarray:
    """Draw standard normal U and V, ``(2, d, rank)``."""
    return stream(root, "fine-tuning start", seed=seed, d=d, rank=rank).standard_normal((2, d, rank))


def stack(parts: list[Moments]) -> Moments:
    """Join moments of equal shape and n along a new first axis."""
    S, W, noise = (np.stack([getattr(part, name) for part in parts]) for name in ("S", "W", "noise"))
    return Moments(S, W, noise, parts[0].n)
