"""ML-9: the error of LoRA-ML's base from finite data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from math import ceil, inf

import numpy as np

from loraml_theory import zoo
from loraml_theory.adapters import Parameters
from loraml_theory.moments import Moments
from loraml_theory.moments import draw as draw_moments
from loraml_theory.objectives import ProjectedLoRAML
from loraml_theory.rates import base_error, least_trace, off_tangent_spectrum
from loraml_theory.solvers import newton
from loraml_theory.structure import GroundTruth
from paper_checks.claim import Claim, Control, Profile
from paper_checks.evidence.assumptions import RETRAINING_FACTORS_OF_FULL_RANK, SOME_TRIPLE_INDEPENDENT
from paper_checks.evidence.drawn import carry, draw
from paper_checks.evidence.evidence import Evidence, Note
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.measure import RESOLUTION, mean_evidence
from paper_checks.evidence.minimisers import asserted_condition, orbit_point, smallest_shift
from paper_checks.evidence.remembered import remembered
from paper_checks.evidence.trials import FEWEST, PAPER_N, PAPER_SETTING, Setting

BASE_ERROR = r"$\mathrm{E}\|A - A^\star\|_F^2$ from $N$ samples over its prediction"
TRACE = r"$\frac{T}{d^2} \operatorname{tr}[(\sum_t P_t^\perp)^{-1}]$ over $c$, for 200 random tasks"
NOISE = 1e-3  # parameter noise over the smallest shift, times the condition number
LARGE_N = 10**9
MANY = 200  # tasks
LARGEST = 12  # dimension d
SHARP = 0.05  # a wider interval, relative to the prediction, cannot agree

Error = Callable[..., float]
Start = Callable[[Instance], np.ndarray]
"""Maps an instance to the factors at which the descent starts, ``(T, d, k)``."""


def _truth(instance: Instance) -> np.ndarray:
    return np.asarray(instance.truth.U_retraining)


def check(
    instance: Instance,
    profile: Profile,
    *,
    error: Error = base_error,
    constant: Callable[[int, int], float] = least_trace,
    start: Start = _truth,
) -> Iterator[Evidence | Note]:
    """Measure the base's error at N = 10^9 and in the paper's setting; compare the trace with its limit in T."""
    truth = instance.truth
    yield _least(instance, constant)
    if truth.d > LARGEST:
        yield Note(instance.name, f"no descents and no limit in T: d = {truth.d} > {LARGEST}")
        return
    yield _limit(instance, constant)
    yield from _finite(instance, profile, error, start)


def _finite(instance: Instance, profile: Profile, error: Error, start: Start) -> Iterator[Evidence | Note]:
    """Measure in the paper's setting if first order holds there, else at N = 10^9 with as much noise as it allows."""
    truth = instance.truth
    condition = float(asserted_condition(truth))
    smallest = smallest_shift(truth) / condition
    setting = Setting(PAPER_N, PAPER_SETTING.sigma, PAPER_SETTING.sigma_x)
    noise = setting.sigma * truth.d / np.sqrt(setting.n)  # size of the least-squares errors
    if noise > 10 * NOISE * smallest:
        noise = NOISE * smallest
        setting = Setting(LARGE_N, noise * np.sqrt(LARGE_N) / truth.d, 1.5)
    if noise <= 1e3 * float(np.finfo(float).eps) * condition * float(truth.scale):
        yield Note(instance.name, f"base error at {setting}: hidden by the rounding of max||W_t||_F")
    else:
        bias = 100 * (noise / smallest) ** 2  # second order; 100 is a margin for its constant
        yield _base_error(instance, profile, setting, error, start, bias)


