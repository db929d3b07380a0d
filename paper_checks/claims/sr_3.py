"""SR-3: the loss that adapters of too small a rank leave for any data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from loraml_theory.adapters import Parameters
from loraml_theory.closed_forms import best_rank_error, fine_tune
from loraml_theory.libraries import array_namespace
from loraml_theory.moments import Moments, draw, population
from loraml_theory.objectives import FineTuning
from loraml_theory.solvers import newton
from loraml_theory.spectra import congruence_floor, rounding_level
from loraml_theory.structure import Array, GroundTruth, frobenius
from paper_checks.claim import Claim, Control, Profile
from paper_checks.claims.sr_2 import congruence, exact_residual, residual
from paper_checks.evidence import exact_evidence
from paper_checks.evidence.assumptions import ALL_TASKS_INDEPENDENT
from paper_checks.evidence.at_scale import Statement, at_scale
from paper_checks.evidence.drawn import carry, with_integers
from paper_checks.evidence.evidence import Evidence, Note
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.measure import level, rounding
from paper_checks.evidence.resolution import slightly_more
from sims.engines.staged import newton_in_stages
from sims.ensembles.ensembles import Block, Ensemble, noise
from sims.ensembles.masks import Masks, masks

LEFT = r"loss left by the best shift of rank $r$, over the base's loss"
RANK = r"rank of $W_{T+1} - A_{\mathrm{SR}}$, which no smaller rank reaches"

Count = Callable[[int, int], int]
"""Maps (k, T) to a rank."""


def _half_tail(M: np.ndarray, rank: int) -> float:
    return float(best_rank_error(M, rank)) / 2


def check(
    instance: Instance,
    profile: Profile,
    *,
    floor: Callable[[np.ndarray, int], float] = _half_tail,
    needed: Count = lambda k, T: k * (T + 1),
) -> Iterator[Evidence | Note]:
    """Fine-tune the base of standard retraining at ranks k and k(T+1) - 1: population, solver, and samples."""
    truth = instance.truth
    M = residual(truth)
    whole = float(np.linalg.norm(M) ** 2) / 2
    top = needed(truth.k, truth.T)
    for rank in sorted({truth.k, top - 1}):
        predicted = floor(M, rank) / whole
        yield from _population(instance, M, rank, predicted, whole, profile)
        yield from _samples(instance, M, rank, predicted, whole)
    yield _positive(instance, M, top - 1, whole)
    exactly = exact_residual(instance)
    if exactly is not None:
        from loraml_theory.exact import rank as exact_rank

        what = f"rank over Q of W_{{T+1}} - A_SR: at rank {top - 1} some loss remains"
        yield exact_evidence.evidence(instance, what, exact_rank(exactly), top, relation="at least").of(RANK)


def _population(
    instance: Instance, M: np.ndarray, rank: int, predicted: float, whole: float, profile: Profile
) -> Iterator[Evidence | Note]:
    """Compare the least population loss, by the closed form and by Newton from random starts, with the floor."""
    truth = instance.truth
    objective = FineTuning(population(truth.W_test), truth.W_test - M)
    error = truth.d * float(np.finfo(float).eps) * (float(truth.scale) ** 2 / whole)
    what = f"population loss at rank {rank} over the base's, "
    shift = fine_tune(objective.moments, objective.base, rank) - objective.base
    best = float(np.linalg.norm(M - shift) ** 2) / 2 / whole
    yield Evidence(
        "numerical",
        instance.name,
        what + "closed form",
        best,
        predicted,
        "equal",
        30 * error,
        "30 d eps of max||W_t||_F^2",
        key=LEFT,
        rounding=error,
    )
    if truth.d > 12:
        return
    scale = np.sqrt(np.linalg.norm(M, 2) / truth.d)
    U, V = scale * instance.rng(f"rank {rank}").standard_normal((2, profile.starts, truth.d, rank))
    ends = newton(objective, Parameters(U=U, V=V), relative_tolerance=1e-10)
    yield Note(instance.name, f"rank {rank}: {int(ends.converged.sum())} of {profile.starts} random starts converged")
    least, left = float(np.min(ends.value)) / whole, 1e-11 + error
    yield Evidence(
        "numerical",
        instance.name,
        what + f"least of {profile.starts} Newton ends",
        least,
        predicted,
        "equal",
        100 * left,
        "100 times what Newton leaves, 1e-11: beside a gradient of 1e-10 it does not see a singular value of some 3e-6 "
        "of the residual; and 100 d eps of max||W_t||_F^2",
        decidable=bool(np.any(ends.converged)),
        rounding=left,
    )


def _samples(instance: Instance, M: np.ndarray, rank: int, predicted: float, whole: float) -> Iterator[Evidence]:
    """Fine-tune on samples, few and many: the population loss never falls below the floor."""
    truth, base = instance.truth, instance.truth.W_test - M
    sigma, error = float(np.linalg.norm(M, 2)) / 100, rounding(instance) / float(np.linalg.norm(M))
    for n in (2 * truth.d, 10**9):
        moments = draw(instance.rng(f"n = {n}"), truth.W_test, n, sigma=sigma, batch=(20,))
        delta = fine_tune(moments, base, rank) - truth.W_test
        least = float(np.min(np.sum(delta**2, axis=(-2, -1)))) / 2 / whole
        yield Evidence(
            "numerical",
            instance.name,
            f"population loss at rank {rank} over the base's, least of 20 samples of n = {n}, sigma = {sigma:.2g}",
            least,
            predicted,
            "at least",
            30 * error,
            "holds for every sample; 30 times rounding of max||W_t||_F over ||W_{T+1} - A_SR||_F",
            rounding=error,
        )


def _positive(instance: Instance, M: np.ndarray, rank: int, whole: float) -> Evidence:
    """State that the floor one rank below k(T+1) is positive."""
    visible = level(instance) ** 2 / 2 / whole
    return Evidence(
        "numerical",
        instance.name,
        f"floor at rank {rank} over the base's loss (positive)",
        _half_tail(M, rank) / whole,
        10 * visible,
        "at least",
        0.0,
        "ten times the squared rounding of max||W_t||_F is clearly positive",
        decidable=float(congruence_floor(*congruence(instance.truth))) > 10 * level(instance),
    )


def _k(k: int, _T: int) -> int:
    return k


def _one_below(k: int, T: int) -> int:
    return k * (T + 1) - 1


def _start_and_samples(block: Block, *, rank: Count) -> tuple[np.ndarray, Moments]:
    """Draw standard normal U and V of a rank, ``(2, B, d, r)``, and moments of ``y = eps`` from n = 2d samples."""
    truth = block.truth
    start = block.rng.standard_normal((2, len(truth.A_star), truth.d, rank(truth.k, truth.T)))
    return start, *noise(block, samples=2)


def keeps_the_floor(
    A_star: Array, U_star: Array, start: Array, samples: Moments, *, rank: Count, rank_of_floor: Count | None = None
) -> Masks:
    """Descend by Newton in the population, and fit the closed form to samples with noise of 1 % of the residual.

    Parameters
    ----------
    A_star, U_star
        The structures.
    start, samples
        See `_start_and_samples`.
    rank, rank_of_floor
        Rank of the shifts, and the rank whose floor is asserted: the same unless given.
    """
    truth = GroundTruth(A_star, U_star)
    xp, (k, T) = array_namespace(A_star), (truth.k, truth.T)
    M, cut = residual(truth), rounding_level(truth.scale, truth.d)
    base, r = truth.W_test - M, rank(k, T)
    whole = frobenius(M) ** 2 / 2
    floor = best_rank_error(M, (rank_of_floor or rank)(k, T)) / 2
    rounding = 100 * truth.d * float(xp.finfo(M.dtype).eps) * truth.scale**2
    attained = frobenius(fine_tune(population(truth.W_test), base, r) - truth.W_test) ** 2 / 2
    scale = xp.sqrt(frobenius(M))[..., None, None] / truth.d**0.5
    end = newton_in_stages(
        lambda some: FineTuning(population(truth.W_test[some]), base[some]),
        Parameters(U=scale * start[0, ...], V=scale * start[1, ...]),
        relative_tolerance=1e-9,
    )
    noisy = Moments(
        samples.S, truth.W_test + (frobenius(M) / 100)[..., None, None] * samples.W, samples.noise, samples.n
    )
    fitted = frobenius(fine_tune(noisy, base, r) - truth.W_test) ** 2 / 2
    success = (
        (xp.abs(attained - floor) <= rounding)
        & (end.value >= floor - rounding - 1e-12 * whole)
        & (fitted >= floor - rounding)
        & (floor > 5 * cut**2)
    )
    return masks(success, congruence_floor(*congruence(truth)) <= 10 * cut, ~end.converged)


def _floor(name: str, rank: Count, *ensembles: Ensemble) -> Statement:
    return Statement(
        f"no shift of rank {name} from Newton or samples is below the positive floor, the closed form attains it",
        keeps_the_floor,
        ensembles,
        "sr_3",
        partial(_start_and_samples, rank=rank),
        {"rank": rank},
    )


THREE = Ensemble("generic", 10, 1, 3)
FLOOR = _floor("k(T+1) - 1", _one_below, THREE)

CLAIM = Claim(
    id="SR-3",
    title="Too small a rank leaves an error that no data remove",
    statement=(
        r"For $r < k(T+1)$ the least loss over rank-$r$ shifts of the standard base is $\frac12 \sum_{i>r} "
        r"\sigma_i^2(W_{T+1} - A_{\mathrm{SR}}) > 0$, for every sample, however many test samples there are."
    ),
    source="arXiv 2410.22264v1, Theorem 1 with Corollary 1 (Eckart and Young); proof in docs/theory.md, SR-3",
    nature="theorem",
    assumptions=(ALL_TASKS_INDEPENDENT,),
    check=check,
    controls=(
        Control(
            "mutated: no factor 1/2",
            partial(check, floor=lambda M, r: float(best_rank_error(M, r))),
            carry("generic", 10, 1, 3),
        ),
        Control(
            "mutated: the tail from i >= r",
            partial(check, floor=lambda M, r: _half_tail(M, r - 1)),
            carry("generic", 10, 1, 3),
        ),
        Control(
            "near miss: a floor 10^-9 too large",
            partial(check, floor=lambda M, r: slightly_more(_half_tail(M, r))),
            carry("generic", 10, 1, 3),
            key=LEFT,
        ),
        Control(
            "mutated: a positive floor at rank k(T+1) too",
            partial(check, needed=lambda k, T: k * (T + 1) + 1),
            carry("generic", 10, 1, 3),
        ),
        Control("broken assumption: a repeated task", check, carry("repeated-task", 10, 1, 3), on_given=False),
    ),
    instances=with_integers,
    at_scale=at_scale(
        FLOOR,
        _floor("k", _k, THREE, Ensemble("asymmetric", 12, 2, 3)),
        controls={"the tail from i >= r": FLOOR.mutated(rank_of_floor=lambda k, T: _one_below(k, T) - 1)},
    ),
    keys=(LEFT, RANK),
)
