"""SR-1: the closed form of standard retraining."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from loraml_theory.adapters import Parameters
from loraml_theory.closed_forms import standard_retraining
from loraml_theory.landscape import curvature
from loraml_theory.moments import Moments, from_samples, population
from loraml_theory.objectives import StandardRetraining
from loraml_theory.solvers import newton
from loraml_theory.structure import GroundTruth
from paper_checks.claim import Claim, Control, Profile
from paper_checks.evidence import exact_evidence
from paper_checks.evidence.drawn import carry, with_integers
from paper_checks.evidence.evidence import Evidence
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.measure import zero_evidence
from paper_checks.evidence.resolution import slightly_more

APART = r"distance of Newton's minimiser from $A^\star + \frac1T \sum_t R_t^\star$, over $\max_t \|W_t\|_F$"


def _truth_formula(truth: GroundTruth) -> np.ndarray:
    return truth.A_star + np.mean(truth.R[:-1], axis=0)


def _unweighted(moments: Moments) -> np.ndarray:
    return standard_retraining(Moments(moments.S, moments.W, moments.noise, n=1.0))


def check(
    instance: Instance,
    _profile: Profile,
    *,
    formula: Callable[[GroundTruth], np.ndarray] = _truth_formula,
    pooled: Callable[[Moments], np.ndarray] = standard_retraining,
) -> Iterator[Evidence]:
    """Compare the formula with Newton's minimiser, and the sample form with least squares on stacked samples."""
    truth = instance.truth
    scale, expected = float(truth.scale), formula(truth)
    objective = StandardRetraining(population(truth.W_retraining))
    found = newton(objective, Parameters(A=truth.W_test), relative_tolerance=1e-14).parameters.A
    yield zero_evidence(
        instance,
        "||A_SR by Newton - (A* + mean_t R_t*)||_F / max||W_t||_F",
        np.linalg.norm(found - expected) / scale,
        condition=1.0,
    ).of(APART)
    gradient = objective.gradient(Parameters(A=expected)).A
    yield zero_evidence(
        instance,
        "||gradient at A* + mean_t R_t*||_F / (T max||W_t||_F)",
        np.linalg.norm(gradient) / (truth.T * scale),
        condition=1.0,
    )
    if truth.d <= 12:
        spectrum = curvature(objective, Parameters(A=expected))
        yield Evidence(
            "numerical",
            instance.name,
            "smallest eigenvalue of the Hessian (positive: the minimiser is unique)",
            float(spectrum[0]),
            float(truth.T),
            "equal",
            1e-14 * truth.d * truth.T,
            "the Hessian is T times the identity; 45 d eps",
            rounding=truth.d * truth.T * float(np.finfo(float).eps),
        )
    yield from _samples(instance, pooled)
    yield from _exact(instance, formula)


def _exact(instance: Instance, formula: Callable[[Any], np.ndarray]) -> Iterator[Evidence]:
    """Evaluate the same formula over Q: the gradient vanishes there, and the loss grows as a positive definite form."""
    truth = exact_evidence.over_rationals(instance)
    if truth is None:
        return
    from loraml_theory.exact import rationals

    A, W, T = formula(truth), truth.W_retraining, truth.T
    what = "gradient sum_t (A - W_t) at A* + mean_t R_t*"
    yield exact_evidence.zero(instance, what, np.sum(A - W, axis=0)).of(APART)
    step = rationals(instance.rng("step").integers(-3, 4, A.shape))
    growth = np.sum((A + step - W) ** 2) - np.sum((A - W) ** 2) - T * np.sum(step**2)
    what = "sum_t ||A + D - W_t||_F^2 - sum_t ||A - W_t||_F^2 - T ||D||_F^2 for a drawn D: the minimiser is unique"
    yield exact_evidence.zero(instance, what, np.asarray(growth))


def _samples(instance: Instance, pooled: Callable[[Moments], np.ndarray]) -> Iterator[Evidence]:
    """Draw unequal samples of every task and solve the stacked least-squares problem by QR."""
    truth, rng = instance.truth, instance.rng("samples")
    sizes = [3 * truth.d + 7 * t for t in range(truth.T)]
    X = [rng.standard_normal((truth.d, n)) for n in sizes]
    noise = 0.01 * float(truth.scale)
    Y = [W @ x + noise * rng.standard_normal(x.shape) for W, x in zip(truth.W_retraining, X, strict=True)]
    parts = [from_samples(x, y) for x, y in zip(X, Y, strict=True)]
    moments = Moments(
        np.stack([p.S for p in parts]),
        np.stack([p.W for p in parts]),
        np.stack([p.noise for p in parts]),
        n=tuple(map(float, sizes)),
    )
    stacked = np.concatenate(X, axis=1)
    expected = np.linalg.lstsq(stacked.T, np.concatenate(Y, axis=1).T, rcond=None)[0].T
    yield zero_evidence(
        instance,
        "||(sum_t N_t C_t)(sum_t N_t S_t)^-1 - least squares on all samples||_F / max||W_t||_F, "
        f"N_t = {sizes[0]}..{sizes[-1]}",
        np.linalg.norm(pooled(moments) - expected) / float(truth.scale),
        condition=float(np.linalg.cond(stacked)) ** 2,
    )


CLAIM = Claim(
    id="SR-1",
    title="Closed form of standard retraining",
    statement=(
        r"The unique population minimiser of standard retraining is $A_{\mathrm{SR}} = A^\star + \frac1T "
        r"\sum_t R_t^\star$. From samples it is $(\sum_t N_t C_t)(\sum_t N_t S_t)^{-1}$ where $\sum_t N_t S_t$ "
        "is positive definite."
    ),
    source="arXiv 2410.22264v1, Theorem 1 with Corollary 1; proof in docs/theory.md, SR-1",
    nature="theorem",
    assumptions=(),
    check=check,
    controls=(
        Control(
            "mutated: A* + (1/(T+1)) sum_t R_t*",
            partial(check, formula=lambda truth: truth.A_star + np.sum(truth.R[:-1], axis=0) / (truth.T + 1)),
            carry("generic", 10, 1, 3),
        ),
        Control(
            "mutated: A* + sum_t R_t*",
            partial(check, formula=lambda truth: truth.A_star + np.sum(truth.R[:-1], axis=0)),
            carry("generic", 10, 1, 3),
        ),
        Control(
            "mutated: tasks with unequal N_t weighted equally",
            partial(check, pooled=_unweighted),
            carry("generic", 10, 1, 3),
        ),
        Control(
            "near miss: 10^-9 too large",
            partial(check, formula=lambda truth: slightly_more(_truth_formula(truth))),
            carry("generic", 10, 1, 3),
            key=APART,
        ),
    ),
    instances=with_integers,
    keys=(APART,),
)
