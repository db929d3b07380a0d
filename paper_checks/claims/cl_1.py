"""CL-1: converged sequential LoRA ends at the last task's shift."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from loraml_theory.adapters import Parameters, shift
from loraml_theory.continual.chains import descent, forgotten, loss_matrix, sequential
from loraml_theory.moments import Moments, population
from loraml_theory.objectives import FineTuning
from loraml_theory.solvers import newton
from loraml_theory.spectra import separation
from paper_checks.claim import Claim, Control, Profile
from paper_checks.evidence import exact_evidence
from paper_checks.evidence.chains import (
    LARGEST_DESCENT,
    NEAR_MISS,
    chain,
    loss,
    over_q,
    regular_inputs,
    same,
    shifts,
    singular_inputs,
    unit,
)
from paper_checks.evidence.drawn import carry, with_integers
from paper_checks.evidence.evidence import Evidence
from paper_checks.evidence.instance import Instance

FORGOTTEN = r"mean forgetting $F_j$ of converged sequential LoRA, over $\frac12$ mean $\|R_t^\star\|_F^2$"

FULL_RANK = 1e-3  # smallest singular value of a factor below which Newton's end is too inexact

Method = Callable[[Moments, np.ndarray, int], np.ndarray]


def check(
    instance: Instance,
    profile: Profile,
    *,
    method: Method = sequential,
    inputs: Callable[[Instance], np.ndarray] = regular_inputs,
    displaced: float = 0.0,
) -> Iterator[Evidence]:
    """Compare the end and the forgetting of the chain with the last shift, by the closed form and by Newton."""
    truth, R, S = instance.truth, shifts(instance), inputs(instance)
    apart = R[-1] - R[:-1]
    for name, moments in (("S = I", chain(instance)), ("S_t regular", chain(instance, S))):
        found = method(moments, truth.A_star, truth.k)
        yield same(instance, f"the last shift from R_T, {name}", found[-1], (1 + displaced) * R[-1], condition=4)
        weighed = np.sum((apart @ moments.S[:-1]) * apart, axis=(-2, -1)) / 2
        lost = float(np.mean(forgotten(loss_matrix(moments, truth.A_star, found))))
        predicted = (1 + displaced) * float(np.mean(weighed))
        yield loss(instance, f"mean forgetting, {name}", lost, predicted, condition=4, key=FORGOTTEN)
    if truth.d <= LARGEST_DESCENT:
        yield from _by_newton(instance, profile)
    yield from _zeroed(instance)


def _by_newton(instance: Instance, profile: Profile) -> Iterator[Evidence]:
    """Train one pair on two tasks, both factors changed in between: it ends where the second task wants it."""
    truth, R, rng = instance.truth, shifts(instance), instance.rng("pair")
    size = np.sqrt(np.linalg.norm(R, axis=(-2, -1)) / truth.d)
    U, V = size[0] * rng.standard_normal((2, profile.starts, truth.d, truth.k))
    first = newton(
        FineTuning(population(truth.W[0]), truth.A_star), Parameters(U=U, V=V), relative_tolerance=1e-10
    ).parameters
    noise = size[1] * rng.standard_normal((2, profile.starts, truth.d, truth.k))
    changed = Parameters(U=first.U / 2 + noise[0], V=3 * first.V[..., ::-1] + noise[1])
    second = newton(FineTuning(population(truth.W[1]), truth.A_star), changed, relative_tolerance=1e-10)
    end = shift(second.parameters)[int(np.argmin(second.value))]
    lost = float(np.linalg.norm(end - R[0]) ** 2) / 2
    yield Evidence(
        "numerical",
        instance.name,
        "what task 1 loses to task 2 by Newton, the factors changed in between, over 1/2 mean||R_t||^2",
        lost / unit(instance),
        float(np.linalg.norm(R[1] - R[0]) ** 2) / 2 / unit(instance),
        "equal",
        1e-9,
        "ten times the relative tolerance of the gradient, 1e-10: the loss of another task is linear in the error",
        decidable=bool(np.any(second.converged)) and float(np.min(separation(truth.U_star[:2, None]))) > FULL_RANK,
        rounding=1e-10,
    )


def _zeroed(instance: Instance) -> Iterator[Evidence]:
    """Descend over Q from factors in which one rank index is zero in both: it stays so."""
    truth = over_q(instance)
    if truth is None:
        return
    from flint import fmpq

    U, V = truth.U_star[0] / 2, truth.U_star[1] / 3
    U, V = np.concatenate([U, 0 * U[:, :1]], axis=1), np.concatenate([V, 0 * V[:, :1]], axis=1)
    for _ in range(2):
        G = U @ V.T - truth.R[1]
        U, V = U - fmpq(1, 100) * (G @ V), V - fmpq(1, 100) * (G.T @ U)
    what = "a rank index that starts at zero in both factors, after two steps of gradient descent"
    yield exact_evidence.zero(instance, what, np.stack([U[:, -1], V[:, -1]]))


def stopped(moments: Moments, base: np.ndarray, _rank: int) -> np.ndarray:
    """Return the chain of two steps of a small step size in place of converged ones."""
    return np.asarray(descent(moments, base, step_size=0.2, steps=2))


def output_side_frozen(moments: Moments, base: np.ndarray, rank: int) -> np.ndarray:
    """Return the chain in which B keeps task 1's columns and A alone is trained on: DEAL as released."""
    first = sequential(moments, base, rank)[0]
    left = np.linalg.svd(first)[0][:, :rank]
    return np.asarray(left @ left.T @ (moments.W - base))


CLAIM = Claim(
    id="CL-1",
    title=r"Converged sequential LoRA ends at the last task's shift",
    statement=(
        r"One pair of factors of rank $r \ge k$, both trained, that reaches the minimum of each task in turn ends "
        r"at $\Delta_T = R_T^\star$ for inputs of regular covariances $\Sigma_t$, and task $j$ loses $F_j = "
        r"\frac12 \|(R_T^\star - R_j^\star) \Sigma_j^{1/2}\|_F^2$. What is done to the factors between tasks has "
        "no effect as long as nothing acts in the forward pass and at least $k$ rank indices are not zero in "
        "both factors; an index that is zero in both stays so."
    ),
    source="ours, on sequential LoRA; proof in docs/forgetting.md, CL-1",
    nature="theorem",
    group="continual",
    assumptions=(),
    check=check,
    controls=(
        Control(
            "mutated: forgetting without the factor 1/2", partial(check, displaced=1.0), carry("generic", 10, 1, 3)
        ),
        Control(
            "near miss: end and forgetting too large by 1e-9",
            partial(check, displaced=NEAR_MISS),
            carry("generic", 10, 1, 3),
        ),
        Control("broken assumption: stopped early", partial(check, method=stopped), carry("generic", 10, 1, 3)),
        Control(
            "broken assumption: B frozen after task 1",
            partial(check, method=output_side_frozen),
            carry("generic", 10, 2, 3),
        ),
        Control(
            "broken assumption: singular inputs",
            partial(check, inputs=partial(singular_inputs, rank=5)),
            carry("generic", 10, 1, 3),
        ),
    ),
    instances=with_integers,
    keys=(FORGOTTEN,),
)
