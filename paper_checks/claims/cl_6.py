"""CL-6: on isotropic inputs O-LoRA ends with no less total loss than sequential LoRA, on average."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from math import inf

import numpy as np

from loraml_theory.continual.chains import loss_matrix, orthogonal, sequential
from loraml_theory.continual.predictions import (
    expected_excess,
    expected_sequential,
    increments,
    total_losses,
)
from loraml_theory.moments import population
from loraml_theory.structure import GroundTruth
from paper_checks.claim import Claim, Control, Profile
from paper_checks.evidence import exact_evidence
from paper_checks.evidence.chains import NEAR_MISS, chain, condition, loss, over_q, shifts
from paper_checks.evidence.drawn import carry, with_integers
from paper_checks.evidence.evidence import Evidence
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.measure import mean_evidence

TOTAL = (
    r"total loss of O-LoRA after two tasks, predicted to be sequential LoRA's, over $\frac12$ mean $\|R_t^\star\|_F^2$"
)
RATIO = "total loss of O-LoRA over sequential LoRA's after $T$ orthonormal tasks"
EXCESS = r"mean excess of O-LoRA's total loss for normal factors, over sequential LoRA's mean"
LARGEST_SAMPLED = 12  # dimension of the structures drawn for the mean
DRAWS = 10  # per trial of the profile

Expected = Callable[[int, int, int], float]
"""Maps (d, k, T) to a mean."""


def check(
    instance: Instance,
    profile: Profile,
    *,
    displaced: float = 0.0,
    ratio: Callable[[int], float] = lambda T: T / 2,
    excess: Expected = expected_excess,
    always: bool = False,
) -> Iterator[Evidence]:
    """Compare total losses of both chains with their forms; at T = 2, for orthonormal tasks, and on average."""
    truth, R = instance.truth, shifts(instance)
    sure = condition(instance)
    if sure == inf:
        what, reason = "total losses", "float64 cannot tell whether the tasks are dependent"
        yield Evidence("numerical", instance.name, what, 0.0, 0.0, "equal", 0.0, reason, decidable=False)
        return
    forms = total_losses(R, increments(truth.U_retraining))
    moments = chain(instance)
    for name, method, form in zip(("O-LoRA", "sequential LoRA"), (orthogonal, sequential), forms, strict=True):
        end = method(moments, truth.A_star, truth.k)
        total = float(np.sum(loss_matrix(moments, truth.A_star, end)[-1]))
        yield loss(instance, f"total loss of {name}", total, float(form) * (1 + displaced), condition=sure * truth.T)
    pair = population(truth.W[:2])
    both = [loss_matrix(pair, truth.A_star, m(pair, truth.A_star, truth.k))[-1].sum() for m in (orthogonal, sequential)]
    yield loss(
        instance, "total loss of O-LoRA after tasks 1 and 2", both[0], both[1] * (1 + displaced), condition=4 * sure
    ).of(TOTAL)
    if always:
        what = "total loss of O-LoRA over that of sequential LoRA"
        seen = float(forms[0] / forms[1])
        yield Evidence("numerical", instance.name, what, seen, 1.0, "at least", 1e-9, "larger for every structure")
    yield from _orthonormal(instance, ratio)
    if truth.d <= LARGEST_SAMPLED and truth.T >= 3 and truth.k < truth.d:
        yield _mean(instance, profile, excess)
    yield from _exact(instance, displaced)


def _orthonormal(instance: Instance, ratio: Callable[[int], float]) -> Iterator[Evidence]:
    """Follow both chains on tasks with orthonormal factors of the instance's sizes."""
    d, k, T = instance.truth.d, instance.truth.k, instance.truth.T
    if k * T > d:
        return
    Q = np.linalg.qr(instance.rng("orthonormal").standard_normal((d, k * T)))[0]
    U = np.moveaxis(Q.reshape(d, T, k), 1, 0)
    moments, zero = population(U @ U.swapaxes(-1, -2)), np.zeros((d, d))
    ours, theirs = (loss_matrix(moments, zero, m(moments, zero, k))[-1].sum() for m in (orthogonal, sequential))
    what = f"total loss of O-LoRA over that of sequential LoRA, {T} orthonormal tasks"
    yield Evidence(
        "numerical", instance.name, what, float(ours / theirs), ratio(T), "equal", 1e-10, "100 d eps", key=RATIO
    )


