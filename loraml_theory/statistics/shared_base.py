r"""How well one base and shifts of rank k describe given matrices, compared with random ones.

The population loss of LoRA-ML with asymmetric adapters, ``1/2 sum_t ||A + U_t V_t^T - W_t||_F^2``, on given matrices:
its minimiser is the base from which each is a shift of rank k away. NumPy arrays throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np

from loraml_theory.closed_forms import best_rank_error, truncate
from loraml_theory.moments import population
from loraml_theory.solvers import Solution, Status, block_descent
from loraml_theory.statistics.asymmetric_recovery import asymmetric_recovery
from loraml_theory.structure import Array

SWEEPS = 4
"""Sweeps of plain block descent from the mean, in the statistic that is compared with chance."""
BATCH = 2**21
"""Entries of random matrices drawn at a time."""


@dataclass(frozen=True, eq=False)
class SharedBase:
    """A base from which every task is a shift of low rank away.

    Parameters
    ----------
    A
        The base, ``(p, q)``, in the coordinates of the matrices it was fitted to.
    left
        ``sum_t ||W_t - A - U_t V_t^T||_F^2``.
    status
        How the lowest descent ended.
    start
        ``recovery``, ``mean`` or, with two tasks, ``halves``: where it started.
    iterations
        Iterations of that descent.
    """

    A: Array
    left: float
    status: Status
    start: str
    iterations: int


def fit_shared_base(
    W: Array, k: int, *, ridge: float = 0.0, max_iterations: int = 100, relative_tolerance: float = 1e-7
) -> SharedBase:
    r"""Fit one base and a shift of rank k for each matrix.

        min 1/2 sum_t [ ||A + U_t V_t^T - W_t||_F^2 + ridge (||A - mean||_F^2 + ||U_t V_t^T||_F^2) ]

    Accelerated block descent from the spectral recovery (ML-6), where T >= 3 and 3k <= min(p, q), and from the mean;
    the lower end is returned. With two tasks the base is not determined (ML-2) and the mean is a saddle; the descent
    starts at ``W_1`` less every second singular triplet of ``W_1 - W_2``, up to the 2k-th, which attains the minimum.

    Parameters
    ----------
    W
        ``(T, p, q)``, float64.
    k
        Rank of the shifts.
    ridge
        Without it a minimum need not exist where no base fits exactly (see `LoRAML`): the descent then ends without
        convergence, and says so.
    max_iterations, relative_tolerance
        See `block_descent`.

    Raises
    ------
    ValueError
        If k is not in 1..min(p, q).
    """
    mean = np.mean(W, axis=0)
    size = float(np.max(np.linalg.norm(W - mean, axis=(1, 2))))
    if size == 0:
        return SharedBase(mean, 0.0, Status.CONVERGED, "mean", 0)
    tasks = population((W - mean) / size)
    starts = {"mean": np.zeros_like(mean)} if len(W) > 2 else {"halves": _halves(tasks.W, k)}
    if W.shape[0] >= 3 and 3 * k <= min(W.shape[1:]):
        found = asymmetric_recovery(tasks.W, k)
        if isfinite(float(found.condition)):
            starts = {"recovery": found.A, **starts}
    ends: dict[str, Solution] = {
        name: block_descent(
            tasks,
            k,
            base=start,
            ridge=ridge,
            memory=10,
            max_iterations=max_iterations,
            relative_tolerance=relative_tolerance,
        )
        for name, start in starts.items()
    }
    best = min(ends, key=lambda name: float(ends[name].value))
    end = ends[best]
    A = end.parameters.A
    apart = tasks.W - A
    left = float(np.sum((apart - truncate(apart, k)) ** 2))
    return SharedBase(mean + size * A, size**2 * left, Status(int(end.status)), best, end.iterations)


def _halves(W: Array, k: int) -> Array:
    """Return ``W_1 - S_1``, S_1 the first, third .. of the 2k leading singular triplets of ``W_1 - W_2``."""
    left, values, right = np.linalg.svd(W[0] - W[1], full_matrices=False)
    return W[0] - (left[:, : 2 * k : 2] * values[: 2 * k : 2]) @ right[: 2 * k : 2]


def share_left(W: Array, k: int, *, sweeps: int = SWEEPS) -> Array:
    r"""Return ``sum_t ||W_t - A - S_t||_F^2 / sum_t ||W_t - mean||_F^2`` after some sweeps of block descent, ``(...)``.

    A sweep fits every ``S_t`` of rank k to the base, then the base to them; it starts at the mean. A statistic, not a
    minimum; 0 where all matrices are equal. With two tasks the minimum has a closed form and is taken: the mean is then
    a saddle, and ``W_1 - W_2`` is best approximated at rank 2k.

    Parameters
    ----------
    W
        ``(..., T, p, q)``.
    k
        Rank of the shifts.
    sweeps
        Their number, at least 1.
    """
    A = np.mean(W, axis=-3, keepdims=True)
    total = np.sum((W - A) ** 2, axis=(-3, -2, -1))
    if W.shape[-3] == 2:
        return best_rank_error(W[..., 0, :, :] - W[..., 1, :, :], 2 * k) / 2 / np.where(total > 0, total, 1.0)
    shifts = np.zeros_like(W)
    for _ in range(sweeps):
        shifts = truncate(W - A, k)
        A = np.mean(W - shifts, axis=-3, keepdims=True)
    left = np.sum((W - A - truncate(W - A, k)) ** 2, axis=(-3, -2, -1))
    return left / np.where(total > 0, total, 1.0)


def chance_of_share(
    rng: np.random.Generator, W: Array, k: int, *, draws: int = 99, rank: int | None = None
) -> tuple[float, float, float]:
    r"""Compare `share_left` with that of random shifts of the same norms.

    The p-value is ``(1 + #{random <= given}) / (1 + draws)``, so its resolution is ``1 / (1 + draws)``. Where the given
    shifts are themselves normal it is uniform, except that the norms are estimated.

    Parameters
    ----------
    rng
        Source of the random shifts.
    W
        ``(T, p, q)``.
    k
        Rank of the shifts that are fitted.
    draws
        Number of random sets of T shifts.
    rank
        Rank of the random shifts, products of normal factors; full if not given.

    Returns
    -------
    The p-value, the given share, and the mean of the random ones.
    """
    T, p, q = W.shape
    sizes = shift_sizes(np.linalg.norm(W - np.mean(W, axis=0), axis=(1, 2)))
    given, found = float(share_left(W, k)), []
    step = max(1, BATCH // W.size)
    for start in range(0, draws, step):
        count = min(step, draws - start)
        if rank is None or rank >= min(p, q):
            shifts = rng.standard_normal((count, T, p, q))
        else:
            left, right = (rng.standard_normal((count, T, n, rank)) for n in (p, q))
            shifts = left @ np.swapaxes(right, -1, -2)
        shifts *= (sizes / np.linalg.norm(shifts, axis=(-2, -1)))[..., None, None]
        found.append(share_left(shifts, k))
    random = np.concatenate(found)
    return (1 + int(np.sum(random <= given + 1e-12))) / (1 + draws), given, float(np.mean(random))


def shift_sizes(deviations: Array) -> Array:
    r"""Return the norms of independent shifts from the norms of their deviations from the mean, ``(T,)``.

    With ``E <R_t, R_s> = 0`` and ``v_t = ||R_t||^2`` the deviation has ``(1 - 2/T) v_t + sum_s v_s / T^2``; at T = 2
    the two are equal. What would be negative is 0.

    Examples
    --------
    >>> shift_sizes(np.array([1.0, 1.0])), shift_sizes(np.sqrt([6.0, 6.0, 6.0]))
    (array([1.41421356, 1.41421356]), array([3., 3., 3.]))
    """
    T, squares = len(deviations), np.asarray(deviations) ** 2
    total = np.sum(squares) / (1 - 1 / T)
    own = np.full(T, total / T) if T == 2 else (squares - total / T**2) / (1 - 2 / T)
    return np.sqrt(np.maximum(own, 0.0))