def _base_error(
    instance: Instance, profile: Profile, setting: Setting, error: Error, start: Start, bias: float
) -> Evidence | Note:
    r"""Minimise LoRA-ML on drawn moments and average ``||A - A*||_F^2``.

    The squared error of the mean of the least-squares fits, whose expectation is known, is taken off and that added:
    the two go together, so that a fifth of the sample suffices at k = 1.
    """
    truth, noise = instance.truth, {"sigma": setting.sigma, "sigma_x": setting.sigma_x}
    trials, resolution = _sample(truth, profile)
    moments = draw_moments(instance.rng(f"{setting}"), truth.W_retraining, setting.n, **noise, batch=(trials,))
    base = _fitted(instance, moments, setting, start(instance))
    if base is None:
        return Note(instance.name, f"base error at {setting}: not judged, some of {trials} descents did not converge")
    of_mean = np.sum((np.mean(moments.W, axis=-3) - truth.A_star - np.mean(truth.R[:-1], axis=0)) ** 2, axis=(-2, -1))
    known = (setting.sigma * truth.d / setting.sigma_x) ** 2 / ((setting.n - truth.d - 1) * truth.T)
    errors = np.sum((base - truth.A_star) ** 2, axis=(-2, -1)) - of_mean + known
    return mean_evidence(
        instance,
        f"||A - A*||_F^2 over its prediction, T = {truth.T}, retraining with {setting}",
        errors / error(truth, setting.n, **noise),
        1.0,
        bias=bias,
        reason=f"first order in the noise over the smallest shift, {bias:.1g} for its square",
        resolution=resolution,
    ).of(BASE_ERROR)


def _sample(truth: GroundTruth, profile: Profile) -> tuple[int, float]:
    """Return the number of trials, and the resolution: `SHARP`, and `RESOLUTION` where it would take too many.

    The error is a sum of chi-squares, weighted by 1 over the eigenvalues of ``sum_t P_t^perp``; the mean of the
    least-squares fits has a correlation of ``sqrt(lambda / T)`` with each.
    """
    spectrum = np.asarray(off_tangent_spectrum(truth))
    seen = spectrum[spectrum > 1e-9]
    variance = float(2 * np.sum(1 / seen**2 - 1 / truth.T**2) / np.sum(1 / seen) ** 2)
    wanted, most = max(FEWEST, ceil(64 * profile.trials * variance)), 8 * profile.trials
    return (wanted, SHARP) if wanted <= most else (most, RESOLUTION)


@remembered
def _fitted(instance: Instance, moments: Moments, setting: Setting, start: np.ndarray) -> np.ndarray | None:
    """Return the bases at which descents end, ``(trials, d, d)``, None where one is not stationary to the noise."""
    truth = instance.truth
    objective = ProjectedLoRAML(moments.around(truth.A_star))  # the same problem with smaller rounding
    # a gradient of E U moves the base by E: it must be far below the noise, seen through the smallest factor
    size = setting.sigma_x * setting.sigma * truth.d / np.sqrt(setting.n)
    enough = 1e-3 * size * np.sqrt(smallest_shift(truth)) / float(asserted_condition(truth))
    starts = Parameters(U=np.broadcast_to(start, (len(moments.W), *start.shape)))
    tolerance = enough / float(np.max(objective.gradient_scale))
    end = newton(objective, starts, relative_tolerance=tolerance, max_iterations=50)
    if np.any(end.gradient_norm > enough):
        return None
    return np.asarray(objective.base(end.parameters)) + truth.A_star


def _least(instance: Instance, constant: Callable[[int, int], float]) -> Evidence:
    """State that no tasks have a smaller trace than d^2 c / T."""
    truth = instance.truth
    trace = base_error(truth, 1, sigma=1.0)
    least = float(np.min(off_tangent_spectrum(truth)))
    error = truth.d * truth.T * float(np.finfo(float).eps) / least if np.isfinite(trace) else inf
    return Evidence(
        "numerical",
        instance.name,
        f"(T/d^2) tr[(sum_t P_t^perp)^-1] over c, T = {truth.T}",
        truth.T * trace / (truth.d**2 * constant(truth.d, truth.k)),
        1.0,
        "at least",
        30 * error,
        "holds for all tasks; 30 d eps over the least eigenvalue",
        decidable=30 * error < 1e-3,
        rounding=error,
    )


def _limit(instance: Instance, constant: Callable[[int, int], float]) -> Evidence:
    """Draw many random tasks of the instance's sizes: the trace is near its limit."""
    d, k = instance.truth.d, instance.truth.k
    c, rng = constant(d, k), instance.rng("many tasks")
    spectrum = off_tangent_spectrum(zoo.generic(rng, d, k, MANY))
    return Evidence(
        "numerical",
        instance.name,
        f"(T/d^2) tr[(sum_t P_t^perp)^-1] over c, {MANY} random tasks",
        MANY * float(np.sum(1 / spectrum)) / (d**2 * c),
        1.0,
        "equal",
        3 * _second_order(d, k) / (MANY * d**2 * c),
        "three times the mean of the second order in P_t^perp about its mean; the first is 0",
        coarser="random tasks",
    ).of(TRACE)


