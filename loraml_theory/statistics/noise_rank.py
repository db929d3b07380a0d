r"""The number of singular values of a matrix above its noise, when neither the rank nor the noise is known.

The matrix is a signal of low rank plus noise with independent entries of one unknown variance. The largest singular
value of p x q standard normal noise is, squared, ``mu + s F`` with F of Tracy and Widom's first law and

    mu = (a + b)^2,   s = (a + b) (1/a + 1/b)^{1/3},   a^2 = p - 1/2,   b^2 = q - 1/2

(Johnstone 2001, with Ma's correction of 2012). As the noise's variance is taken from the values that are left, a
singular value is compared with what the ratio of the two exceeds once in a thousand times (Kritchman and Nadler 2009):
for small matrices from draws, for others from the law above.
"""

from __future__ import annotations

from functools import lru_cache
from math import inf, sqrt
from typing import NamedTuple

import numpy as np

from loraml_theory.structure import Array

TRACY_WIDOM = 3.272
"""Quantile 0.999 of Tracy and Widom's first law."""
SMALL, DRAWS = 12, 10_000
"""Up to this smaller side the ratio's quantile is taken from this many draws; beyond, its formula is good to 8 %."""
LEFT = 2
"""Fewer values cannot separate noise from signal."""


class NoiseRank(NamedTuple):
    """The number of singular values above the noise.

    Parameters
    ----------
    rank
        The number.
        clear
        The number beyond one and a half times the edge: what a slightly larger noise would leave.
    sigma
        Standard deviation of the noise's entries, as the other values have it.
    edge
        What the next singular value would have to exceed.
    censored
        Whether all known values, or all that can be told from noise, are above it: the rank may be larger.
    """

    rank: int
    clear: int
    sigma: float
    edge: float
    censored: bool


class Noise(NamedTuple):
    """The noise of a task's entries.

    Parameters
    ----------
    sigma
        Standard deviation of an entry.
    floor
        What rounding may reach in a singular value.
    """

    sigma: float
    floor: float

    def edge(self, shape: tuple[int, int], *, variance: float = 1.0) -> float:
        """Return a bound on the singular values of noise whose entries have this multiple of ``sigma^2``."""
        return max(self.floor, sqrt(variance) * self.sigma * noise_edge(*shape))


def noise_edge(p: int, q: int) -> float:
    """Return the quantile 0.999 of the largest singular value of a p x q standard normal matrix.

    Examples
    --------
    >>> round(noise_edge(100, 100), 2), round(noise_edge(10_000, 10_000), 2)
    (20.89, 200.44)
    """
    a, b = sqrt(max(p, 1) - 0.5), sqrt(max(q, 1) - 0.5)
    return sqrt((a + b) ** 2 + TRACY_WIDOM * (a + b) * (1 / a + 1 / b) ** (1 / 3))


@lru_cache(maxsize=4096)
def ratio_edge(p: int, q: int) -> float:
    r"""Return the quantile 0.999 of ``s_1 / sigma_1`` of noise.

        sigma_1^2 = sum_{i > 1} s_i^2 / ((p - 1) (q - 1))

    Infinite if p or q is 1, where no values are left to estimate the noise from.
    """
    n, longer = min(p, q), max(p, q)
    if n <= 1:
        return inf
    if n > SMALL:
        edge = noise_edge(p, q) ** 2
        return sqrt(edge * (p - 1) * (q - 1) / (p * q - edge))
    rng = np.random.default_rng([n, longer])  # a table of one law, not part of an experiment
    L = np.tril(rng.standard_normal((DRAWS, n, n)), -1)
    diagonal = np.arange(n)
    L[:, diagonal, diagonal] = np.sqrt(rng.chisquare(longer - diagonal, (DRAWS, n)))
    squares = np.linalg.eigvalsh(L @ L.transpose(0, 2, 1))  # of singular values, by Bartlett's decomposition
    rest = np.maximum(np.sum(squares[:, :-1], axis=-1), 1e-300)
    return float(np.quantile(np.sqrt(squares[:, -1] / rest * ((p - 1) * (q - 1))), 0.999))


def rank_above_noise(values: Array, shape: tuple[int, int], *, energy: float, floor: float = 0.0) -> NoiseRank:
    r"""Count the singular values of a matrix above its noise.

    Value j counts if it exceeds ``floor`` and ``ratio_edge(p - j + 1, q - j + 1) sigma_j``,

        sigma_j^2 = (energy - sum_{i <= j} s_i^2) / ((p - j) (q - j)),

    or if all values after it are below the floor and it is three times that; the rank is the largest such j. Two
    values at least must be left to tell the noise from, unless they are below the floor.

    Parameters
    ----------
    values
        The largest singular values, descending, ``(m,)``; all of them if m = min(p, q).
    shape
        p and q.
    energy
        Squared Frobenius norm of the whole matrix; at least that of the values is taken.
    floor
        What rounding may reach.

    Examples
    --------
    >>> noise = np.random.default_rng(0).standard_normal((40, 30))
    >>> def rank(M):
    ...     return rank_above_noise(np.linalg.svd(M, compute_uv=False), M.shape, energy=np.sum(M**2)).rank
    >>> rank(noise), rank(noise + 2.0 * np.ones((40, 30)))
    (0, 1)
    """
    s = np.asarray(values, dtype=float)[: min(shape)]
    rest = _rests(s, shape, energy)
    best = next((j for j in range(len(s), 0, -1) if _stands_out(s, j, rest=rest[j], shape=shape, floor=floor)), 0)
    sigma = _deviation(rest[best], shape, best)
    factor = ratio_edge(shape[0] - best, shape[1] - best) if best < min(shape) else 0.0
    edge = max(floor, factor * sigma if sigma > 0 else 0.0)
    most = min(len(s), min(shape) - LEFT)  # that can be told from noise, unless rounding is all that is left
    rounded = rest[best] <= floor**2 * (min(shape) - best)
    censored = bool(0 < best >= most and best < min(shape) and not rounded)
    return NoiseRank(best, int(np.sum(s[:best] > 1.5 * edge)), sigma, edge, censored=censored)


def _rests(s: np.ndarray, shape: tuple[int, int], energy: float) -> np.ndarray:
    """Return the energy beyond the first j values, j = 0 .. m, what is known of it summed without cancellation."""
    known = np.append(np.cumsum(s[::-1] ** 2)[::-1], 0.0)
    unknown = max(energy - known[0], 0.0) if len(s) < min(shape) else 0.0
    return known + (unknown if unknown > 1e-12 * energy else 0.0)


def _deviation(rest: float, shape: tuple[int, int], j: int) -> float:
    size = (shape[0] - j) * (shape[1] - j)
    return sqrt(rest / size) if size > 0 else 0.0


def _stands_out(s: np.ndarray, j: int, *, rest: float, shape: tuple[int, int], floor: float) -> bool:
    """Return whether the j-th value (from 1) is above the noise; `rest` is the energy of the values after it."""
    p, q = shape
    if s[j - 1] <= floor:
        return False
    below = s[j] if j < len(s) else 0.0 if j < min(p, q) else inf  # after all known ones: as `rest` has it
    if below <= floor and rest <= floor**2 * (min(p, q) - j):
        return bool(s[j - 1] > 3 * floor)
    if j > min(p, q) - LEFT:
        return False
    sigma = _deviation(rest, shape, j)
    return sigma > 0 and bool(s[j - 1] > ratio_edge(p - j + 1, q - j + 1) * sigma)
