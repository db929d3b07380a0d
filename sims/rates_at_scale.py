r"""The claims about test errors as functions on a batch of structures, one draw of test data for each.

To first order in the noise the in-sample error of rank-r fine-tuning, ``n tr(Delta S Delta^T) / sigma^2``, is a
chi-square of ``r(2d - r)`` degrees of freedom, whatever the structure (FT-2). So it lies in that distribution's
central 90 % with probability 0.9, and the shares of different settings can be pooled and tested exactly.
"""

from __future__ import annotations

from collections.abc import Callable

from array_api_compat import array_namespace

from loraml_theory.closed_forms import (
    best_rank_error,
    boost,
    fine_tune,
    spectral_recovery,
    standard_retraining,
    two_task_orbit,
)
from loraml_theory.moments import Moments, population
from loraml_theory.rates import degrees_of_freedom
from loraml_theory.structure import Array, GroundTruth, frobenius
from sims.masks import VISIBLE, Masks, masks

COVERAGE = 0.9
"""Probability of the interval in which an error must lie."""

SIGNAL_TO_NOISE = 100.0
"""Smallest singular value that is fitted, over ``2 (sigma/sigma_x) sqrt(d/n)``."""

BIAS = 10 / SIGNAL_TO_NOISE**2
"""Relative size of what first order neglects; 10 is a margin for its constant."""

SIGMA_X = 1.5

Rank = Callable[[int, int, int], int]
"""From (k, T, d) to a rank."""


def standard_rank(k: int, T: int, d: int) -> int:
    """Return the rank that a new task needs from standard retraining (SR-2)."""
    return min(d, k * (T + 1))


def shared_rank(k: int, T: int, d: int) -> int:
    """Return the rank that a new task needs from LoRA-ML: k, and 3k from two tasks (ML-2, ML-3)."""
    return k if T >= 3 else min(d, 3 * k)


def central(rank: int, d: int) -> tuple[float, float]:
    """Return the central interval of the chi-square of rank-`rank` fine-tuning, of probability `COVERAGE`."""
    from scipy import special  # takes longer to import than NumPy

    degrees, tail = degrees_of_freedom(rank, d), (1 - COVERAGE) / 2
    return float(special.chdtri(degrees, 1 - tail)), float(special.chdtri(degrees, tail))


def coverage_tolerance(rank: int, d: int) -> float:
    """Return how far a relative bias of `BIAS` in the error moves the probability of its interval."""
    from scipy import special

    degrees, (low, high) = degrees_of_freedom(rank, d), central(rank, d)
    moved = (special.chdtr(degrees, high * b) - special.chdtr(degrees, low * b) for b in (1 - BIAS, 1 + BIAS))
    return max(abs(float(probability) - COVERAGE) for probability in moved)


def sr_4(A_star: Array, U_star: Array, noise: Moments, *, rank: Rank = standard_rank, scale: float = 1.0) -> Masks:
    """SR-4: fine-tuned at rank k(T+1), standard retraining's base has FT-2's error with r = k(T+1).

    Parameters
    ----------
    A_star, U_star
        The structures.
    noise
        Moments of ``y = eps`` with standard deviation 1, inputs of standard deviation `SIGMA_X`, ``(B, d, d)``.
    rank
        The rank that the prediction is made for.
    scale
        A factor on the prediction.
    """
    truth = GroundTruth(A_star, U_star)
    fitted = standard_rank(truth.k, truth.T, truth.d)
    base = standard_retraining(population(truth.W_retraining))
    return _inside(truth, base, fitted, noise, central(rank(truth.k, truth.T, truth.d), truth.d), scale=scale)


