"""FT-1: fine-tuning has a closed form."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from loraml_theory.adapters import Parameters
from loraml_theory.closed_forms import reduced_rank_regression, truncate
from loraml_theory.landscape import directional_curvature, most_negative_direction
from loraml_theory.moments import Moments, draw
from loraml_theory.objectives import FineTuning, task_losses
from loraml_theory.solvers import Solution, gradient_descent, newton
from paper_checks.claim import Claim, Control, Profile
from paper_checks.evidence import exact_evidence
from paper_checks.evidence.assumptions import TEST_FACTOR_OF_FULL_RANK
from paper_checks.evidence.drawn import carry, up_to
from paper_checks.evidence.evidence import Evidence, Note
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.remembered import remembered
from paper_checks.evidence.resolution import slightly_more

LEAST = "least loss that Newton finds over that of the closed form"
CERTIFIED = "loss of the closed form over the least loss that any shift of its rank has"

Form = Callable[[Moments, int], np.ndarray]


def check(instance: Instance, profile: Profile, *, form: Form = reduced_rank_regression) -> Iterator[Evidence | Note]:
    """Compare the closed form's loss with those at the ends of Newton and of gradient descent from random starts."""
    truth = instance.truth
    residual = truth.R[-1]
    sigma = float(np.linalg.norm(residual, 2)) / 10
    moments = draw(instance.rng("data"), truth.W_test, 5 * truth.d, sigma=sigma)
    objective = FineTuning(moments, truth.A_star)
    for rank in sorted({truth.k, min(truth.k + 1, truth.d)}):
        yield from _rank(instance, objective, rank, profile, form)
    yield from _saddle(instance, objective)


def _rank(
    instance: Instance, objective: FineTuning, rank: int, profile: Profile, form: Form
) -> Iterator[Evidence | Note]:
    d = instance.truth.d
    rounding = d * float(np.finfo(float).eps)
    fitted = form(objective.residual, rank)
    loss = float(task_losses(objective.residual, fitted))
    size = float(np.linalg.norm(objective.residual.W, 2))
    U, V = 0.3 * np.sqrt(size) * instance.rng(f"rank {rank}").standard_normal((2, profile.starts, d, rank))
    ends, descent = _ends(objective, Parameters(U=U, V=V), size)
    setting = f"rank {rank}, n = {5 * d}"
    yield Note(instance.name, f"{setting}: {int(ends.converged.sum())} of {profile.starts} Newton starts converged")
    least = float(np.min(ends.value[ends.converged])) if np.any(ends.converged) else np.nan
    yield Evidence(
        "numerical",
        instance.name,
        f"least loss of {profile.starts} Newton ends over the closed form's, {setting}",
        least / loss,
        1.0,
        "equal",
        30 * rounding,
        "gradient to 1e-11 relative, the loss is quadratic in it; 30 d eps for rounding of the losses",
        key=LEAST,
        rounding=rounding,
    )
    yield Note(
        instance.name,
        f"{setting}: {int(descent.converged.sum())} of 2 gradient descents converged in 4000 steps",
    )
    yield from _certified(instance, objective.residual, fitted, rank, setting)
    if np.any(descent.converged):
        reached = float(np.min(descent.value[descent.converged]))
        yield Evidence(
            "numerical",
            instance.name,
            f"loss where gradient descent on U V^T converges over the closed form's, {setting}",
            reached / loss,
            1.0,
            "equal",
            1e-8,
            "gradient to 1e-6 relative: the loss is quadratic in it, relative to that of the noise",
        )


@remembered
def _ends(objective: FineTuning, start: Parameters, size: float) -> tuple[Solution, Solution]:
    """Descend from all starts by Newton, and from the first two by gradient steps."""
    step_size = 0.2 / (float(np.linalg.norm(objective.residual.S, 2)) * size)
    few = Parameters(U=start.U[:2], V=start.V[:2])
    return (
        newton(objective, start, relative_tolerance=1e-11),
        gradient_descent(objective, few, steps=4000, step_size=step_size, relative_tolerance=1e-6),
    )


