"""CL-5: O-LoRA with its constraint exact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from loraml_theory.adapters import Parameters
from loraml_theory.continual.chains import forgotten, loss_matrix, orthogonal
from loraml_theory.continual.descents import shift_descent
from loraml_theory.continual.predictions import increments, orthogonal_forgetting, orthogonal_shifts
from loraml_theory.moments import Moments
from loraml_theory.objectives import FineTuning
from loraml_theory.solvers import newton
from loraml_theory.structure import Array
from paper_checks.claim import Claim, Control, Profile
from paper_checks.evidence import exact_evidence
from paper_checks.evidence.chains import (
    LARGEST_DESCENT,
    NEAR_MISS,
    chain,
    condition,
    loss,
    over_q,
    regular_inputs,
    same,
    shifts,
    unit,
)
from paper_checks.evidence.drawn import carry, with_integers
from paper_checks.evidence.evidence import Evidence
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.measure import level

if TYPE_CHECKING:
    from loraml_theory.exact import Rationals

FORGOTTEN = r"mean forgetting $F_j$ of exact O-LoRA, over $\frac12$ mean $\|R_t^\star\|_F^2$"

Shifts = Callable[[Array, Array], Array]
"""Maps R and E to the shifts after every task."""


def check(
    instance: Instance, profile: Profile, *, after: Shifts = orthogonal_shifts, displaced: float = 0.0
) -> Iterator[Evidence]:
    """Compare the chain with the sum of R_t E_t, its forgetting, and what is left right after learning a task."""
    truth, R, moments = instance.truth, shifts(instance), chain(instance)
    sure = condition(instance)
    if sure == inf:
        what, reason = "the chain of O-LoRA", "float64 cannot tell whether the tasks are dependent"
        yield Evidence("numerical", instance.name, what, 0.0, 0.0, "equal", 0.0, reason, decidable=False)
        return
    E = increments(truth.U_retraining)
    found, predicted = orthogonal(moments, truth.A_star, truth.k), after(R, E) * (1 + displaced)
    yield same(instance, "O-LoRA's shifts from the sums of R_t E_t", found, predicted, condition=sure)
    left = np.stack([np.sum((R[t] - R[:t]) @ E[:t], axis=0) for t in range(truth.T)])
    what = "R_t - Delta_t from the sums of (R_t - R_s) E_s"
    yield same(instance, what, R - found, left * (1 + displaced), condition=sure)
    lost = float(np.mean(forgotten(loss_matrix(moments, truth.A_star, found))))
    formula = float(np.mean(orthogonal_forgetting(R, E))) * (1 + displaced)
    yield loss(instance, "mean forgetting of O-LoRA", lost, formula, condition=sure, key=FORGOTTEN)
    stopped = shift_descent(moments, truth.A_star, step_size=0.15, steps=3, orthogonal_rows=True)
    what = "shifts of three steps on the full shift from 1 - rho times the sums"
    yield same(instance, what, stopped, (1 - 0.85**3) * predicted, condition=sure)
    if truth.d <= LARGEST_DESCENT and truth.k < truth.d:
        yield _regular(instance, profile)
    yield from _exact(instance, displaced)


def _regular(instance: Instance, profile: Profile) -> Evidence:
    """Let Newton find the best second update in coordinates of the complement, inputs regular and not isotropic."""
    truth, S = instance.truth, regular_inputs(instance)
    moments = chain(instance, S)
    found = orthogonal(moments, truth.A_star, truth.k)
    _, values, right = np.linalg.svd(found[0])
    free = right[int(np.sum(values > 10 * level(instance))) :].T
    residual = truth.W[1] - truth.A_star - found[0]
    inner = free.T @ S[1] @ free
    within = Moments(inner, residual @ S[1] @ free @ np.linalg.inv(inner), np.zeros(()), inf)
    size = np.sqrt(np.linalg.norm(residual) / truth.d)
    rng = instance.rng("constrained pair")
    U = size * rng.standard_normal((profile.starts, truth.d, truth.k))
    V = size * rng.standard_normal((profile.starts, free.shape[-1], truth.k))
    ends = newton(FineTuning(within, 0 * within.W), Parameters(U=U, V=V), relative_tolerance=1e-10)
    error = (found[1] - found[0]) @ free - within.W
    attained = float(np.sum((error @ inner) * error)) / 2
    rounding = truth.d * float(np.finfo(float).eps)
    return Evidence(
        "numerical",
        instance.name,
        f"loss that the best update leaves in the complement, S_t regular, least of {profile.starts} Newton ends, "
        "over 1/2 mean||R_t||^2",
        float(np.min(ends.value)) / unit(instance),
        attained / unit(instance),
        "equal",
        30 * rounding,
        f"30 times d eps = {rounding:.1e}: the loss is quadratic in the gradient, which is 0 to 1e-10 relative",
        decidable=bool(np.any(ends.converged)) and float(truth.scale) ** 2 < 1e6 * unit(instance),
        rounding=rounding,
    )


def _exact(instance: Instance, displaced: float) -> Iterator[Evidence]:
    """Follow the chain over Q, update by update, and compare it with the sums of R_t E_t."""
    truth = over_q(instance)
    if truth is None:
        return
    from loraml_theory.exact import rationals

    one = rationals([1 + displaced])[0]
    R, U = truth.R[:-1], truth.U_retraining
    taken, shift, ends = 0 * R[0], 0 * R[0], []
    for task in R:  # with S = I and no truncation the best update is the residual on the complement
        update = (task - shift) - (task - shift) @ taken
        shift = shift + update
        taken = taken + _projector(update.T)
        ends.append(shift)
    spans = [_projector(np.concatenate(list(U[: t + 1]), axis=1)) for t in range(truth.T)]
    E = [spans[0], *(after - before for before, after in pairwise(spans))]
    sums = np.cumsum([task @ fresh for task, fresh in zip(R, E, strict=True)], axis=0)
    yield exact_evidence.zero(instance, "O-LoRA's shifts less the sums of R_t E_t", np.stack(ends) - one * sums)
    apart = ends[-1] - R[0]
    lost = np.sum(apart * apart) - np.sum((ends[0] - R[0]) ** 2)
    later = sum(np.sum((task @ fresh) ** 2) for task, fresh in zip(R[1:], E[1:], strict=True))
    yield exact_evidence.zero(instance, "twice F_1 less the sum of ||R_t E_t||^2", np.asarray([lost - one * later]))


def _projector(M: Rationals) -> Rationals:
    """Return the orthogonal projector on a column space."""
    from loraml_theory.exact import column_space
    from loraml_theory.exact.rational import array, matrix

    basis = column_space(M)
    if not basis.shape[1]:
        return M @ M.T
    return basis @ array(matrix(basis.T @ basis).inv()) @ basis.T


def all_of_each(R: Array, _E: Array) -> Array:
    """Return the sums of the R_t in place of those of R_t E_t."""
    return np.cumsum(R, axis=-3)


CLAIM = Claim(
    id="CL-5",
    title="O-LoRA keeps of each task what is new to the span",
    statement=(
        "Let the rows of an update be orthogonal to those of all earlier updates, exactly, $r = k$ and inputs of "
        r"covariance $I$. With $E_t$ the projection on what $U_t^\star$ adds to the span of the earlier factors, "
        r"$\Delta_t = \sum_{s \le t} R_s^\star E_s$, task $j$ loses $F_j = \frac12 \sum_{t>j} \|R_t^\star "
        r"E_t\|_F^2$, and right after learning task $t$ it is left $R_t^\star - \Delta_t = \sum_{s<t} (R_t^\star "
        r"- R_s^\star) E_s$. For regular covariances the update is a reduced-rank regression on the complement."
    ),
    source="ours, on O-LoRA; proof in docs/forgetting.md, CL-5",
    nature="theorem",
    group="continual",
    assumptions=(),
    check=check,
    controls=(
        Control("mutated: R_t for R_t E_t", partial(check, after=all_of_each), carry("generic", 10, 1, 3)),
        Control(
            "mutated: forgetting without the factor 1/2", partial(check, displaced=1.0), carry("generic", 10, 1, 3)
        ),
        Control("near miss: all too large by 1e-9", partial(check, displaced=NEAR_MISS), carry("generic", 10, 1, 3)),
    ),
    instances=with_integers,
    keys=(FORGOTTEN,),
)
