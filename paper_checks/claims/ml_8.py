"""ML-8: retraining with adapters of a larger rank than the shifts have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from loraml_theory.closed_forms import best_rank_error, psd_factor
from loraml_theory.excess_rank import (
    family_dimension,
    family_point,
    outside_asymmetric_family,
    outside_family,
    tasks_needed,
)
from loraml_theory.rates import degrees_of_freedom, off_tangent_spectrum
from loraml_theory.structure import Array, GroundTruth, joint_factor
from paper_checks.claim import Claim, Control, Profile
from paper_checks.evidence import exact_evidence
from paper_checks.evidence.assumptions import ALL_TASKS_INDEPENDENT, THREE_TASKS
from paper_checks.evidence.drawn import carry, draw
from paper_checks.evidence.evidence import Evidence, Note
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.measure import inertia_evidence, mean_evidence, zero_evidence
from paper_checks.evidence.minimisers import Minimiser, global_ends, misfit, random_starts
from paper_checks.evidence.trials import BIAS, FIRST_ORDER, fine_tuning_errors, setting_for, trials_for

if TYPE_CHECKING:
    from loraml_theory.exact import Rationals

RANK = r"rank of $W_{T+1} - A$ at $A = A^\star - P P^\top$"
LOSS = r"loss at a base outside the family, from one task fewer (its root over $\max_t \|W_t\|_F$)"
APART = r"distance of a minimiser's $A^\star - A$ from the matrices $P P^\top$, over $\max_t \|W_t\|_F$"
LARGEST_DESCENT = 200  # unknowns of a start
LARGEST_FIT = 20  # dimension d of the fine-tuning experiment

Needed = Callable[..., int]
Family = Callable[[Array, Array, Array], tuple[Array, Array]]
Outside = Callable[[Array], Array]
Rank = Callable[[int, int], int]
"""Maps (k, r) to a rank."""


def _of_adapters(_k: int, rank: int) -> int:
    return rank


def check(
    instance: Instance,
    profile: Profile,
    *,
    needed: Needed = tasks_needed,
    family: Family = family_point,
    outside: Outside = outside_family,
    rank_after: Rank = _of_adapters,
) -> Iterator[Evidence | Note]:
    """Try bases of the family, bases outside it from one task fewer than needed, and the ends of Newton."""
    ambiguous = _ambiguous_rank(instance.truth.k, instance.truth.T, needed)
    yield from _family(instance, family, rank_after)
    yield from _outside(instance, outside, ambiguous)
    yield from _outside_asymmetric(instance, needed)
    yield from _ends(instance, profile, ambiguous - 1)
    if instance.truth.d <= LARGEST_FIT:
        yield from _fine_tuning(instance, profile)
    yield from _exact(instance, family, outside, needed, rank_after)


def _ambiguous_rank(k: int, T: int, needed: Needed, *, symmetric: bool = True) -> int:
    """Return the smallest rank of adapters at which T tasks are too few."""
    return next(rank for rank in count(k) if needed(k, rank, symmetric=symmetric) > T)


def _draw_shared(instance: Instance, excess: int) -> np.ndarray:
    """Draw P, ``(d, excess)``, as large as the W_t."""
    size = np.sqrt(float(instance.truth.retraining_scale) / instance.truth.d)
    P: np.ndarray = size * instance.rng(f"P of rank {excess}").standard_normal((instance.truth.d, excess))
    return P


def _family(instance: Instance, family: Family, rank_after: Rank) -> Iterator[Evidence]:
    """Measure the loss at ``A* - P P^T``, P small and large, and the rank that the test task needs there."""
    truth = instance.truth
    for excess in (1, truth.k + 1):
        P = _draw_shared(instance, excess)
        for large in (1, 100):
            A, U = family(truth.A_star, truth.U_retraining, large * P)
            what = f"root of the loss at A* - P P^T, P of rank {excess} times {large}, over max||W_t||_F"
            off = misfit(truth, A, U) / truth.retraining_scale
            yield zero_evidence(instance, what, float(off), condition=np.sqrt(truth.T) * (1 + large**2 * excess))
        A, U = family(truth.A_star, truth.U_star[-1:], P)
        rank = truth.k + excess
        what = f"W_{{T+1}} - A, A from adapters of rank {rank}"
        predicted = rank_after(truth.k, rank), 0
        M = truth.W_test - A
        yield from inertia_evidence(instance, what, M, factor=U[0], smallest=1.0, predicted=predicted, key=RANK)


def _outside(instance: Instance, outside: Outside, rank: int) -> Iterator[Evidence]:
    """Measure loss and inertia at a base outside the family; one more independent task excludes it."""
    truth, T = instance.truth, instance.truth.T
    N, excess = outside(truth.U_retraining), rank - truth.k
    U = psd_factor(N + truth.R[:-1], rank)
    what = f"root of the loss of adapters of rank {rank} at A* - N, N outside the family, over max||W_t||_F"
    off = misfit(truth, truth.A_star - N, U) / truth.retraining_scale
    yield zero_evidence(instance, what, float(off), condition=T).of(LOSS)
    u, smallest = joint_factor(truth.U_retraining[..., :1]), 1 / (2 * T - 1)
    yield from inertia_evidence(instance, "N", N, factor=u, smallest=smallest, predicted=(excess + 1, 1))
    joint, M = np.concatenate([u, truth.U_star[-1]], axis=-1), N + truth.R[-1]
    what, predicted = "N + R_{T+1}*, of a task more", (rank + 1, 1)
    yield from inertia_evidence(instance, what, M, factor=joint, smallest=smallest, predicted=predicted)


def _outside_asymmetric(instance: Instance, needed: Needed) -> Iterator[Evidence]:
    """Measure what asymmetric adapters leave at a base outside their family, from an even number of tasks."""
    truth, T = instance.truth, instance.truth.T // 2 * 2
    rank = _ambiguous_rank(truth.k, T, needed, symmetric=False)
    M = outside_asymmetric_family(truth.U_star[:T]) + truth.R[:T]
    left = np.sqrt(np.sum(best_rank_error(M, rank))) / float(truth.retraining_scale)
    what = f"root of the loss of asymmetric adapters of rank {rank} outside their family, T = {T}, over max||W_t||_F"
    yield zero_evidence(instance, what, left, condition=T).of(LOSS)


def _ends(instance: Instance, profile: Profile, rank: int) -> Iterator[Evidence | Note]:
    """Descend at the largest rank that the tasks allow; every end of zero loss is of the family."""
    truth = instance.truth
    if not truth.k < rank <= LARGEST_DESCENT // (truth.T * truth.d):
        yield Note(instance.name, f"no descent at rank {rank}: it is k, or T d r > {LARGEST_DESCENT}")
        return
    starts = random_starts(instance, profile.starts, rank=rank)
    for end in global_ends(instance, starts, f"{profile.starts} random starts at rank {rank}"):
        yield end if isinstance(end, Note) else _apart(instance, end, rank)


def _apart(instance: Instance, end: Minimiser, rank: int) -> Evidence:
    """Compare ``A* - A`` with its positive semidefinite part of rank r - k."""
    truth = instance.truth
    N, scale = truth.A_star - end.A, float(truth.retraining_scale)
    P = psd_factor(N, rank - truth.k)
    condition = _condition(end, rank - truth.k)
    what = f"||A* - A - P P^T||_F / max||W_t||_F at {end.origin}, P of rank {rank - truth.k}"
    slack = 10 * np.sqrt(truth.T) * end.misfit / scale
    return zero_evidence(instance, what, np.linalg.norm(N - P @ P.T) / scale, condition=condition, slack=slack).of(
        APART
    )


def _condition(end: Minimiser, excess: int) -> float:
    """Return by how much misfits move the base off the family, to first order: infinite where P is nearly singular."""
    U = np.concatenate([end.U, end.U[:1]])  # a truth has a test task, which the spectrum leaves out
    spectrum = off_tangent_spectrum(GroundTruth(end.A, U))
    free, first = family_dimension(len(end.A), excess), spectrum[family_dimension(len(end.A), excess)]
    return 1 / float(first) if spectrum[free - 1] < 1e-9 < first else inf


def _fine_tuning(instance: Instance, profile: Profile) -> Iterator[Evidence]:
    """Fine-tune from ``A* - P P^T`` at the rank of the adapters: the error is FT-2's of that rank."""
    truth, rank = instance.truth, instance.truth.k + 1
    P = _draw_shared(instance, 1)
    base = truth.A_star - P @ P.T
    setting = setting_for(truth.W_test - base, rank, n=10 * truth.d)
    rng, trials = instance.rng("fine-tuning"), trials_for(profile, rank, truth.d)
    errors = fine_tuning_errors(rng, truth.W_test, base, rank, setting, trials)
    yield mean_evidence(
        instance,
        f"n tr(Delta S Delta^T) / sigma^2 from A* - P P^T at rank {rank}, {setting}",
        setting.n / setting.sigma**2 * errors.in_sample,
        degrees_of_freedom(rank, truth.d),
        bias=BIAS,
        reason=FIRST_ORDER,
    )