def sr_4_floor(A_star: Array, U_star: Array, noise: Moments, *, from_truth: bool = False) -> Masks:
    """SR-4: fine-tuned at rank k the error never falls below ``sum_{i>k} sigma_i^2(W_{T+1} - A_SR)``."""
    truth = GroundTruth(A_star, U_star)
    standard = standard_retraining(population(truth.W_retraining))
    floor = best_rank_error(truth.W_test - standard, truth.k)
    base = truth.A_star if from_truth else standard
    moments, _ = _scaled(truth.W_test, truth.W_test - base, truth.k, noise)
    error = frobenius(fine_tune(moments, base, truth.k) - truth.W_test) ** 2
    xp = array_namespace(error)
    rounding = (1e2 * truth.d * float(xp.finfo(error.dtype).eps) * truth.scale) ** 2
    return masks(error >= floor * (1 - 1e-9) - rounding, rounding > VISIBLE * floor)


def ml_7(A_star: Array, U_star: Array, noise: Moments, *, rank: Rank = shared_rank, standard: bool = False) -> Masks:
    """ML-7: fine-tuned at rank k, LoRA-ML's base from T >= 3 tasks has FT-2's error with r = k, the same for every T.

    Parameters
    ----------
    A_star, U_star
        T >= 3 with an independent triple.
    noise
        As in `sr_4`.
    rank
        The rank that the prediction is made for.
    standard
        Take standard retraining's base instead.
    """
    truth = GroundTruth(A_star, U_star)
    recovered = spectral_recovery(truth.W_retraining, truth.k)
    base = standard_retraining(population(truth.W_retraining)) if standard else recovered.A
    predicted = rank(truth.k, truth.T, truth.d)
    return _inside(
        truth, base, truth.k, noise, central(predicted, truth.d), condition=None if standard else recovered.condition
    )


def ml_7_two_tasks(
    A_star: Array, U_star: Array, noise: Moments, rapidities: Array, rotations: Array, *, rank: Rank = shared_rank
) -> Masks:
    """ML-7: a point of the orbit of two tasks, fine-tuned at rank 3k, has FT-2's error with r = 3k.

    `rapidities` and `rotations` are those of `sims.claims_at_scale.ml_2_orbit`.
    """
    truth = GroundTruth(A_star, U_star)
    base, _ = two_task_orbit(truth, boost(rapidities, rotations[0, ...], rotations[1, ...]))
    fitted = shared_rank(truth.k, truth.T, truth.d)
    return _inside(truth, base, fitted, noise, central(rank(truth.k, truth.T, truth.d), truth.d))


def _scaled(W: Array, residual: Array, rank: int, noise: Moments) -> tuple[Moments, Array]:
    """Return moments of tasks W with the sigma of `SIGNAL_TO_NOISE`, and sigma, ``(B,)``."""
    xp = array_namespace(W)
    n, d = float(noise.n), int(W.shape[-1])  # type: ignore[arg-type]
    unit = 2 / SIGMA_X * (d / n) ** 0.5
    sigma = xp.linalg.svdvals(residual)[..., rank - 1] / (unit * SIGNAL_TO_NOISE)
    return Moments(noise.S, W + sigma[..., None, None] * noise.W, sigma**2 * noise.noise, noise.n), sigma


def _inside(
    truth: GroundTruth,
    base: Array,
    fitted: int,
    noise: Moments,
    interval: tuple[float, float],
    *,
    scale: float = 1.0,
    condition: Array | None = None,
) -> Masks:
    """Fine-tune and see whether the in-sample error is in an interval.

    Rounding perturbs the fitted parameter by about ``condition * 100 d eps max||W_t||_F``; where that is visible
    beside the noise, float64 cannot tell.
    """
    xp = array_namespace(base)
    moments, sigma = _scaled(truth.W_test, truth.W_test - base, fitted, noise)
    delta = fine_tune(moments, base, fitted) - truth.W_test
    n = float(noise.n)  # type: ignore[arg-type]
    value = n * xp.sum((delta @ moments.S) * delta, axis=(-2, -1)) / sigma**2 / scale
    rounding = 100 * truth.d * float(xp.finfo(base.dtype).eps) * truth.scale
    if condition is not None:
        rounding = rounding * condition
    hidden = ~(n**0.5 * SIGMA_X * rounding / sigma <= VISIBLE * interval[0] ** 0.5)
    return masks((value >= interval[0]) & (value <= interval[1]), hidden)