def _certified(
    instance: Instance, moments: Moments, fitted: np.ndarray, rank: int, setting: str
) -> Iterator[Evidence | Note]:
    """Compare the closed form's loss, computed over Q, with an enclosure of the least loss at this rank.

    In the norm of S, an error delta of the fit changes its loss ``||E||^2 / 2`` to first order by at most
    ``||delta|| ||E||``, which relative to it is ``2 c ||delta|| / ||W||``. The condition ``c = ||W|| / ||E||`` is the
    root of a ratio of losses.
    """
    if not exact_evidence.available():
        return
    if instance.truth.d > exact_evidence.LARGEST:
        yield exact_evidence.omitted(instance, f"{setting}, the least loss")
        return
    from loraml_theory.certified.optimum import least_loss, loss

    try:
        low, high = least_loss(moments.S, moments.W, rank)
    except ValueError as problem:
        yield Note(instance.name, f"{setting}: no least loss enclosed: {problem}")
        return
    if not low > 0:
        yield Note(instance.name, f"{setting}: the least loss is not proved positive")
        return
    width = exact_evidence.upward(high / low - 1)
    condition = exact_evidence.upward(loss(moments.S, moments.W, np.zeros_like(fitted)) / low) ** 0.5
    rounding = 2 * condition * instance.truth.d * float(np.finfo(float).eps)
    yield Evidence(
        "certified",
        instance.name,
        f"loss of the closed form, over Q, over the least loss by Eckart and Young, {setting}",
        exact_evidence.upward(loss(moments.S, moments.W, fitted) / low),
        1.0,
        "equal",
        2 * rounding + width,
        f"the moments are taken as they stand; the least loss is known to {width:.0e} relatively; an error of the fit "
        f"of 2 d eps, times twice the condition {condition:.2g}",
        key=CERTIFIED,
        rounding=rounding + width,
    )


def _saddle(instance: Instance, objective: FineTuning) -> Iterator[Evidence]:
    """Show that U = V = 0 is stationary with a descent direction: gradient descent must not start there."""
    d, k = instance.truth.d, instance.truth.k
    rounding = d * float(np.finfo(float).eps)
    zero = Parameters(U=np.zeros((d, k)), V=np.zeros((d, k)))
    steepest = float(np.linalg.norm(objective.residual.C, 2))
    curvature = float(directional_curvature(objective, zero, most_negative_direction(objective, zero)))
    yield Evidence(
        "numerical",
        instance.name,
        "smallest curvature at U = V = 0 over sigma_1(C - A S)",
        curvature / steepest,
        -1.0,
        "equal",
        30 * rounding,
        "the Hessian there is [[0, -G], [-G^T, 0]] per column; its eigenvalues are -+sigma_i; 30 d eps",
        rounding=rounding,
    )


def _wrong_metric(moments: Moments, rank: int) -> np.ndarray:
    return truncate(moments.W, rank)


CLAIM = Claim(
    id="FT-1",
    title="Fine-tuning is reduced-rank regression",
    statement=(
        "With $S$ positive definite the global minimum of fine-tuning over rank-$r$ shifts is $G_r S^{-1/2}$, "
        r"$G = (C - AS) S^{-1/2}$ and $G_r$ its truncated SVD; descent on $UV^\top$ reaches the same loss "
        "where it converges."
    ),
    source="reduced-rank regression (Izenman 1975); proof in docs/theory.md, FT-1",
    nature="theorem",
    assumptions=(TEST_FACTOR_OF_FULL_RANK,),
    check=check,
    controls=(
        Control(
            "mutated: the least-squares shift truncated without S^{1/2}",
            partial(check, form=_wrong_metric),
            carry("generic", 10, 1, 3),
        ),
        Control(
            "mutated: adapters of rank r + 1",
            partial(check, form=lambda m, r: reduced_rank_regression(m, r + 1)),
            carry("generic", 10, 1, 3),
        ),
        Control(
            "near miss: a shift 10^-6 too large",
            partial(check, form=lambda m, r: slightly_more(reduced_rank_regression(m, r), 10**6)),
            carry("generic", 10, 1, 3),
            key=LEAST,
        ),
    ),
    instances=up_to(20),
    keys=(CERTIFIED, LEAST),
)