def _exact(
    instance: Instance, family: Family, outside: Outside, needed: Needed, rank_after: Rank
) -> Iterator[Evidence]:
    """Decide over Q: the loss is zero in the family and at both bases outside it, whose ranks are as stated."""
    truth = exact_evidence.over_rationals(instance)
    if truth is None:
        return
    from loraml_theory.exact import non_zero, rationals

    P = rationals(instance.rng("P over Q").integers(-3, 4, (truth.d, 1)))
    A, U = family(truth.A_star, truth.U_star, P)
    left = A + U @ np.swapaxes(U, -1, -2) - truth.W
    yield exact_evidence.evidence(instance, "entries of A + U_t U_t^T - W_t that are not 0 over Q", non_zero(left), 0)
    what, rank = "W_{T+1} - A, A from adapters of rank k + 1", truth.k + 1
    predicted = rank_after(truth.k, rank), 0
    yield from exact_evidence.signs(instance, what, truth.W_test - A, predicted, key=RANK)
    yield from _exactly_outside(instance, truth.R, outside(truth.U_retraining), needed)
    yield from _exactly_asymmetric(
        instance, truth.R, outside_asymmetric_family(truth.U_star[: truth.T // 2 * 2]), needed
    )


def _exactly_outside(instance: Instance, R: Rationals, N: Rationals, needed: Needed) -> Iterator[Evidence]:
    """Decide over Q that N is indefinite, and that all ``N + R_t*`` but the last are semidefinite of the rank."""
    from loraml_theory.exact import inertia

    T, k = instance.truth.T, instance.truth.k
    rank = _ambiguous_rank(k, T, needed)
    semidefinite = sum(inertia(N + R_t) == (rank, 0) for R_t in R[:T])
    what = f"tasks for which N + R_t* has inertia ({rank}, 0) over Q, N outside the family"
    yield exact_evidence.evidence(instance, what, semidefinite, T)
    yield from exact_evidence.signs(instance, "N", N, (rank - k + 1, 1))
    yield from exact_evidence.signs(instance, "N + R_{T+1}*, of a task more", N + R[-1], (rank + 1, 1))


def _exactly_asymmetric(instance: Instance, R: Rationals, N: Rationals, needed: Needed) -> Iterator[Evidence]:
    """Decide over Q that N has a rank too many, and that all ``N + R_t*`` of an even number of tasks have the rank."""
    from loraml_theory.exact import rank as exact_rank

    T, k = instance.truth.T // 2 * 2, instance.truth.k
    rank = _ambiguous_rank(k, T, needed, symmetric=False)
    reached = sum(exact_rank(N + R_t) == rank for R_t in R[:T])
    what = f"tasks of {T} for which N + R_t* has rank {rank} over Q, N outside the asymmetric family"
    yield exact_evidence.evidence(instance, what, reached, T)
    yield exact_evidence.evidence(instance, "rank over Q of this N", exact_rank(N), rank - k + 1)
    yield exact_evidence.evidence(
        instance, "rank over Q of N + R_{T+1}*, of a task more", exact_rank(N + R[-1]), rank + 1
    )


def _off(family: Family, factor: float) -> Family:
    """Return a false family whose shared matrix P P^T is off by a factor."""

    def scaled(A_star: Array, U_star: Array, P: Array) -> tuple[Array, Array]:
        A, U = family(A_star, U_star, P)
        return A_star + (A - A_star) * factor, U

    return scaled


def _without_mean(U_star: Array) -> Array:
    """Return ``sum_t u_t u_t^T``, positive definite on its span: a false base outside the family."""
    u = joint_factor(U_star[..., :1])
    return u @ u.T


def _nearly(U_star: Array) -> Array:
    """Return the base outside the family with its negative part 10^-6 too large."""
    return outside_family(U_star) * (1 + 1e-6) - _without_mean(U_star) * 1e-6


def _repeated(seed: int) -> Instance:
    """Draw four tasks to retrain on whose test task repeats the first: no further task is independent."""
    drawn = draw("integer", 10, 1, 4, seed)
    U = drawn.truth.U_star.copy()
    U[-1] = U[0]
    return Instance("integer d=10 k=1 T=4, test task as the first", GroundTruth(drawn.truth.A_star, U), seed)


SHAPES = (
    ("generic", 10, 1, 3),
    ("generic", 8, 1, 4),
    ("generic", 10, 1, 5),
    ("asymmetric", 8, 2, 3),
    ("asymmetric", 12, 2, 4),
    ("scaled", 12, 1, 3),
    ("orthogonal", 20, 2, 5),
    ("generic", 64, 4, 10),
    ("integer", 10, 1, 4),
    ("integer", 12, 2, 5),
    ("integer", 30, 3, 6),
)


def _instances(seed: int) -> list[Instance]:
    return [draw(*shape, seed) for shape in SHAPES]


CLAIM = Claim(
    id="ML-8",
    title="Adapters of too large a rank while retraining",
    statement=(
        r"With adapters of rank $r > k$ every base $A^\star - P P^\top$, $P$ of shape $d \times (r - k)$, has zero "
        r"loss, for every $T$, and a test task needs rank $r$ there. From $T \ge r - k + 3$ independent tasks on there "
        r"is no other; from one fewer there is. For asymmetric adapters, with any shift of rank $r - k$ for "
        r"$P P^\top$, the number is $2(r - k) + 3$."
    ),
    source="beyond arXiv 2410.22264, whose adapters have rank k; proof in docs/theory.md, ML-8",
    nature="theorem",
    assumptions=(THREE_TASKS, ALL_TASKS_INDEPENDENT),
    check=check,
    controls=(
        Control(
            "mutated: r - k + 2 tasks suffice",
            partial(check, needed=lambda k, r, symmetric: tasks_needed(k, r, symmetric=symmetric) - 1),
            carry("integer", 10, 1, 4),
        ),
        Control(
            "mutated: r - k + 4 tasks needed",
            partial(check, needed=lambda k, r, symmetric: tasks_needed(k, r, symmetric=symmetric) + 1),
            carry("integer", 10, 1, 4),
        ),
        Control(
            "mutated: asymmetric adapters need no more tasks than symmetric ones",
            partial(check, needed=lambda k, r, symmetric: tasks_needed(k, r)),  # noqa: ARG005
            carry("integer", 10, 1, 5),
        ),
        Control(
            "mutated: the test task needs rank k",
            partial(check, rank_after=lambda k, _r: k),
            carry("generic", 10, 1, 3),
        ),
        Control(
            "mutated: a semidefinite base outside the family",
            partial(check, outside=_without_mean),
            carry("generic", 10, 1, 3),
        ),
        Control(
            "near miss: P P^T 10^-9 too large in the base",
            partial(check, family=_off(family_point, 1 + 1e-9)),
            carry("generic", 10, 1, 3),
        ),
        Control(
            "near miss: the base outside the family off by 10^-6",
            partial(check, outside=_nearly),
            carry("generic", 10, 1, 3),
        ),
        Control(
            "broken assumption: the task more is a repeated one",
            check,
            _repeated,
            on_given=False,
        ),
    ),
    instances=_instances,
    keys=(RANK, LOSS, APART),
)
