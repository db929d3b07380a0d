"""ML-7: after LoRA-ML the test error does not grow with T."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from loraml_theory.closed_forms import boost, spectral_recovery, two_task_orbit
from loraml_theory.moments import Moments
from loraml_theory.rates import meta_rank, standard_rank
from loraml_theory.spectra import INDEPENDENT, best_triple_separation, separation
from loraml_theory.structure import Array, GroundTruth
from paper_checks.claim import Assumption, Claim, Control, Finding, Profile
from paper_checks.claims.ft_2 import deficient
from paper_checks.evidence import exact_evidence
from paper_checks.evidence.assumptions import ALL_TASKS_INDEPENDENT, SOME_TRIPLE_INDEPENDENT, TEST_FACTOR_OF_FULL_RANK
from paper_checks.evidence.at_scale import Statement, at_scale
from paper_checks.evidence.drawn import carry, with_one_integer
from paper_checks.evidence.error_coverage import COVERAGE, Rank, covered, inside, unit_noise
from paper_checks.evidence.evidence import Evidence, Note
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.minimisers import draw_boost
from paper_checks.evidence.task_growth import (
    Line,
    grow,
    growth_figure,
    recovered_base,
    recovery_rounding,
    slope_evidence,
    standard_base,
)
from paper_checks.evidence.trials import (
    Rate,
    a_fifth_more,
    predicted_parameter_error,
    without_sigma_x,
)
from sims.ensembles.ensembles import Block, Ensemble, orbit
from sims.ensembles.masks import Masks

Base = Callable[[GroundTruth], np.ndarray]
ERROR = r"error at rank $k$ from $T \ge 3$ tasks over FT-2's prediction"
ERROR_AT_TWO = "error at rank $3k$ from two tasks over FT-2's prediction"


def _identified(instance: Instance) -> Finding:
    several = instance.truth.T >= 3
    return (SOME_TRIPLE_INDEPENDENT if several else ALL_TASKS_INDEPENDENT).test(instance)


IDENTIFIED = Assumption(
    r"$T \ge 3$: some three of $U_1^\star, \ldots, U_T^\star$ are jointly independent; $T = 2$: assumption I "
    "(measured: smallest singular value)",
    _identified,
)


def check(
    instance: Instance,
    profile: Profile,
    *,
    base: Base = recovered_base,
    predicted_rank: Rank = meta_rank,
    rate: Rate = predicted_parameter_error,
    two_task_rank: Callable[[int], int] = lambda k: 3 * k,
    residual_rank: Rank = meta_rank,
    base_rounding: Callable[[GroundTruth], float] = recovery_rounding,
    separated: float = INDEPENDENT,
) -> Iterator[Evidence | Note]:
    """Fine-tune at rank k from T' = 3..T tasks, at rank 3k from two."""
    truth = instance.truth
    identified = [T for T in range(3, truth.T + 1) if float(best_triple_separation(truth.U_retraining[:T])) > separated]
    if identified:
        line = Line(base, meta_rank, predicted_rank, rate, base_rounding, residual_rank)
        growth = grow(instance, profile, line, identified)
        yield from growth.evidence(instance, key=ERROR)
        if len(identified) > 1:
            yield slope_evidence(instance, growth)
    if 3 * truth.k <= truth.d and float(separation(truth.U_star[[0, 1, -1]])) > INDEPENDENT:
        yield from _two_tasks(instance, profile, rate, two_task_rank)
    yield from _exact(instance, predicted_rank, two_task_rank)


def _exact(instance: Instance, predicted_rank: Rank, two_task_rank: Callable[[int], int]) -> Iterator[Evidence]:
    """Decide over Q which rank fine-tuning needs: from the base of T' = 3..T tasks, and from a point of the orbit."""
    truth = exact_evidence.over_rationals(instance)
    if truth is None:
        return
    from loraml_theory.exact import RationalTruth, pins_base, rank, recover

    k, d = truth.k, truth.d
    for T in range(3, truth.T + 1):
        W = truth.W_retraining[:T]
        if pins_base(W, k):
            needed, what = rank(truth.W_test - recover(W, k)), f"rank over Q of W_{{T+1}} - A, A from {T} tasks"
            yield exact_evidence.evidence(instance, what, needed, predicted_rank(k, T, d))
    pair = RationalTruth(truth.A_star, truth.U_star[[0, 1, -1]])
    if rank(np.concatenate(list(pair.U_star), axis=1)) == 3 * k:
        point = exact_evidence.orbit_point(instance, pair, active=k)
        what = "rank over Q of W_{T+1} - A, A from two tasks, all rapidities non-zero"
        yield exact_evidence.evidence(instance, what, rank(truth.W_test - point.A), two_task_rank(k))


def _two_tasks(
    instance: Instance, profile: Profile, rate: Rate, two_task_rank: Callable[[int], int]
) -> Iterator[Evidence | Note]:
    """Retrain on the first two tasks, to a point of the orbit with rapidities from 0.2 to 2.5; fine-tune at rank 3k."""
    rng, k = instance.rng("two tasks"), instance.truth.k
    H = draw_boost(rng, np.linspace(0.2, 2.5, k + 2)[1:-1])

    def orbit(truth: GroundTruth) -> np.ndarray:
        return np.asarray(two_task_orbit(truth, H)[0])

    def rank(k: int, T: int, d: int) -> int:  # noqa: ARG001
        return two_task_rank(k)

    yield from grow(instance, profile, Line(orbit, rank, rank, rate), [2]).evidence(instance, key=ERROR_AT_TWO)


