"""How the test error depends on the number of retraining tasks, on nested subsets of one truth's tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from loraml_theory.closed_forms import standard_retraining
from loraml_theory.moments import population
from loraml_theory.rates import meta_rank, signal_to_noise, standard_rank
from paper_checks.claim import Profile
from paper_checks.evidence.error_budget import FALSE_ALARM, quantile, skewness
from paper_checks.evidence.evidence import Evidence, Note
from paper_checks.evidence.measure import RESOLUTION, VISIBLE, mean_evidence
from paper_checks.evidence.minimisers import AMPLIFICATION, recovery
from paper_checks.evidence.trials import (
    BIAS,
    FIRST_ORDER,
    Setting,
    fine_tuning_errors,
    predicted_parameter_error,
    rounding_errors,
    setting_for,
    trials_for,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from loraml_theory.structure import GroundTruth
    from paper_checks.evidence.instance import Instance


@dataclass(frozen=True)
class Line:
    """A way to retrain and fine-tune.

    Parameters
    ----------
    base
        Maps the truth to the retrained base.
        rank, predicted_rank
        Map (k, T, d) to the rank of fine-tuning, and to the rank of the prediction.
        rate
        Maps (rank, d, setting) to the predicted ``E ||Delta||_F^2``.
        base_rounding
        Maps the truth to a bound on the Frobenius norm of the base's rounding error.
        residual_rank
        Maps (k, T, d) to the rank of the residual, relative to whose smallest singular value the noise has to be
        small: the rank of fine-tuning, except for controls.
    """

    base: Callable[[GroundTruth], np.ndarray]
    rank: Callable[[int, int, int], int]
    predicted_rank: Callable[[int, int, int], int]
    rate: Callable[[int, int, Setting], float]
    base_rounding: Callable[[GroundTruth], float] = lambda _truth: 0.0
    residual_rank: Callable[[int, int, int], int] | None = None


def standard_base(truth: GroundTruth) -> np.ndarray:
    """Return standard retraining's population minimiser (SR-1)."""
    return standard_retraining(population(truth.W_retraining))


def recovered_base(truth: GroundTruth) -> np.ndarray:
    """Return LoRA-ML's population minimiser at T >= 3 (ML-6)."""
    return recovery(truth).A


def recovery_rounding(truth: GroundTruth) -> float:
    """Bound the rounding error of `recovered_base`: `AMPLIFICATION` eps times condition times max||W_t||_F (ML-6)."""
    condition = float(recovery(truth).condition)
    return AMPLIFICATION * float(np.finfo(float).eps) * condition * float(truth.retraining_scale)


@dataclass(frozen=True)
class Growth:
    """Errors ``||Delta||_F^2`` of trials for every T, their predictions, and the largest share of rounding in them."""

    tasks: tuple[int, ...]
    setting: Setting
    errors: tuple[np.ndarray, ...]
    predicted: tuple[float, ...]
    rounding: float

    def evidence(self, instance: Instance, *, key: str = "") -> Iterator[Evidence | Note]:
        """Compare the mean at every T with its prediction."""
        yield Note(
            instance.name,
            f"retraining on T = {self.tasks[0]}..{self.tasks[-1]} tasks, fine-tuning: {self.setting}",
        )
        for T, errors, predicted in zip(self.tasks, self.errors, self.predicted, strict=True):
            yield mean_evidence(
                instance,
                f"||Delta||_F^2 over its prediction, T = {T}, {self.setting}",
                errors / predicted,
                1.0,
                bias=BIAS,
                rounding=self.rounding,
                reason=FIRST_ORDER,
            ).of(key)


