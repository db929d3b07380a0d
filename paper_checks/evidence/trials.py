"""Monte Carlo trials of fine-tuning: settings in which FT-2's first order holds, and errors drawn in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import TypeAlias

import numpy as np

from loraml_theory.closed_forms import fine_tune
from loraml_theory.moments import Moments, draw
from loraml_theory.rates import degrees_of_freedom, parameter_error, sigma_for
from paper_checks.claim import Profile
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.measure import level
from paper_checks.evidence.remembered import remembered

SIGNAL_TO_NOISE = 100.0
FEWEST = 120  # trials; with fewer, Student's quantile and the skewness widen the intervals


def first_order_bias(ratio: float) -> float:
    """Bound the relative error of FT-2's first order, which is like the squared inverse ratio; 10 is a margin."""
    return 10 / ratio**2


BIAS = first_order_bias(SIGNAL_TO_NOISE)
FIRST_ORDER = (
    f"first order in the squared noise-to-signal ratio {SIGNAL_TO_NOISE**-2:g}, relative bias at most {BIAS:g}"
)

Drawer: TypeAlias = Callable[..., Moments]


@dataclass(frozen=True)
class Setting:
    """Sample size and standard deviations of a fine-tuning experiment."""

    n: int
    sigma: float
    sigma_x: float

    def __str__(self) -> str:
        return f"n = {self.n}, sigma = {self.sigma:.3g}, sigma_x = {self.sigma_x:g}"


PAPER_SETTING = Setting(n=100, sigma=0.1, sigma_x=1.0)
"""The test task of the paper's linear study; it retrains on N = 5000 samples per task of the same noise."""

PAPER_N = 5000

Rate: TypeAlias = Callable[[int, int, Setting], float]
"""Maps (rank, d, setting) to the predicted ``E ||Delta||_F^2``."""


def predicted_parameter_error(rank: int, d: int, setting: Setting) -> float:
    """Return FT-2's ``E ||Delta||_F^2``."""
    return parameter_error(rank, d, setting.n, sigma=setting.sigma, sigma_x=setting.sigma_x)


def without_sigma_x(rank: int, d: int, setting: Setting) -> float:
    """Return a mutant of FT-2 that ignores the inputs' scale."""
    return predicted_parameter_error(rank, d, Setting(setting.n, setting.sigma, 1.0))


def a_fifth_more(rank: int, d: int, setting: Setting) -> float:
    """Return a near miss of FT-2."""
    return 1.2 * predicted_parameter_error(rank, d, setting)


def halved(rank: int, d: int, setting: Setting) -> float:
    """Return a mutant of FT-2 with a factor 1/2, as the losses have it."""
    return predicted_parameter_error(rank, d, setting) / 2


@dataclass(frozen=True)
class Errors:
    """Errors of independent trials, each ``(trials,)``.

    Parameters
    ----------
    parameter
        ``||Delta||_F^2``, Delta the fitted minus the true parameter.
    in_sample
        ``tr(Delta S Delta^T)``.
    """

    parameter: np.ndarray
    in_sample: np.ndarray


def setting_for(residual: np.ndarray, rank: int, *, n: int, sigma_x: float = 1.5) -> Setting:
    """Choose sigma so that FT-2's condition holds with the ratio `SIGNAL_TO_NOISE` for this residual and rank."""
    return Setting(n, sigma_for(residual, rank, n, ratio=SIGNAL_TO_NOISE, sigma_x=sigma_x), sigma_x)


def trials_for(profile: Profile, rank: int, d: int) -> int:
    """Return the number of trials for which the mean in-sample error has the same precision everywhere.

    It is sigma^2/n times a chi-square of r(2d - r) degrees of freedom to first order: the relative standard error of
    the mean is ``sqrt(2 / (dof trials))``; the profile states the trials at 20 degrees of freedom.
    """
    return max(FEWEST, ceil(profile.trials * 20 / degrees_of_freedom(rank, d)))


@remembered
def fine_tuning_errors(
    rng: np.random.Generator,
    W_test: np.ndarray,
    base: np.ndarray,
    rank: int,
    setting: Setting,
    trials: int,
    *,
    drawer: Drawer = draw,
) -> Errors:
    """Draw the test task's moments and fine-tune by the closed form, `trials` times."""
    chunk = max(1, 2_000_000 // W_test.size)
    parameter, in_sample = [], []
    for start in range(0, trials, chunk):
        batch = (min(chunk, trials - start),)
        moments = drawer(rng, W_test, setting.n, sigma_x=setting.sigma_x, sigma=setting.sigma, batch=batch)
        delta = fine_tune(moments, base, rank) - W_test
        parameter.append(np.sum(delta**2, axis=(-2, -1)))
        in_sample.append(np.sum((delta @ moments.S) * delta, axis=(-2, -1)))
    return Errors(np.concatenate(parameter), np.concatenate(in_sample))


def rounding_errors(instance: Instance, base: np.ndarray, setting: Setting) -> Errors:
    """Bound the rounding errors: three full fits without noise, and rounding of max||W_t||_F in the residual."""
    silent = Setting(setting.n, 0.0, setting.sigma_x)
    fits = fine_tuning_errors(instance.rng("rounding"), instance.truth.W_test, base, instance.truth.d, silent, 3)
    floor = level(instance) ** 2
    return Errors(fits.parameter + floor, fits.in_sample + setting.sigma_x**2 * floor)