def _second_minimiser(truth: GroundTruth) -> np.ndarray:
    """Return the base of another minimiser where the tasks are two in turn: a point of the orbit of these two."""
    return np.asarray(two_task_orbit(truth.with_tasks([0, 1]), boost(np.ones(truth.k)))[0])


def error_is_flat(
    A_star: Array, U_star: Array, noise: Moments, *, rank: Rank = meta_rank, standard: bool = False
) -> Masks:
    """Fine-tune LoRA-ML's base from T >= 3 tasks at rank k, or the `standard` one; compare with FT-2 at `rank`."""
    truth = GroundTruth(A_star, U_star)
    found = spectral_recovery(truth.W_retraining, truth.k)
    base, condition = (standard_base(truth), 1.0) if standard else (found.A, found.condition)
    predicted = rank(truth.k, truth.T, truth.d)
    return inside(truth, base, noise, fitted=truth.k, predicted=predicted, condition=condition)


def error_at_two_tasks(
    A_star: Array, U_star: Array, noise: Moments, rapidities: Array, rotations: Array, *, rank: Rank = meta_rank
) -> Masks:
    """Fine-tune a point of the orbit of two tasks, drawn as in ML-2, at rank 3k; compare with FT-2 at `rank`."""
    truth = GroundTruth(A_star, U_star)
    base, _ = two_task_orbit(truth, boost(rapidities, rotations[0, ...], rotations[1, ...]))
    sizes = truth.k, truth.T, truth.d
    return inside(truth, base, noise, fitted=meta_rank(*sizes), predicted=rank(*sizes))


def _noise_and_orbit(block: Block) -> tuple[Any, ...]:
    return *unit_noise(block), *orbit(block)


FLAT = Statement(
    f"error at rank k in FT-2's central {COVERAGE:.0%} interval of that rank",
    error_is_flat,
    (Ensemble("generic", 10, 1, 3), Ensemble("generic", 10, 1, 5), Ensemble("asymmetric", 12, 2, 4)),
    "ml_7",
    unit_noise,
    share=covered(meta_rank),
)
FLAT_AT_TWO = Statement(
    f"error at rank 3k from two tasks in FT-2's central {COVERAGE:.0%} interval of that rank",
    error_at_two_tasks,
    (Ensemble("generic", 10, 1, 2), Ensemble("asymmetric", 12, 2, 2)),
    "ml_7_two_tasks",
    _noise_and_orbit,
    share=covered(meta_rank),
)

CLAIM = Claim(
    id="ML-7",
    title="After LoRA-ML the test error does not grow with $T$",
    statement=(
        "From the population solution, rank-$k$ fine-tuning has the error of FT-2 with $r = k$ for every $T "
        r"\ge 3$; at $T = 2$ that of FT-2 with $r = 3k$."
    ),
    source="arXiv 2410.22264, theorem on the test error of LoRA-ML; proof in docs/theory.md, ML-7",
    nature="theorem",
    assumptions=(IDENTIFIED, TEST_FACTOR_OF_FULL_RANK),
    check=check,
    controls=(
        Control(
            "mutated: the same of the base of standard retraining",
            partial(check, base=standard_base),
            carry("generic", 10, 1, 3),
        ),
        Control(
            "mutated: error of rank k(T+1), growing with T",
            partial(check, predicted_rank=standard_rank),
            carry("generic", 20, 1, 3),
        ),
        Control(
            "mutated: rank 2k at T = 2",
            partial(check, two_task_rank=lambda k: 2 * k),
            carry("generic", 10, 1, 2),
        ),
        Control(
            "mutated: without sigma_x",
            partial(check, rate=without_sigma_x),
            carry("generic", 10, 1, 3),
        ),
        *(
            Control(
                f"near miss: an error 20 % too large {when}",
                partial(check, rate=a_fifth_more),
                carry("generic", 10, 1, 3),
                key=key,
            )
            for key, when in ((ERROR, "from T >= 3 tasks"), (ERROR_AT_TWO, "from two tasks"))
        ),
        Control(
            "broken assumption: a repeated task, the second minimiser",
            partial(check, base=_second_minimiser, base_rounding=lambda _truth: 0.0, separated=-1.0),
            carry("repeated-task", 20, 1, 3),
            on_given=False,
        ),
        Control(
            "broken assumption: U_{T+1}* of rank 1, k = 3",
            partial(check, residual_rank=lambda _k, _T, _d: 1),
            deficient,
            on_given=False,
        ),
    ),
    instances=with_one_integer,
    at_scale=at_scale(
        FLAT,
        FLAT_AT_TWO,
        controls={
            "error of rank k(T+1), growing with T": FLAT.mutated(rank=standard_rank),
            "the same of the base of standard retraining": FLAT.mutated(standard=True),
            "rank 2k at T = 2": FLAT_AT_TWO.mutated(rank=lambda k, _T, _d: 2 * k),
        },
    ),
    figure=growth_figure,
    keys=(ERROR, ERROR_AT_TWO),
)