def _second_order(d: int, k: int) -> float:
    """Bound ``T E tr(M^-1 E M^-1 E M^-1)``, E the mean of the ``P_t^perp`` less its mean M, on symmetric matrices."""
    traceless = d * (d + 1) / 2 - 1
    off = (d - k) * (d - k + 1) / 2  # rank of P_t^perp there
    share = (off - (d - k) / d) / traceless
    spread = off - traceless * share**2 - ((d - k) / d) ** 2
    return spread / min(share, (d - k) / d) ** 3


def _lower_bound(truth: GroundTruth, N: float, *, sigma: float, sigma_x: float) -> float:
    """Return ``sigma^2 d^2 / (sigma_x^2 N T)``, a mutant."""
    return (sigma / sigma_x) ** 2 * truth.d**2 / (N * truth.T)


def _times(factor: float) -> Error:
    """Return a mutant that is wrong by a factor."""
    return lambda truth, N, **noise: factor * base_error(truth, N, **noise)


def _without_sigma_x(truth: GroundTruth, N: float, *, sigma: float, sigma_x: float) -> float:  # noqa: ARG001
    return base_error(truth, N, sigma=sigma)


def _as_if_identified(truth: GroundTruth, N: float, *, sigma: float, sigma_x: float) -> float:
    """Return the formula with the pseudo-inverse where the base is not identified."""
    spectrum = off_tangent_spectrum(truth)
    return float((sigma / sigma_x) ** 2 / N * np.sum(1 / spectrum[spectrum > 1e-9]))


SHAPES = (
    *(("orthogonal", *sizes) for sizes in ((10, 1, 3), (8, 1, 3), (10, 1, 5), (12, 1, 8))),
    *(("orthogonal", *sizes) for sizes in ((12, 2, 3), (12, 2, 4), (12, 2, 5), (12, 3, 3))),
    *(("generic", 10, 1, T) for T in (3, 4, 5, 8)),
    *(("generic", 8, 1, T) for T in (3, 4, 5)),
    *(("generic", 12, 1, T) for T in (3, 5)),
    ("generic", 10, 2, 5),
    ("generic", 12, 2, 8),
    ("asymmetric", 12, 3, 5),
    ("integer", 10, 1, 4),
    ("generic", 20, 3, 5),
)


def _instances(seed: int) -> list[Instance]:
    return [draw(*shape, seed) for shape in SHAPES]


CLAIM = Claim(
    id="ML-9",
    title="The error of LoRA-ML's base from finite data",
    statement=(
        r"For $T \ge 3$, from $N$ samples a task, the base is off by $\mathrm{E}\|A - A^\star\|_F^2 = "
        r"\frac{\sigma^2}{\sigma_x^2 N} \operatorname{tr}[(\sum_t P_t^\perp)^{-1}]$ to first order. The trace is at "
        r"least $c\, d^2 / T$, with a constant $c$ of $d$ and $k$, and near it for many random tasks: tasks beyond the "
        r"third make the base more accurate, and need no smaller rank."
    ),
    source="beyond arXiv 2410.22264, which states the order; proof in docs/theory.md, ML-9",
    nature="theorem",
    assumptions=(SOME_TRIPLE_INDEPENDENT, RETRAINING_FACTORS_OF_FULL_RANK),
    check=check,
    controls=(
        Control("mutated: with a factor 1/2", partial(check, error=_times(0.5)), carry("orthogonal", 10, 1, 3)),
        Control("mutated: the trace is d^2/T", partial(check, error=_lower_bound), carry("generic", 12, 3, 5)),
        Control(
            "mutated: the trace tends to d^2/T",
            partial(check, constant=lambda _d, _k: 1.0),
            carry("orthogonal", 10, 1, 3),
        ),
        Control("mutated: without sigma_x", partial(check, error=_without_sigma_x), carry("orthogonal", 10, 1, 3)),
        Control("near miss: 10 % too small", partial(check, error=_times(0.9)), carry("orthogonal", 10, 1, 3)),
        Control(
            "near miss: c 1 % too large",
            partial(check, constant=lambda d, k: 1.01 * least_trace(d, k)),
            carry("orthogonal", 10, 1, 3),
        ),
        Control(
            "broken assumption: T = 2, from a point of the orbit",
            partial(check, error=_as_if_identified, start=lambda instance: orbit_point(instance).U),
            carry("generic", 10, 1, 2),
            on_given=False,
        ),
    ),
    instances=_instances,
    keys=(BASE_ERROR, TRACE),
)
