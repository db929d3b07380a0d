"""What the theory predicts for a cell of a sweep; NaN where no statement applies."""

from __future__ import annotations

from functools import lru_cache
from math import inf, isinf, nan
from typing import NamedTuple

import numpy as np

from loraml_theory import rates
from loraml_theory.closed_forms import best_rank_error
from loraml_theory.structure import GroundTruth

GENERIC = ("generic", "asymmetric", "orthogonal", "scaled")
LARGEST = 64  # largest sizes for predictions without a closed form


class Setting(NamedTuple):
    """A kind of ground truth and its sizes."""

    kind: str
    d: int
    k: int
    T: int


def fine_tuning_errors(method: str, setting: Setting, *, rank: int, n: float, sigma: float) -> tuple[float, float]:
    """Predict ``E ||Delta||_F^2`` and ``E tr(Delta S Delta^T)`` from the population solution (FT-2, ML-7, SR-4).

    Parameters
    ----------
    method
        ``sr`` or ``lora-ml``.

    Returns
    -------
    NaN where the rank does not reach the test task (only a floor is known), where an expectation does not exist, and
    for kinds whose retraining tasks are not generic.
    """
    needed, d = needed_rank(method, setting), setting.d
    if needed is None or rank < needed:
        return nan, nan
    if n == inf:
        return 0.0, 0.0
    exact = rank == needed or rank >= d
    if exact or sigma == 0:
        parameter = rates.parameter_error(rank, d, n, sigma=sigma) if n > d + 1 else nan
        return parameter, rates.in_sample_error(rank, d, n, sigma=sigma) if n >= d else nan
    if d > LARGEST or n < d:
        return nan, nan
    return (sigma**2 / n * _excess(needed, rank, d),) * 2


def needed_rank(method: str, setting: Setting) -> int | None:
    """Return the rank that a new task needs, None where no claim states it."""
    kind, d, k, T = setting
    determined = method == "sr" or (2 * k <= d if T == 2 else 3 * k <= d)
    return rates.adaptation_rank(method, k, T, d) if kind in GENERIC and determined else None


def floor(method: str, setting: Setting, truth: GroundTruth, *, rank: int) -> float:
    """Predict the error ``sum_{i > rank} sigma_i^2`` left by the population solution at any n (SR-3)."""
    needed = needed_rank(method, setting)
    if method == "sr":
        return 0.0 if needed is not None and rank >= needed else float(best_rank_error(_sr_residual(truth), rank))
    if needed is None or (truth.T == 2 and rank < needed):
        return nan  # at T = 2 it depends on the point of the orbit
    return 0.0 if rank >= needed else float(best_rank_error(truth.R[-1], rank))


def base_error(method: str, setting: Setting, truth: GroundTruth, *, N: float, sigma: float) -> float:
    """Predict ``E ||A_hat - A*||_F^2`` to first order: LoRA-ML at T >= 3 (ML-9), SR in the population (SR-1)."""
    if method == "sr":
        return float(np.sum(np.mean(truth.R[:-1], axis=0) ** 2)) if isinf(N) else nan
    if truth.T == 2 or needed_rank(method, setting) is None:
        return nan
    if isinf(N):
        return 0.0
    return rates.base_error(truth, N, sigma=sigma) if truth.k * truth.T <= LARGEST // 2 else nan


def _sr_residual(truth: GroundTruth) -> np.ndarray:
    R = np.asarray(truth.R)
    return R[-1] - np.mean(R[:-1], axis=0)


@lru_cache(maxsize=256)
def _excess(needed: int, rank: int, d: int) -> float:
    """Return `rates.excess_rank_degrees` from its own stream, so that it depends on nothing else."""
    return rates.excess_rank_degrees(np.random.default_rng(0), needed, rank, d, draws=1000)[0]
