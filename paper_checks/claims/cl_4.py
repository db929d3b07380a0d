"""CL-4: a fresh pair for each task is repeated reduced-rank regression, and needs rank 2k."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from loraml_theory.closed_forms import best_rank_error
from loraml_theory.continual.chains import incremental
from loraml_theory.spectra import numerical_rank
from loraml_theory.structure import joint_factor
from paper_checks.claim import Claim, Control, Profile
from paper_checks.evidence import exact_evidence
from paper_checks.evidence.assumptions import CONSECUTIVE_INDEPENDENT
from paper_checks.evidence.chains import chain, equal_tasks, loss, over_q, same, shifts
from paper_checks.evidence.drawn import carry, with_integers
from paper_checks.evidence.evidence import Evidence, Note
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.measure import inertia_evidence, level

RANK = r"rank that a task after the first needs, $R_t^\star - R_{t-1}^\star$"
LEFT = r"loss that rank $2k - 1$ leaves of the second task, over $\frac12$ mean $\|R_t^\star\|_F^2$"

Signs = Callable[[int], tuple[int, int]]
"""Maps k to the numbers of positive and negative eigenvalues."""


def check(
    instance: Instance, _profile: Profile, *, signs: Signs = lambda k: (k, k), growth: int = 0
) -> Iterator[Evidence | Note]:
    """Count signs of the differences of consecutive shifts, and follow chains of rank 2k, 2k - 1 and k."""
    truth, R, moments = instance.truth, shifts(instance), chain(instance)
    predicted, T = signs(truth.k), truth.T
    for t in range(1, min(T, 4)):
        factor = joint_factor(truth.U_star[[t, t - 1]])
        what = f"R_{t + 1} - R_{t}"
        M = R[t] - R[t - 1]
        yield from inertia_evidence(instance, what, M, factor=factor, smallest=1.0, predicted=predicted, key=RANK)
    ends = incremental(moments, truth.A_star, 2 * truth.k)
    yield same(instance, "the shifts of fresh pairs of rank 2k from R_t", ends, R, condition=T)
    short = incremental(moments, truth.A_star, 2 * truth.k - 1)[1]
    least = float(best_rank_error(R[1] - R[0], 2 * truth.k - 1)) / 2
    lost = float(np.sum((short - R[1]) ** 2)) / 2
    if least > (10 * level(instance)) ** 2:
        yield loss(instance, "loss that rank 2k - 1 leaves of task 2", lost, least, key=LEFT)
    for rank in sorted({truth.k, 2 * truth.k - 1}):
        yield from _growth(instance, rank, growth)
    exactly = over_q(instance)
    if exactly is not None:
        for t in range(1, T):
            difference = exactly.R[t] - exactly.R[t - 1]
            yield from exact_evidence.signs(instance, f"R_{t + 1} - R_{t}", difference, predicted, key=RANK)


def _growth(instance: Instance, rank: int, growth: int) -> Iterator[Evidence | Note]:
    """Bound the rank of what pairs of a rank from k to 2k - 1 must fit, ``R_t - Delta_{t-1}``."""
    truth, R, k = instance.truth, shifts(instance), instance.truth.k
    ends = incremental(chain(instance), truth.A_star, rank)
    ranks = numerical_rank(R[1:] - ends[:-1], np.full(len(R) - 1, level(instance)))
    seen = [int(low) for low in ranks.low]
    yield Note(instance.name, f"ranks of what fresh pairs of rank {rank} must fit: {', '.join(map(str, [k, *seen]))}")
    for t in range(2, truth.T + 1):
        yield Evidence(
            "numerical",
            instance.name,
            f"rank of what a fresh pair of rank {rank} must fit at task {t}",
            seen[t - 2],
            min(truth.d, 2 * k + (t - 2) * (2 * k - rank) - growth),
            "at most",
            0.0,
            "counted; singular values below 8 sqrt(d) eps max||W_t||_F are rounding",
            decidable=int(ranks.low[t - 2]) == int(ranks.high[t - 2]),
        )


CLAIM = Claim(
    id="CL-4",
    title="A fresh pair for each task needs rank $2k$",
    statement=(
        r"Fresh pairs, earlier ones frozen, repeat the reduced-rank regression of $R_t^\star - \Delta_{t-1}$. If "
        "consecutive factors are independent, a task after the first needs rank $2k$, with $k$ positive and $k$ "
        r"negative eigenvalues; from $r \ge 2k$ on the chain ends where CL-1's ends. At $k \le r < 2k$ task $t$ "
        "is left a residual of rank at most $2k + (t - 2)(2k - r)$, which is $tk$ at $r = k$."
    ),
    source="ours, from Sylvester's law of inertia, as SR-2; proof in docs/forgetting.md, CL-4",
    nature="theorem",
    group="continual",
    assumptions=(CONSECUTIVE_INDEPENDENT,),
    check=check,
    controls=(
        Control("mutated: rank k, inertia (k, 0)", partial(check, signs=lambda k: (k, 0)), carry("generic", 10, 2, 3)),
        Control(
            "near miss: rank 2k - 1, inertia (k, k - 1)",
            partial(check, signs=lambda k: (k, k - 1)),
            carry("generic", 10, 2, 3),
        ),
        Control("near miss: one rank fewer at each task", partial(check, growth=1), carry("generic", 10, 1, 3)),
        Control("broken assumption: one task, met again", check, equal_tasks, on_given=False),
    ),
    instances=with_integers,
    keys=(RANK, LEFT),
)
