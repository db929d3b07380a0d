"""ML-1: every LoRA-ML minimiser is within rank 2k of A* and within rank 3k of the test task."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from loraml_theory.adapters import Parameters
from loraml_theory.moments import draw
from loraml_theory.objectives import ProjectedLoRAML
from loraml_theory.solvers import newton
from loraml_theory.spectra import numerical_rank, rounding_level
from loraml_theory.structure import Array, GroundTruth
from paper_checks.claim import Claim, Control, Profile
from paper_checks.evidence import exact_evidence
from paper_checks.evidence.at_scale import Statement, at_scale
from paper_checks.evidence.drawn import carry, with_integers
from paper_checks.evidence.evidence import Evidence, Note
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.measure import level, zero_evidence
from paper_checks.evidence.minimisers import Minimiser, Points, all_minimisers, solve_each
from sims.ensembles.ensembles import Ensemble, starts
from sims.ensembles.masks import Masks, at_most, masks

TEST = r"largest rank of $W_{T+1} - A$ over the minimisers $A$"
BASE = r"largest rank of $A - A^\star$ over the minimisers $A$"


def _twice(k: int) -> int:
    return 2 * k


def _thrice(k: int) -> int:
    return 3 * k


def check(
    instance: Instance,
    profile: Profile,
    *,
    base_rank: Callable[[int], int] = _twice,
    residual_rank: Callable[[int], int] = _thrice,
    points: Points = all_minimisers,
) -> Iterator[Evidence | Note]:
    """Count the ranks of A - A* and W_{T+1} - A at every known global minimiser; the largest counts."""
    truth, k = instance.truth, instance.truth.k
    found: list[Minimiser] = []
    for point in points(instance, profile):
        if isinstance(point, Note):
            yield point
        else:
            found.append(point)
            if point.condition:
                yield zero_evidence(
                    instance,
                    f"misfit (2 f)^(1/2) / max||W_t||_F at {point.origin}: f attains 0",
                    point.misfit / float(truth.retraining_scale),
                    condition=point.condition,
                )
    for what, target, bound, key in (
        ("A - A*", truth.A_star, base_rank(k), BASE),
        ("W_{T+1} - A", truth.W_test, residual_rank(k), TEST),
    ):
        if bound >= truth.d:
            yield Note(
                instance.name,
                f"rank({what}) <= {bound} holds for every matrix at d = {truth.d}: not evidence",
            )
        else:
            yield _largest_rank(instance, what, target, bound, found).of(key)
    yield from _exact(instance, base_rank(k), residual_rank(k))


def _exact(instance: Instance, base_rank: int, residual_rank: int) -> Iterator[Evidence]:
    """Count the same ranks over Q at global minimisers that are known exactly."""
    truth = exact_evidence.over_rationals(instance)
    if truth is None:
        return
    from loraml_theory.exact import rank
    from loraml_theory.exact.rational import shifts

    points = list(exact_evidence.minimisers(instance, truth))
    for point in points:
        misfit = point.A + shifts(point.U) - truth.W_retraining
        yield exact_evidence.zero(instance, f"A + U_t U_t^T - W_t at {point.origin}", misfit)
    for what, target, bound, key in (
        ("A - A*", truth.A_star, base_rank, BASE),
        ("W_{T+1} - A", truth.W_test, residual_rank, TEST),
    ):
        if bound < truth.d:
            largest = max(rank(target - point.A) for point in points)
            what = f"largest rank over Q of {what} over {len(points)} global minimisers"
            yield exact_evidence.evidence(instance, what, largest, bound, relation="at most").of(key)


def _largest_rank(instance: Instance, what: str, target: np.ndarray, bound: int, found: list[Minimiser]) -> Evidence:
    """Count singular values clearly above rounding plus the point's own misfit, which bounds the excess (Weyl)."""
    cut = level(instance)
    counts = [numerical_rank(target - p.A, np.asarray(cut + p.misfit)) for p in found]
    low, high = max(int(c.low) for c in counts), max(int(c.high) for c in counts)
    return Evidence(
        "numerical",
        instance.name,
        f"largest rank of {what} over {len(found)} global minimisers",
        low,
        bound,
        "at most",
        0.0,
        f"counted exactly; singular values below {cut:.1e} (8 sqrt(d) eps max||W_t||_F) plus the point's misfit "
        f"are rounding",
        decidable=low > bound or high <= bound,
    )


