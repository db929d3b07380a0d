"""What the benchmarks share: trials of the paper's linear setting, and how time and memory are taken."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from loraml_theory.adapters import Parameters
from loraml_theory.moments import Moments, draw


def truths(rng: np.random.Generator, trials: int, *, d: int, k: int, T: int) -> np.ndarray:
    """Draw W_t = A* + U_t* U_t*^T of every trial, ``(trials, T, d, d)``, as the paper does."""
    A = rng.standard_normal((trials, 1, d, d))
    U = rng.standard_normal((trials, T, d, k))
    return (A + A.swapaxes(-1, -2)) / 2 + U @ U.swapaxes(-1, -2)


def start(rng: np.random.Generator, trials: int, *, d: int, k: int, T: int) -> Parameters:
    """Draw the paper's start: A = 0, U ~ 0.1 N(0, 1)."""
    return Parameters(A=np.zeros((trials, d, d)), U=0.1 * rng.standard_normal((trials, T, d, k)))


def retraining(trials: int, *, d: int = 10, k: int = 1, T: int = 3, N: int = 5000) -> tuple[Moments, Parameters]:
    """Draw moments and start of so many trials."""
    rng = np.random.default_rng([trials, d, k, T])
    return draw(rng, truths(rng, trials, d=d, k=k, T=T), N, sigma=0.1), start(rng, trials, d=d, k=k, T=T)


def timed(function: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[float, Any]:
    """Return the seconds of one call, and its result."""
    began = perf_counter()
    result = function(*arguments, **options)
    return perf_counter() - began, result


def seconds(function: Callable[..., Any], *arguments: Any, repeats: int, **options: Any) -> np.ndarray:
    """Return the seconds of some calls."""
    return np.array([timed(function, *arguments, **options)[0] for _ in range(repeats)])


def peak_memory() -> float:
    """Return the most memory this process ever held, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform != "darwin" else 2**30)


def exponent(sizes: list[int], costs: list[float]) -> float:
    """Return the slope of log cost against log size, by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])
