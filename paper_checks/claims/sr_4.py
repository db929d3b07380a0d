"""SR-4: after standard retraining the test error grows with T, or stays above a floor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from loraml_theory.closed_forms import best_rank_error, spectral_recovery, standard_retraining
from loraml_theory.moments import population
from paper_checks.assumptions import ALL_TASKS_INDEPENDENT
from paper_checks.claim import Claim, Control, Evidence, Note, Profile
from paper_checks.claims.ft_2 import Rate, predicted_parameter_error
from paper_checks.drawn import all_kinds, carry
from paper_checks.instance import Instance
from paper_checks.task_growth import Line, grow, slope_evidence
from paper_checks.trials import Errors, Setting, fine_tuning_errors, setting_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from loraml_theory.structure import GroundTruth


def _base(truth: GroundTruth) -> np.ndarray:
    return np.asarray(standard_retraining(population(truth.W_retraining)))


def _needed(k: int, T: int, d: int) -> int:
    return min(d, k * (T + 1))


def check(
    instance: Instance,
    profile: Profile,
    *,
    rate: Rate = predicted_parameter_error,
    rank: Callable[[int, int, int], int] = _needed,
    base: Callable[[GroundTruth], np.ndarray] = _base,
) -> Iterator[Evidence | Note]:
    """Fine-tune at rank k(T'+1) after retraining on T' = 2..T tasks; and at rank k, where a floor stays."""
    line = Line(base=_base, rank=_needed, predicted_rank=rank, rate=rate)
    measured = grow(instance, profile, line, range(2, instance.truth.T + 1))
    yield from measured.evidence(instance)
    if instance.truth.T >= 3:
        yield slope_evidence(instance, measured)
    yield from _floor(instance, profile, base)


def _floor(instance: Instance, profile: Profile, base: Callable[[GroundTruth], np.ndarray]) -> Iterator[Evidence]:
    """Fine-tune at rank k with few and very many samples: the error stays above ``sum_{i>k} sigma_i^2``."""
    truth = instance.truth
    residual = truth.W_test - _base(truth)
    floor = float(best_rank_error(residual, truth.k))
    for n in (3 * truth.d, 10**9):
        setting = setting_for(residual, truth.k, n=n)
        errors = fine_tuning_errors(
            instance.rng(f"floor {n}"),
            truth.W_test,
            base(truth),
            truth.k,
            setting,
            max(20, profile.trials // 10),
        )
        yield Evidence(
            "numerical",
            instance.name,
            f"||Delta||_F^2 at rank k over its floor, least of {errors.parameter.size}, {setting}",
            float(errors.parameter.min()) / floor,
            1.0,
            "at least",
            1e-9,
            "holds for every sample; rounding only",
        )


def figure(ax: Axes, instance: Instance) -> None:
    """Draw the test error against T for both ways to retrain, measured and predicted."""
    truth = instance.truth
    tasks = list(range(2, truth.T + 1))
    draw_growth(
        ax,
        instance,
        Line(_base, _needed, _needed, predicted_parameter_error),
        tasks,
        "standard, rank k(T+1)",
        "C1",
    )
    if truth.T >= 3 and 3 * truth.k <= truth.d:
        line = Line(
            lambda t: spectral_recovery(t.W_retraining, t.k).A,
            lambda k, T, d: k,
            lambda k, T, d: k,  # noqa: ARG005
            predicted_parameter_error,
        )
        draw_growth(ax, instance, line, tasks[1:], "LoRA-ML, rank k", "C0")
    ax.set(
        xlabel="retraining tasks T",
        ylabel=r"$\|\Delta\|_F^2$ (points: mean of 100, line: FT-2)",
        yscale="log",
    )
    ax.set_xticks(tasks)
    ax.legend(frameon=False)


def draw_growth(ax: Axes, instance: Instance, line: Line, tasks: list[int], label: str, colour: str) -> None:
    """Draw measured and predicted errors of one way to retrain against T, at a common setting."""
    truth, setting = instance.truth, Setting(10 * instance.truth.d, 1e-3, 1.0)
    measured, predicted = [], []
    for T in tasks:
        subset = truth.with_tasks(range(T))
        rank = line.rank(truth.k, T, truth.d)
        errors: Errors = fine_tuning_errors(
            instance.rng(f"figure {label} {T}"), subset.W_test, line.base(subset), rank, setting, 100
        )
        measured.append(errors.parameter.mean())
        predicted.append(predicted_parameter_error(rank, truth.d, setting))
    ax.plot(tasks, measured, "o", color=colour, label=label)
    ax.plot(tasks, predicted, color=colour)


CLAIM = Claim(
    id="SR-4",
    title="After standard retraining the test error grows with T",
    statement=(
        "Fine-tuning A_SR at rank k(T+1) has the error of FT-2 with r = k(T+1), which grows with T until it "
        "saturates at "
        "the full fit; at rank k the error never falls below sum_{i>k} sigma_i^2(W_{T+1} - A_SR), for any n."
    ),
    source="arXiv 2410.22264, theorem on standard retraining; proof in docs/theory.md, SR-4",
    nature="theorem",
    assumptions=(ALL_TASKS_INDEPENDENT,),
    check=check,
    controls=(
        Control("mutated: rank kT", partial(check, rank=lambda k, T, d: min(d, k * T)), carry("generic", 20, 1, 3)),
        Control("mutated: rank k, no growth", partial(check, rank=lambda k, T, d: k), carry("generic", 20, 1, 3)),  # noqa: ARG005
        Control(
            "mutated: without sigma_x",
            partial(check, rate=lambda r, d, s: predicted_parameter_error(r, d, Setting(s.n, s.sigma, 1.0))),
            carry("generic", 10, 1, 3),
        ),
        Control(
            "mutated: with a factor 1/2",
            partial(check, rate=lambda r, d, s: predicted_parameter_error(r, d, s) / 2),
            carry("generic", 10, 1, 3),
        ),
        Control(
            "mutated: the floor holds for the base A* too",
            partial(check, base=lambda truth: truth.A_star),
            carry("generic", 10, 1, 3),
        ),
    ),
    instances=all_kinds,
    figure=figure,
)
