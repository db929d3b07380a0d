"""CL-3: the best single shift is the mean of the shifts, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from loraml_theory.adapters import Parameters
from loraml_theory.closed_forms import best_rank_error
from loraml_theory.continual.chains import joint, loss_matrix, pooled
from loraml_theory.objectives import FineTuning
from loraml_theory.solvers import newton
from paper_checks.claim import Claim, Control, Profile
from paper_checks.evidence import exact_evidence
from paper_checks.evidence.chains import LARGEST_DESCENT, NEAR_MISS, chain, loss, over_q, same, shifts, unit
from paper_checks.evidence.drawn import carry, with_integers
from paper_checks.evidence.evidence import Evidence
from paper_checks.evidence.instance import Instance

GAP = r"average loss of the best single shift, over $\frac12$ mean $\|R_t^\star\|_F^2$"
RANK_GAP = r"what rank $k$ adds to it, over $\frac12$ mean $\|R_t^\star\|_F^2$"


def check(
    instance: Instance, profile: Profile, *, divisor: Callable[[int], int] = lambda T: T, displaced: float = 0.0
) -> Iterator[Evidence]:
    """Compare the pooled fit, of full rank and of rank k, with the mean and with its tail of singular values."""
    truth, R, moments = instance.truth, shifts(instance), chain(instance)
    mean = (1 + displaced) * np.sum(R, axis=0) / divisor(truth.T)
    best = joint(moments, truth.A_star, truth.d)
    yield same(instance, "the best single shift from the mean of R_t", best, mean)
    gap = float(np.mean(np.sum((R - mean) ** 2, axis=(-2, -1)))) / 2
    low = joint(moments, truth.A_star, truth.k)
    losses = np.mean(loss_matrix(moments, truth.A_star, np.stack([best, low]))[1:], axis=-1)
    yield loss(instance, "average loss of the best single shift", losses[0], gap, key=GAP)
    tail = (1 + displaced) * float(best_rank_error(mean, truth.k)) / 2
    yield loss(instance, "what rank k adds to it", losses[1] - losses[0], tail, key=RANK_GAP)
    if truth.d <= LARGEST_DESCENT:
        U, V = np.sqrt(np.linalg.norm(mean, 2) / truth.d) * instance.rng("joint").standard_normal(
            (2, profile.starts, truth.d, truth.k)
        )
        ends = newton(FineTuning(pooled(moments), truth.A_star), Parameters(U=U, V=V), relative_tolerance=1e-10)
        yield Evidence(
            "numerical",
            instance.name,
            f"average loss of one pair of rank k, least of {profile.starts} Newton ends, over 1/2 mean||R_t||^2",
            float(np.min(ends.value)) / unit(instance),
            (gap + tail) / unit(instance),
            "equal",
            1e-8,
            "gradient to 1e-10 relative, the loss is quadratic in it",
            decidable=bool(np.any(ends.converged)),
        )
    yield from _exact(instance, divisor, displaced)


def _exact(instance: Instance, divisor: Callable[[int], int], displaced: float) -> Iterator[Evidence]:
    """Over Q the gradient vanishes at the mean, and the gap is its second form."""
    truth = over_q(instance)
    if truth is None:
        return
    from loraml_theory.exact import rationals

    R = truth.R[:-1]
    one = rationals([1 + displaced])[0]
    mean = np.sum(R, axis=0) * one / divisor(truth.T)
    yield exact_evidence.zero(instance, "gradient of the average loss at the mean of R_t", np.sum(mean - R, axis=0))
    gap = np.sum((R - mean) ** 2) / truth.T
    second = np.sum(R * R) / truth.T - np.sum(mean * mean)
    yield exact_evidence.zero(
        instance, "mean||R_t - mean||^2 less mean||R_t||^2 - ||mean||^2", np.asarray([gap - second])
    )


CLAIM = Claim(
    id="CL-3",
    title="The best single shift is the mean of the shifts",
    statement=(
        r"Of all single shifts $\Delta$ the mean $\bar R = \frac1T \sum_t R_t^\star$ has the least average loss, "
        r"for inputs of covariance $I$. It is above one adapter per task by $\frac12$ mean $\|R_t^\star - \bar "
        r"R\|_F^2$, and a shift of rank $r$ by $\frac12 \sum_{i>r} \sigma_i^2(\bar R)$ more."
    ),
    source="follows from SR-1 and the theorem of Eckart and Young; proof in docs/forgetting.md, CL-3",
    nature="theorem",
    group="continual",
    assumptions=(),
    check=check,
    controls=(
        Control("mutated: the sum over T - 1", partial(check, divisor=lambda T: T - 1), carry("generic", 10, 1, 3)),
        Control("near miss: mean too large by 1e-9", partial(check, displaced=NEAR_MISS), carry("generic", 10, 1, 3)),
    ),
    instances=with_integers,
    keys=(GAP, RANK_GAP),
)
