"""A conjecture that is false: two retraining tasks are enough for adapters of rank 2k.

The bound of the paper for two tasks is 3k (ML-1). Is it loose, so that a new task never needs more than 2k? These look
for a counterexample, and show what the checks of drawn structures say:

    loraml verify --claims examples/conjecture.py --falsify
    loraml verify --claims examples/conjecture.py
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from paper_checks.claim import Claim, Control, Profile
from paper_checks.evidence import exact_evidence
from paper_checks.evidence.assumptions import RETRAINING_PAIR_INDEPENDENT, TWO_TASKS
from paper_checks.evidence.drawn import carry, with_integers
from paper_checks.evidence.evidence import Evidence
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.measure import zero_evidence
from paper_checks.evidence.minimisers import orbit_point

RANK = r"what rank $2k$ leaves of $W_3 - A$, over $\max_t \|W_t\|_F$"


def check(instance: Instance, _profile: Profile, *, factor: int = 2) -> Iterator[Evidence]:
    """Measure what the best adapter of rank `factor` times k leaves of W_3 - A at a minimiser A of LoRA-ML."""
    truth, rank = instance.truth, factor * instance.truth.k
    point = orbit_point(instance)
    left = np.linalg.svd(truth.W_test - point.A, compute_uv=False)[rank:]
    value, condition = np.linalg.norm(left) / float(truth.scale), point.condition
    what = f"||W_3 - A - (W_3 - A)_{factor}k||_F / max||W_t||_F at a point of the two-task orbit"
    yield zero_evidence(instance, what, value, condition=condition).of(RANK)
    exactly = exact_evidence.over_rationals(instance)
    if exactly is not None:
        from loraml_theory.exact import rank as rank_over_Q

        A = exact_evidence.orbit_point(instance, exactly, active=truth.k).A
        needed = rank_over_Q(exactly.W_test - A)
        yield exact_evidence.evidence(instance, "rank over Q of W_3 - A", needed, rank, relation="at most")


CLAIM = Claim(
    id="CONJECTURE-1",
    title="Two tasks: rank $2k$ is enough",
    statement=(
        r"With $T = 2$ and $[U_1^\star, U_2^\star]$ of rank $2k$, every minimiser of LoRA-ML leaves a new task a "
        "shift of rank at most $2k$."
    ),
    source="a conjecture",
    nature="theorem",
    assumptions=(TWO_TASKS, RETRAINING_PAIR_INDEPENDENT),
    check=check,
    controls=(Control("mutated: rank k is enough", partial(check, factor=1), carry("generic", 10, 1, 2)),),
    instances=with_integers,
    keys=(RANK,),
)
