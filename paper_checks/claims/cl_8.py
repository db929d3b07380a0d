"""CL-8: the rank that the first adapters need from each base."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from loraml_theory.closed_forms import best_rank_error, standard_retraining
from loraml_theory.continual.chains import incremental, orthogonal
from loraml_theory.moments import population
from loraml_theory.spectra import numerical_rank
from loraml_theory.structure import joint_factor
from paper_checks.claim import Claim, Control, Profile
from paper_checks.evidence import exact_evidence
from paper_checks.evidence.assumptions import ALL_TASKS_INDEPENDENT
from paper_checks.evidence.chains import loss, over_q, unit
from paper_checks.evidence.drawn import carry, with_integers
from paper_checks.evidence.evidence import Evidence
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.measure import inertia_evidence, level

FIRST = r"rank of the first adapter from the base of standard retraining on the other $T - 1$ tasks"
NEXT = r"rank of O-LoRA's second adapter from there"
KEPT = r"rank of one adapter kept, or of one per task, at the second task from there"
FLOOR = r"loss that rank $kT - 1$ leaves of the first task, over $\frac12$ mean $\|R_t^\star\|_F^2$"

Needed = Callable[[int, int], int]
"""Maps k and the number of tasks that the base was retrained on to a rank."""


def check(
    instance: Instance,
    _profile: Profile,
    *,
    first: Needed = lambda k, m: k * (m + 1),
    second: Needed = lambda k, _m: k,
) -> Iterator[Evidence]:
    """Retrain on all tasks but two, adapt to these two, and count ranks, from the mean and from A*."""
    truth = instance.truth
    k, m = truth.k, truth.T - 1
    base = standard_retraining(population(truth.W[:m]))
    new, rank = population(truth.W[m:]), first(k, m)
    for t, key in ((m, FIRST), (m + 1, KEPT)):
        factor = joint_factor(truth.U_star[[t, *range(m)]])
        what = f"W_{t + 1} less the mean of W_1..W_{m}"
        yield from inertia_evidence(
            instance, what, truth.W[t] - base, factor=factor, smallest=1 / m, predicted=(k, rank - k), key=key
        )
    for name, at, needed in (("the mean", base, k * (m + 1)), ("A*", truth.A_star, k)):
        ends = orthogonal(new, at, needed)
        yield _rank(instance, f"O-LoRA's second update from {name}", ends[1] - ends[0], second(k, m), NEXT)
        ends = incremental(new, at, max(needed, 2 * k))
        yield _rank(instance, f"a fresh pair's second update from {name}", ends[1] - ends[0], 2 * k)
    least = float(best_rank_error(truth.W[m] - base, rank - 1)) / 2
    if least > (10 * level(instance)) ** 2:
        short = orthogonal(new, base, k * (m + 1) - 1)[0]
        lost = float(np.sum((base + short - truth.W[m]) ** 2)) / 2
        yield loss(
            instance, f"loss that rank {rank - 1} leaves of the first task", lost, least, condition=10, key=FLOOR
        )
    yield from _exact(instance, rank, second(k, m))


def _rank(instance: Instance, what: str, M: np.ndarray, predicted: int, key: str = "") -> Evidence:
    """Compare the rank of an update with a prediction, where float64 sees a clear cut."""
    found = numerical_rank(M, np.asarray(10 * level(instance)))
    low, high = int(found.low), int(found.high)
    return Evidence(
        "numerical",
        instance.name,
        f"rank of {what}",
        low,
        predicted,
        "equal",
        0.0,
        "counted; singular values below 80 sqrt(d) eps max||W_t||_F are rounding",
        decidable=low == high and unit(instance) ** 0.5 > 1e6 * level(instance) and _apart(instance),
        key=key,
    )


def _apart(instance: Instance) -> bool:
    """Return whether float64 resolves what each task adds to the span of the others."""
    joint = joint_factor(instance.truth.U_star)
    return float(np.linalg.svd(joint, compute_uv=False)[-1]) ** 2 > 1e3 * level(instance)


def _exact(instance: Instance, rank: int, second: int) -> Iterator[Evidence]:
    """Count the same ranks over Q."""
    truth = over_q(instance)
    if truth is None:
        return
    from loraml_theory.exact import kernel, standard_retraining
    from loraml_theory.exact import rank as exact_rank

    m = truth.T - 1
    base = standard_retraining(truth.W[:m])
    residual = truth.W[m] - base
    yield from exact_evidence.signs(instance, "the first residual", residual, (truth.k, rank - truth.k), key=FIRST)
    complement = kernel(residual)
    found = exact_rank((truth.W[m + 1] - truth.W[m]) @ complement)
    what = "rank over Q of O-LoRA's second update from the mean"
    yield exact_evidence.evidence(instance, what, found, second).of(NEXT)
    found = exact_rank(truth.W[m + 1] - truth.W[m])
    what = "rank over Q of a fresh pair's second update"
    yield exact_evidence.evidence(instance, what, found, 2 * truth.k)


CLAIM = Claim(
    id="CL-8",
    title="What standard retraining costs is paid once by methods that accumulate adapters",
    statement=(
        r"From the base of LoRA-ML, $A^\star$, the first adapter needs rank $k$; from that of standard retraining "
        "on $m$ tasks $k(m + 1)$. The $km$ more are paid once by methods that accumulate pairs: the second "
        "adapter of O-LoRA needs $k$ from either base, a fresh pair $2k$. One adapter that is kept, and one per "
        "task, need $k(m + 1)$ for every task."
    ),
    source="follows from SR-2, CL-4 and CL-5; proof in docs/forgetting.md, CL-8",
    nature="theorem",
    group="continual",
    assumptions=(ALL_TASKS_INDEPENDENT,),
    check=check,
    controls=(
        Control(
            "mutated: rank k from the base of standard retraining",
            partial(check, first=lambda k, _m: k),
            carry("generic", 10, 1, 3),
        ),
        Control(
            "near miss: rank k(m + 1) - 1",
            partial(check, first=lambda k, m: k * (m + 1) - 1),
            carry("generic", 10, 1, 3),
        ),
        Control(
            "mutated: O-LoRA pays km again", partial(check, second=lambda k, m: k * (m + 1)), carry("generic", 10, 1, 3)
        ),
        Control("broken assumption: a repeated task", check, carry("repeated-task", 10, 1, 5), on_given=False),
    ),
    instances=with_integers,
    keys=(FIRST, NEXT, KEPT, FLOOR),
)