def grow(
    instance: Instance, profile: Profile, line: Line, tasks: Iterable[int], *, setting: Setting | None = None
) -> Growth:
    """Retrain on the first T tasks for every T, then fine-tune; the setting suits the hardest T if not given."""
    truth, counts = instance.truth, tuple(tasks)
    subsets = [truth.with_tasks(range(T)) for T in counts]
    bases = [line.base(subset) for subset in subsets]
    ranks = [line.rank(truth.k, T, truth.d) for T in counts]
    n = 10 * truth.d
    if setting is None:
        residuals = [truth.W_test - base for base in bases]
        of_residuals = [(line.residual_rank or line.rank)(truth.k, T, truth.d) for T in counts]
        ratios = [signal_to_noise(M, r, n, sigma=1.0) for M, r in zip(residuals, of_residuals, strict=True)]
        hardest = int(np.argmin(ratios))
        setting = setting_for(residuals[hardest], of_residuals[hardest], n=n)
    errors = tuple(
        fine_tuning_errors(
            instance.rng(f"T = {T}, {setting}"),
            truth.W_test,
            base,
            rank,
            setting,
            trials_for(profile, rank, truth.d),
        ).parameter
        for T, base, rank in zip(counts, bases, ranks, strict=True)
    )
    predicted = tuple(line.rate(line.predicted_rank(truth.k, T, truth.d), truth.d, setting) for T in counts)
    rounding = max(
        (float(rounding_errors(instance, base, setting).parameter.max()) + line.base_rounding(subset) ** 2) / p
        for base, subset, p in zip(bases, subsets, predicted, strict=True)
    )
    return Growth(counts, setting, errors, predicted, rounding)


def slope_evidence(instance: Instance, growth: Growth) -> Evidence:
    """Compare the log-log slope of the error in T with the slope of the predicted curve over the same points.

    The interval follows from the standard errors of the means by the delta method.
    """
    x = np.log(growth.tasks)
    weights = (x - x.mean()) / np.sum((x - x.mean()) ** 2)
    means = np.array([errors.mean() for errors in growth.errors])
    relative = np.array([errors.std(ddof=1) / np.sqrt(errors.size) for errors in growth.errors]) / means
    fewest = min(errors.size for errors in growth.errors)
    most_skewed = max(abs(skewness(errors)) for errors in growth.errors)
    half = quantile(fewest, skewness=most_skewed) * float(np.sqrt(np.sum((weights * relative) ** 2)))
    slope = float(weights @ np.log(means))
    tolerance = (BIAS + growth.rounding) * float(np.sum(np.abs(weights)))
    return Evidence(
        "statistical",
        instance.name,
        f"log-log slope of ||Delta||_F^2 in T = {growth.tasks[0]}..{growth.tasks[-1]}, {growth.setting}",
        slope,
        float(weights @ np.log(growth.predicted)),
        "slope",
        tolerance,
        f"relative bias {BIAS:g} and rounding {growth.rounding:.1g} at each point; interval by the delta "
        f"method, false-alarm probability {FALSE_ALARM:.2g}",
        interval=(slope - half, slope + half),
        decidable=half * float(x[-1] - x[0]) <= RESOLUTION and growth.rounding <= VISIBLE,
        samples=fewest,
    )


def growth_figure(ax: Axes, instance: Instance) -> None:
    """Draw the test error against T for both retraining methods: means of trials, and FT-2's prediction."""
    truth, profile = instance.truth, Profile("figure", 100, 0)
    tasks = range(2, truth.T + 1)
    rate = predicted_parameter_error
    standard = grow(instance, profile, Line(standard_base, standard_rank, standard_rank, rate), tasks)
    curves = [(standard, "standard retraining, rank k(T+1)", "C1")]
    if truth.T >= 3 and 3 * truth.k <= truth.d:
        line = Line(recovered_base, meta_rank, meta_rank, rate)
        meta = grow(instance, profile, line, tasks[1:], setting=standard.setting)
        curves.append((meta, "LoRA-ML, rank k", "C0"))
    for growth, label, colour in curves:
        ax.semilogy(growth.tasks, [errors.mean() for errors in growth.errors], "o", color=colour, label=label)
        ax.semilogy(growth.tasks, growth.predicted, color=colour)
    ax.set(xlabel="retraining tasks T", ylabel=r"$\|\Delta\|_F^2$ (points: means of trials, lines: FT-2)")
    ax.set_xticks(tasks)
    ax.legend(frameon=False)
