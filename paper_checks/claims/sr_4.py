"""SR-4: after standard retraining the test error grows with T or stays above a floor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from loraml_theory.closed_forms import best_rank_error, fine_tune
from loraml_theory.libraries import array_namespace
from loraml_theory.moments import Moments
from loraml_theory.rates import standard_rank
from loraml_theory.structure import Array, GroundTruth, frobenius
from paper_checks.claim import Claim, Control, Profile
from paper_checks.evidence.assumptions import ALL_TASKS_INDEPENDENT
from paper_checks.evidence.at_scale import Statement, at_scale
from paper_checks.evidence.drawn import all_but, carry
from paper_checks.evidence.error_coverage import COVERAGE, Rank, covered, inside, unit_noise, with_noise
from paper_checks.evidence.evidence import Evidence, Note
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.measure import VISIBLE, rounding
from paper_checks.evidence.task_growth import Line, grow, growth_figure, slope_evidence, standard_base
from paper_checks.evidence.trials import (
    Rate,
    a_fifth_more,
    fine_tuning_errors,
    halved,
    predicted_parameter_error,
    setting_for,
    without_sigma_x,
)
from sims.ensembles.ensembles import Ensemble
from sims.ensembles.masks import Masks, masks

ERROR = r"error at rank $k(T+1)$ over FT-2's prediction"
FLOOR = r"least error at rank $k$ over its floor $\sum_{i>k} \sigma_i^2(W_{T+1} - A_{\mathrm{SR}})$"


def check(
    instance: Instance,
    profile: Profile,
    *,
    rate: Rate = predicted_parameter_error,
    rank: Rank = standard_rank,
    base: Callable[[GroundTruth], np.ndarray] = standard_base,
    residual_rank: Rank = standard_rank,
) -> Iterator[Evidence | Note]:
    """Fine-tune at rank k(T'+1) after retraining on T' = 2..T tasks; and at rank k, where a floor stays."""
    line = Line(base=standard_base, rank=standard_rank, predicted_rank=rank, rate=rate, residual_rank=residual_rank)
    measured = grow(instance, profile, line, range(2, instance.truth.T + 1))
    yield from measured.evidence(instance, key=ERROR)
    if instance.truth.T >= 3:
        yield slope_evidence(instance, measured)
    yield from _floor(instance, profile, base)


def _floor(instance: Instance, profile: Profile, base: Callable[[GroundTruth], np.ndarray]) -> Iterator[Evidence]:
    """Fine-tune at rank k with few and very many samples: the error stays above ``sum_{i>k} sigma_i^2``."""
    truth = instance.truth
    residual = truth.W_test - standard_base(truth)
    floor = float(best_rank_error(residual, truth.k))
    error = rounding(instance) / float(np.sqrt(floor))
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
            30 * error,
            "holds for every sample; 30 times rounding of max||W_t||_F over the root of the floor",
            decidable=30 * error < 1e-2,
            key=FLOOR,
            rounding=error,
        )


def error_grows(A_star: Array, U_star: Array, noise: Moments, *, rank: Rank = standard_rank) -> Masks:
    """Fine-tune standard retraining's base at rank k(T+1), and compare its error with FT-2's of rank `rank`."""
    truth = GroundTruth(A_star, U_star)
    sizes = truth.k, truth.T, truth.d
    return inside(truth, standard_base(truth), noise, fitted=standard_rank(*sizes), predicted=rank(*sizes))


def stays_above(A_star: Array, U_star: Array, noise: Moments, *, from_truth: bool = False) -> Masks:
    """Fine-tune at rank k, and compare the error with ``sum_{i>k} sigma_i^2(W_{T+1} - A_SR)``."""
    truth = GroundTruth(A_star, U_star)
    standard = standard_base(truth)
    floor = best_rank_error(truth.W_test - standard, truth.k)
    base = truth.A_star if from_truth else standard
    moments, _ = with_noise(truth, base, truth.k, noise)
    error = frobenius(fine_tune(moments, base, truth.k) - truth.W_test)
    xp = array_namespace(error)
    tolerance = 30 * truth.d * float(xp.finfo(error.dtype).eps) * truth.scale
    return masks(error >= xp.sqrt(floor) - tolerance, tolerance**2 > VISIBLE * floor)


THREE = tuple(Ensemble("generic", 10, 1, T) for T in (2, 3, 5))
GROWTH = Statement(
    f"error at rank k(T+1) in FT-2's central {COVERAGE:.0%} interval of that rank",
    error_grows,
    (*THREE, Ensemble("asymmetric", 12, 2, 3)),
    "sr_4",
    unit_noise,
    share=covered(standard_rank),
)
STAYS = Statement("error at rank k above sum_{i>k} sigma_i^2", stays_above, THREE, "sr_4_floor", unit_noise)

CLAIM = Claim(
    id="SR-4",
    title="After standard retraining the test error grows with $T$",
    statement=(
        r"Fine-tuning $A_{\mathrm{SR}}$ at rank $k(T+1)$ has the error of FT-2 with $r = k(T+1)$, which grows "
        r"with $T$ until it saturates at the full fit; at rank $k$ the error never falls below $\sum_{i>k} "
        r"\sigma_i^2(W_{T+1} - A_{\mathrm{SR}})$, for any $n$."
    ),
    source="arXiv 2410.22264, theorem on standard retraining; proof in docs/theory.md, SR-4",
    nature="theorem",
    assumptions=(ALL_TASKS_INDEPENDENT,),
    check=check,
    controls=(
        Control("mutated: rank kT", partial(check, rank=lambda k, T, d: min(d, k * T)), carry("generic", 20, 1, 3)),
        Control("mutated: rank k, no growth", partial(check, rank=lambda k, _T, _d: k), carry("generic", 20, 1, 3)),
        Control(
            "mutated: without sigma_x",
            partial(check, rate=without_sigma_x),
            carry("generic", 10, 1, 3),
        ),
        Control(
            "mutated: with a factor 1/2",
            partial(check, rate=halved),
            carry("generic", 10, 1, 3),
        ),
        Control(
            "near miss: an error 20 % too large",
            partial(check, rate=a_fifth_more),
            carry("generic", 10, 1, 3),
            key=ERROR,
        ),
        Control(
            "mutated: the floor holds for the base A* too",
            partial(check, base=lambda truth: truth.A_star),
            carry("generic", 10, 1, 3),
        ),
        Control(
            "broken assumption: tasks 3 to 5 repeat the first two, the residual has rank 3k",
            partial(check, residual_rank=lambda k, _T, _d: 3 * k),
            carry("repeated-task", 20, 1, 5),
            on_given=False,
        ),
    ),
    instances=all_but("scaled"),  # shifts that differ by 10^10: rounding can hide the smallest at rank k(T+1)
    at_scale=at_scale(
        GROWTH,
        STAYS,
        controls={
            "rank kT in place of k(T+1)": GROWTH.mutated(rank=lambda k, T, d: min(d, k * T)),
            "the floor holds for the base A* too": STAYS.mutated(from_truth=True),
        },
    ),
    figure=growth_figure,
    keys=(ERROR, FLOOR),
)