def finite_sample_minimiser(instance: Instance, _profile: Profile) -> Iterator[Minimiser | Note]:
    """Yield LoRA-ML's minimiser from N = 50 d samples per task instead of the population's: a broken assumption."""
    truth = instance.truth
    sigma = float(truth.scale) / 100
    moments = draw(instance.rng("finite N"), truth.W_retraining, 50 * truth.d, sigma=sigma)
    objective = ProjectedLoRAML(moments)
    end = newton(objective, Parameters(U=truth.U_retraining), relative_tolerance=1e-10)
    yield Minimiser("finite N", objective.base(end.parameters), end.parameters.U, 0.0)


def has_ranks(A_star: Array, U_star: Array, start: Array, *, residual_rank: Callable[[int], int] = _thrice) -> Masks:
    """Count the ranks of A - A* and W_{T+1} - A at the minimiser that Newton finds from a start."""
    truth = GroundTruth(A_star, U_star)
    end = solve_each(truth, start)
    cut = rounding_level(truth.scale, truth.d) + end.misfit  # a point's misfit bounds its excess rank (Weyl)
    held, undecided = at_most(numerical_rank(end.base - A_star, cut), _twice(truth.k))
    held_too, undecided_too = at_most(numerical_rank(truth.W_test - end.base, cut), residual_rank(truth.k))
    failed = ~(held | undecided) | ~(held_too | undecided_too)
    return masks(held & held_too, (undecided | undecided_too) & ~failed, end.unconverged, end.elsewhere)


RANKS = Statement(
    "rank(A - A*) <= 2k and rank(W_{T+1} - A) <= 3k at the minimiser Newton finds",
    has_ranks,
    (Ensemble("generic", 10, 1, 2), Ensemble("generic", 10, 1, 3), Ensemble("asymmetric", 12, 2, 4)),
    "ml_1",
    starts,
)

CLAIM = Claim(
    id="ML-1",
    title="Every LoRA-ML minimiser adapts with rank $3k$",
    statement=(
        r"LoRA-ML attains 0 in the population; at every global minimiser $\operatorname{rank}(A - A^\star) \le "
        r"2k$ and $\operatorname{rank}(W_{T+1} - A) \le 3k$, for every $T$."
    ),
    source="arXiv 2410.22264v1, Theorem 2; proof in docs/theory.md, ML-1",
    nature="theorem",
    assumptions=(),
    check=check,
    controls=(
        Control("mutated: rank(A - A*) <= k", partial(check, base_rank=lambda k: k), carry("generic", 10, 1, 2)),
        Control(
            "near miss: rank(A - A*) <= 2k - 1 at T = 2",
            partial(check, base_rank=lambda k: 2 * k - 1),
            carry("generic", 10, 1, 2),
            key=BASE,
        ),
        Control(
            "near miss: rank(W_{T+1} - A) <= 3k - 1 at T = 2",
            partial(check, residual_rank=lambda k: 3 * k - 1),
            carry("generic", 10, 1, 2),
            key=TEST,
        ),
        Control(
            "mutated: rank(W_{T+1} - A) <= 2k at T = 2",
            partial(check, residual_rank=_twice),
            carry("generic", 10, 1, 2),
        ),
        Control(
            "broken assumption: N = 50 d samples in place of the population",
            partial(check, points=finite_sample_minimiser),
            carry("generic", 10, 1, 3),
            on_given=False,
        ),
    ),
    instances=with_integers,
    at_scale=at_scale(RANKS, controls={"rank(W_{T+1} - A) <= 2k at T = 2": RANKS.mutated(residual_rank=_twice)}),
    keys=(TEST, BASE),
)
