"""CL-7: what a task that was learnt exactly loses, and whether inputs apart protect it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from loraml_theory.adapters import Parameters
from loraml_theory.continual.chains import descent, forgotten, loss_matrix, minimum_norm, orthogonal
from loraml_theory.continual.descents import Method, factor_descent
from loraml_theory.moments import Moments
from paper_checks.claim import Assumption, Claim, Control, Finding, Profile
from paper_checks.evidence import exact_evidence
from paper_checks.evidence.chains import LARGEST_DESCENT, NEAR_MISS, chain, loss, over_q, singular_inputs, unit
from paper_checks.evidence.drawn import carry, with_integers
from paper_checks.evidence.evidence import Evidence, Note
from paper_checks.evidence.instance import Instance

FORGOTTEN = r"mean forgetting $F_j$ of steps of least norm, inputs overlapping, over $\frac12$ mean $\|R_t^\star\|_F^2$"
APART = r"forgetting where inputs are orthogonal, over $\frac12$ mean $\|R_t^\star\|_F^2$"
TILT = 1e-5  # angle of the near miss

ENOUGH_ROOM: Assumption[Instance] = Assumption(
    r"$d \ge 2T$, so that each task has inputs of its own (measured: $d/T$)",
    lambda i: Finding(i.truth.d >= 2 * i.truth.T, i.truth.d / i.truth.T),
)


class Mutation(NamedTuple):
    """What a control changes.

    Parameters
    ----------
    tilt
        Angle by which the inputs of each task overlap the next one's.
    method
        How pairs are trained.
    random_rows
        Whether a fresh lora_A is drawn without regard to the inputs.
    displaced
        Relative displacement of the predicted forgetting.
    """

    tilt: float = 0.0
    method: Method = "incremental"
    random_rows: bool = False
    displaced: float = 0.0


RIGHT = Mutation()


def check(instance: Instance, _profile: Profile, *, mutation: Mutation = RIGHT) -> Iterator[Evidence | Note]:
    """Compare what is lost with the sum of later updates; descend on orthogonal inputs, and learn task 1 again."""
    yield from _overlapping(instance, mutation.displaced)
    yield from _apart(instance, mutation)
    yield from _exact(instance, mutation)


def _overlapping(instance: Instance, displaced: float) -> Iterator[Evidence | Note]:
    """Take steps of least norm on inputs of low rank that overlap; then task 1 again."""
    truth = instance.truth
    moments = chain(instance, singular_inputs(instance, truth.d // 2))
    ends = minimum_norm(moments, truth.A_star)
    lost = forgotten(loss_matrix(moments, truth.A_star, ends))
    apart = ends[-1] - ends[:-1]
    predicted = np.sum((apart @ moments.S[:-1]) * apart, axis=(-2, -1)) / 2
    what = "mean forgetting of steps of least norm, inputs overlapping"
    formula = float(np.mean(predicted)) * (1 + displaced)
    yield loss(instance, what, float(np.mean(lost)), formula, condition=1e3, key=FORGOTTEN)
    order = np.array([0, 1, 0])
    again = Moments(moments.S[order], moments.W[order], moments.noise[order], moments.n)
    seen = forgotten(loss_matrix(again, truth.A_star, minimum_norm(again, truth.A_star)))
    yield loss(instance, "forgetting of task 1 after tasks 1, 2, 1", float(seen[0]), 0.0, condition=1e3)
    rows = forgotten(loss_matrix(moments, truth.A_star, orthogonal(moments, truth.A_star, truth.d)))
    what = "mean forgetting with orthogonal rows, inputs overlapping"
    ours, least = (float(np.mean(each)) / unit(instance) for each in (rows, lost))
    yield Note(instance.name, f"{what}: {ours:.3g} of 1/2 mean||R_t||^2; of steps of least norm {least:.3g}")


def apart_inputs(instance: Instance, tilt: float) -> tuple[np.ndarray, np.ndarray]:
    """Return second moments whose ranges are orthogonal up to a tilt, ``(T, d, d)``, and bases ``(T, d, d // T)``."""
    d, T = instance.truth.d, instance.truth.T
    size = d // T
    Q = np.linalg.qr(instance.rng("frame").standard_normal((d, d)))[0][:, : size * T]
    bases = np.moveaxis(Q.reshape(d, T, size), 1, 0)
    bases = np.cos(tilt) * bases + np.sin(tilt) * np.roll(bases, 1, axis=0)
    S = (bases * np.linspace(0.5, 2, size)) @ bases.swapaxes(-1, -2)
    return (S + S.swapaxes(-1, -2)) / 2, bases


def _apart(instance: Instance, mutation: Mutation) -> Iterator[Evidence]:
    """Forget nothing: descent on the full shift, stopped early; steps of least norm; pairs that start in the range."""
    truth = instance.truth
    S, bases = apart_inputs(instance, mutation.tilt)
    moments = chain(instance, S)
    ends = {
        "descent on the full shift, 5 steps": descent(moments, truth.A_star, step_size=0.3, steps=5),
        "steps of least norm": minimum_norm(moments, truth.A_star),
    }
    if truth.d <= LARGEST_DESCENT:
        rng, r = instance.rng("rows"), min(truth.k, bases.shape[-1])
        wanted = np.sqrt(float(np.max(np.linalg.norm(truth.R[:-1], 2, axis=(-2, -1)))) / truth.d)
        rows = rng.standard_normal((truth.T, truth.d, r))
        V = rows if mutation.random_rows else bases @ rng.standard_normal((truth.T, bases.shape[-1], r))
        start = Parameters(U=np.zeros((truth.T, truth.d, r)), V=wanted * V)
        size = 0.02 / wanted**2 / truth.d
        name = f"20 steps on the factors, {mutation.method}"
        ends[name] = factor_descent(moments, truth.A_star, start, method=mutation.method, step_size=size, steps=20)
    for name, found in ends.items():
        lost = float(np.max(np.abs(forgotten(loss_matrix(moments, truth.A_star, found)))))
        yield loss(
            instance, f"largest forgetting where inputs are orthogonal: {name}", lost, 0.0, condition=10, key=APART
        )


def _exact(instance: Instance, mutation: Mutation) -> Iterator[Evidence]:
    """Train fresh pairs over Q, two steps each, on inputs that share no coordinate."""
    truth = over_q(instance)
    if truth is None or mutation.method != "incremental":
        return
    from flint import fmpq

    from loraml_theory.exact import rationals

    d, T, eta = truth.d, truth.T, fmpq(1, 50)
    size = d // T
    masks = [rationals([int(t * size <= i < (t + 1) * size) for i in range(d)]) for t in range(T)]
    rows = rationals(instance.rng("whole rows").integers(-2, 3, (T, d)))
    shift, ends = 0 * truth.R[0], []
    for t, mask in enumerate(masks):
        B, A, frozen = 0 * rows[0], rows[t] if mutation.random_rows else rows[t] * mask, shift
        for _ in range(2):
            shift = frozen + np.multiply.outer(B, A)
            G = (shift - truth.R[t]) * mask
            B, A = B - eta * (G @ A), A - eta * (G.T @ B)
        shift = frozen + np.multiply.outer(B, A)
        ends.append(shift)
    moved = np.stack([(ends[-1] - ends[j]) * masks[j] for j in range(T - 1)])
    yield exact_evidence.zero(instance, "(Delta_T - Delta_j) Sigma_j for fresh pairs on inputs apart", moved).of(APART)


CLAIM = Claim(
    id="CL-7",
    title="Inputs apart protect a task if updates stay where the inputs are",
    statement=(
        r"A task that was learnt exactly loses $F_j = \frac12 \|(\Delta_T - \Delta_j) \Sigma_j^{1/2}\|_F^2$: "
        r"nothing if and only if the sum of the later updates vanishes on the range of $\Sigma_j$. Where "
        r"$\Sigma_i \Sigma_j = 0$ for all later $i$, it loses nothing, learnt exactly or not, to descent on the "
        "full shift, to steps of least norm, and to fresh pairs whose $A$ starts in the range of the task's "
        "inputs; but it does to fresh pairs with a random $A$, and to one pair trained on."
    ),
    source="ours; proof in docs/forgetting.md, CL-7",
    nature="theorem",
    group="continual",
    assumptions=(ENOUGH_ROOM,),
    check=check,
    controls=(
        Control(
            "near miss: forgetting too large by 1e-9",
            partial(check, mutation=Mutation(displaced=NEAR_MISS)),
            carry("generic", 10, 1, 3),
        ),
        Control(
            "near miss: inputs that overlap by an angle of 1e-5",
            partial(check, mutation=Mutation(tilt=TILT)),
            carry("generic", 10, 1, 3),
        ),
        Control(
            "broken assumption: a random A",
            partial(check, mutation=Mutation(random_rows=True)),
            carry("generic", 10, 1, 3),
        ),
        Control(
            "broken assumption: one pair trained on",
            partial(check, mutation=Mutation(method="sequential")),
            carry("generic", 10, 1, 3),
        ),
    ),
    instances=with_integers,
    keys=(FORGOTTEN, APART),
)
