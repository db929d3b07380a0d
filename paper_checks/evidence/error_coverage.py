r"""How often in-sample errors lie in FT-2's interval, on a batch of structures with one draw of test data each.

To first order in the noise the in-sample error of rank-r fine-tuning, ``n tr(Delta S Delta^T) / sigma^2``, is a
chi-square of ``r(2d - r)`` degrees of freedom for every structure (FT-2). So it lies in that distribution's
central 90 % with probability 0.9, and the shares of different settings can be pooled and tested exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from loraml_theory.closed_forms import fine_tune
from loraml_theory.libraries import array_namespace
from loraml_theory.moments import Moments
from loraml_theory.rates import degrees_of_freedom
from loraml_theory.structure import Array, GroundTruth
from paper_checks.evidence.measure import VISIBLE
from paper_checks.evidence.trials import BIAS, SIGNAL_TO_NOISE
from sims.ensembles.ensembles import Ensemble, noise
from sims.ensembles.masks import Masks, masks

COVERAGE = 0.9
"""Probability of the interval in which an error must lie."""

SIGMA_X = 1.5

Rank = Callable[[int, int, int], int]
"""Maps (k, T, d) to a rank."""

unit_noise = partial(noise, sigma_x=SIGMA_X)
"""Draws a test task's moments of ``y = eps``, eps of standard deviation 1."""


def central(rank: int, d: int) -> tuple[float, float]:
    """Return the central interval of the chi-square of rank-`rank` fine-tuning, of probability `COVERAGE`."""
    from scipy import special  # slower to import than NumPy

    degrees, tail = degrees_of_freedom(rank, d), (1 - COVERAGE) / 2
    return float(special.chdtri(degrees, 1 - tail)), float(special.chdtri(degrees, tail))


def coverage_tolerance(rank: int, d: int) -> float:
    """Return the change in the interval's probability from a relative bias of `BIAS` in the error."""
    from scipy import special

    degrees, (low, high) = degrees_of_freedom(rank, d), central(rank, d)
    moved = (special.chdtr(degrees, high * b) - special.chdtr(degrees, low * b) for b in (1 - BIAS, 1 + BIAS))
    return max(abs(float(probability) - COVERAGE) for probability in moved)


def covered(rank: Rank) -> Callable[[Ensemble], tuple[float, float]]:
    """Predict the share of errors in the central interval of rank-`rank` fine-tuning, with its tolerance."""
    return lambda e: (COVERAGE, coverage_tolerance(rank(e.k, e.T, e.d), e.d))


def with_noise(truth: GroundTruth, base: Array, rank: int, noise: Moments) -> tuple[Moments, Array]:
    """Return moments of the test tasks with the sigma of `SIGNAL_TO_NOISE` at a rank, and sigma, ``(B,)``."""
    W, xp = truth.W_test, array_namespace(base)
    n = float(noise.n)  # type: ignore[arg-type]
    unit = 2 / SIGMA_X * (truth.d / n) ** 0.5
    sigma = xp.linalg.svdvals(W - base)[..., rank - 1] / (unit * SIGNAL_TO_NOISE)
    return Moments(noise.S, W + sigma[..., None, None] * noise.W, sigma**2 * noise.noise, noise.n), sigma


def inside(
    truth: GroundTruth,
    base: Array,
    noise: Moments,
    *,
    fitted: int,
    predicted: int,
    condition: Array | float = 1.0,
) -> Masks:
    """Fine-tune at rank `fitted`; test whether the in-sample error is in the central interval of rank `predicted`.

    Rounding perturbs the fitted parameter by about ``condition * 100 d eps max||W_t||_F``; where that is not small
    relative to the noise, float64 cannot tell.

    Parameters
    ----------
    truth, base
        The structures and their retrained parameters, ``(B, d, d)``.
    noise
        Moments of ``y = eps`` with standard deviation 1, inputs of standard deviation `SIGMA_X`, ``(B, d, d)``.
    fitted, predicted
        Ranks.
    condition
        Amplification of rounding in the base, a number or ``(B,)``.
    """
    xp, interval = array_namespace(base), central(predicted, truth.d)
    moments, sigma = with_noise(truth, base, fitted, noise)
    delta = fine_tune(moments, base, fitted) - truth.W_test
    n = float(noise.n)  # type: ignore[arg-type]
    value = n * xp.sum((delta @ moments.S) * delta, axis=(-2, -1)) / sigma**2
    rounding = 100 * truth.d * float(xp.finfo(base.dtype).eps) * truth.scale * condition
    hidden = ~(n**0.5 * SIGMA_X * rounding / sigma <= VISIBLE * interval[0] ** 0.5)
    return masks((value >= interval[0]) & (value <= interval[1]), hidden)