def _mean(instance: Instance, profile: Profile, excess: Expected) -> Evidence:
    """Average the excess over structures with independent normal factors of the instance's sizes."""
    d, k, T = instance.truth.d, instance.truth.k, instance.truth.T
    U = instance.rng("normal factors").standard_normal((DRAWS * profile.trials, T, d, k))
    ours, theirs = total_losses(U @ U.swapaxes(-1, -2), increments(U))
    one = expected_sequential(d, k, T)
    return mean_evidence(
        instance,
        f"mean excess of O-LoRA's total loss over sequential LoRA's mean, normal factors, d={d} k={k} T={T}",
        (ours - theirs) / one,
        excess(d, k, T) / one,
        bias=0.0,
        reason="the mean is exact",
    ).of(EXCESS)


def _exact(instance: Instance, displaced: float) -> Iterator[Evidence]:
    """Over Q, for tasks 1 and 2: ``||R_1 - D||^2 + ||R_2 - D||^2 = ||R_2 - R_1||^2``, D O-LoRA's end."""
    truth = over_q(instance)
    if truth is None:
        return
    from loraml_theory.exact import column_space, rationals
    from loraml_theory.exact.rational import array, matrix

    basis = column_space(truth.U_star[0])
    if not basis.shape[1]:
        return
    first, second = truth.R[:2]
    end = first + second - second @ basis @ array(matrix(basis.T @ basis).inv()) @ basis.T
    total = np.sum((first - end) ** 2) + np.sum((second - end) ** 2)
    difference = total - rationals([1 + displaced])[0] * np.sum((second - first) ** 2)
    what = "twice O-LoRA's total loss after two tasks less sequential LoRA's"
    yield exact_evidence.zero(instance, what, np.asarray([difference]))


def nearly_equal_tasks(seed: int) -> Instance:
    """Return u_1 = e_1, u_2 = e_1 + 0.1 e_2, u_3 = (1, 1, 1): two tasks that are nearly the same, and another."""
    U = np.array([[1.0, 0, 0], [1, 0.1, 0], [1, 1, 1], [0, 0, 1]])[..., None]
    return Instance("nearly-equal-tasks d=3 k=1 T=3", GroundTruth(np.zeros((3, 3)), U), seed)


CLAIM = Claim(
    id="CL-6",
    title="O-LoRA and sequential LoRA lose the same at two tasks, O-LoRA more on average at three",
    statement=(
        r"On inputs of covariance $I$ the total loss after the chain is $\frac12 \sum_{j,s} \|(R_s^\star - "
        r"R_j^\star) E_s\|_F^2$ for O-LoRA and $\frac12 \sum_j \|R_T^\star - R_j^\star\|_F^2$ for sequential "
        "LoRA: the same at $T = 2$, and $T/2$ times as much for O-LoRA on orthonormal tasks. For independent "
        r"normal factors O-LoRA's is larger on average for all $T \ge 3$ and $d > k$, by $\frac{k}{2} \sum_{s<T} "
        r"\max(0, d - ks) ((s - 1)(d + k + 1) + (T - 1 - s)(d - k + 1))$; not for every structure."
    ),
    source="ours; proof in docs/forgetting.md, CL-6",
    nature="theorem",
    group="continual",
    assumptions=(),
    check=check,
    controls=(
        Control("mutated: larger for every structure", partial(check, always=True), nearly_equal_tasks, on_given=False),
        Control(
            "near miss: total losses too large by 1e-9", partial(check, displaced=NEAR_MISS), carry("generic", 10, 1, 3)
        ),
        Control(
            "mutated: (T - 1)/2 times as much on orthonormal tasks",
            partial(check, ratio=lambda T: (T - 1) / 2),
            carry("generic", 10, 1, 3),
        ),
        Control(
            "mutated: d + k + 1 for d - k + 1 in the mean excess",
            partial(check, excess=lambda d, k, T: expected_excess(d, k, T) * (d + k + 1) / (d - k + 1)),
            carry("generic", 10, 1, 3),
        ),
    ),
    instances=with_integers,
    keys=(TOTAL, RATIO, EXCESS),
)
