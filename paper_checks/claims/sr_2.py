"""SR-2: the residual after standard retraining has rank k(T+1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from loraml_theory.adapters import Parameters
from loraml_theory.closed_forms import spectral_recovery, standard_retraining
from loraml_theory.moments import population
from loraml_theory.objectives import FineTuning
from loraml_theory.solvers import newton
from loraml_theory.spectra import congruence_floor, rounding_level
from loraml_theory.structure import Array, GroundTruth, joint_factor
from paper_checks.claim import Claim, Control, Profile
from paper_checks.evidence import exact_evidence
from paper_checks.evidence.assumptions import ALL_TASKS_INDEPENDENT
from paper_checks.evidence.at_scale import Statement, at_scale
from paper_checks.evidence.drawn import carry, with_integers
from paper_checks.evidence.evidence import Evidence
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.measure import inertia_evidence, rounding
from sims.ensembles.ensembles import Ensemble
from sims.ensembles.masks import Masks, inertia_masks, masks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from loraml_theory.exact import Rationals


RANK = r"rank of $W_{T+1} - A_{\mathrm{SR}}$"

Signs = Callable[[int, int], tuple[int, int]]
"""Maps (k, T) to the numbers of positive and negative eigenvalues."""


def _signs(k: int, T: int) -> tuple[int, int]:
    return k, k * T


def residual(truth: GroundTruth) -> Array:
    """Return ``W_{T+1} - A_SR`` of the population, ``(..., d, d)``."""
    return truth.W_test - standard_retraining(population(truth.W_retraining))


def exact_residual(instance: Instance) -> Rationals | None:
    """Return ``W_{T+1} - A_SR`` over Q where the instance is known exactly."""
    truth = exact_evidence.over_rationals(instance)
    if truth is None:
        return None
    from loraml_theory.exact import standard_retraining as exactly

    return truth.W_test - exactly(truth.W_retraining)


def congruence(truth: GroundTruth) -> tuple[Array, float]:
    """Return F, ``(..., d, k(T+1))``, and the smallest |D| of the proof, ``W_{T+1} - A_SR = F D F^T``, D diagonal."""
    return joint_factor(truth.U_star), 1 / truth.T


def check(instance: Instance, _profile: Profile, *, inertia: Signs = _signs) -> Iterator[Evidence]:
    """Count the residual's positive and negative eigenvalues; reach the floor of symmetric fine-tuning."""
    truth = instance.truth
    M, k, T = residual(truth), truth.k, truth.T
    factor, smallest = congruence(truth)
    predicted = inertia(k, T)
    what = "W_{T+1} - A_SR"
    yield from inertia_evidence(instance, what, M, factor=factor, smallest=smallest, predicted=predicted, key=RANK)
    if truth.d <= 12:
        yield _symmetric_floor(instance, M)
    exactly = exact_residual(instance)
    if exactly is not None:
        yield from exact_evidence.signs(instance, what, exactly, predicted, key=RANK)


def _symmetric_floor(instance: Instance, M: np.ndarray) -> Evidence:
    """Fine-tune with U U^T of full rank by Newton: half the squared negative eigenvalues remain."""
    truth = instance.truth
    floor = float(np.sum(np.minimum(np.linalg.eigvalsh((M + M.T) / 2), 0) ** 2)) / 2
    start = np.sqrt(np.linalg.norm(M)) * instance.rng("symmetric start").standard_normal((truth.d, truth.d)) / truth.d
    objective = FineTuning(population(truth.W_test), truth.W_test - M)
    end = newton(objective, Parameters(U=start), relative_tolerance=1e-10)
    whole = float(np.linalg.norm(M) ** 2) / 2
    left = 1e-13 + rounding(instance) / float(np.linalg.norm(M))
    return Evidence(
        "numerical",
        instance.name,
        "loss left by symmetric fine-tuning U U^T of rank d, over the loss of the base",
        float(end.value) / whole,
        floor / whole,
        "equal",
        100 * left,
        "100 times what Newton leaves: from a relative gradient of 1e-10, u^3 where the minimum is degenerate, some "
        "1e-13 = u^4; and rounding of max||W_t||_F over ||W_{T+1} - A_SR||_F",
        decidable=bool(end.converged),
        rounding=left,
    )


def has_inertia(A_star: Array, U_star: Array, *, inertia: Signs = _signs) -> Masks:
    """Count the signs of every structure's residual."""
    truth = GroundTruth(A_star, U_star)
    cut = rounding_level(truth.scale, truth.d)
    return masks(*inertia_masks(residual(truth), cut, congruence_floor(*congruence(truth)), inertia(truth.k, truth.T)))


INERTIA = Statement(
    "W_{T+1} - A_SR has inertia (k, kT)",
    has_inertia,
    (
        Ensemble("generic", 10, 1, 3),
        Ensemble("asymmetric", 12, 2, 4),
        Ensemble("scaled", 12, 1, 5),
        Ensemble("generic", 20, 3, 5),
    ),
)


def figure(ax: Axes, instance: Instance) -> None:
    """Draw the singular values of the residual from both bases."""
    truth = instance.truth
    ax.semilogy(*_visible(residual(truth)), "o-", label="standard retraining")
    if truth.T >= 3 and 3 * truth.k <= truth.d:
        base = spectral_recovery(truth.W_retraining, truth.k).A
        ax.semilogy(*_visible(truth.W_test - base), "s--", label="LoRA-ML")
    ax.axvline(truth.k * (truth.T + 1) + 0.5, color="0.6", lw=1)
    ax.text(truth.k * (truth.T + 1) + 0.4, ax.get_ylim()[1], "k(T+1) ", ha="right", va="top", color="0.4")
    ax.set(xlabel="index", ylabel="singular value of $W_{T+1}-\\hat A$")
    ax.legend(frameon=False)


def _visible(M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values = np.linalg.svd(M, compute_uv=False)
    return np.arange(1, values.size + 1), np.maximum(values, 1e-17 * values[0])


CLAIM = Claim(
    id="SR-2",
    title="Standard retraining needs rank $k(T+1)$",
    statement=(
        r"$W_{T+1} - A_{\mathrm{SR}} = R_{T+1}^\star - \frac1T \sum_t R_t^\star$ has exactly $k$ positive and "
        "$kT$ negative eigenvalues, hence rank $k(T+1)$: adapters of any smaller rank cannot reach the test "
        r"task. Symmetric adapters $UU^\top$ reach it at no rank."
    ),
    source="arXiv 2410.22264v1, Theorem 1 with Corollary 1; proof in docs/theory.md, SR-2",
    nature="theorem",
    assumptions=(ALL_TASKS_INDEPENDENT,),
    check=check,
    controls=(
        Control(
            "mutated: rank kT, inertia (k, k(T-1))",
            partial(check, inertia=lambda k, T: (k, k * (T - 1))),
            carry("generic", 10, 1, 3),
        ),
        Control(
            "near miss: a negative eigenvalue fewer",
            partial(check, inertia=lambda k, T: (k, k * T - 1)),
            carry("generic", 10, 1, 3),
            key=RANK,
        ),
        Control(
            "mutated: signs exchanged, inertia (kT, k)",
            partial(check, inertia=lambda k, T: (k * T, k)),
            carry("generic", 10, 1, 3),
        ),
        Control("broken assumption: k(T+1) > d", check, carry("generic", 10, 3, 3), on_given=False),
        Control("broken assumption: a repeated task", check, carry("repeated-task", 10, 1, 3), on_given=False),
    ),
    instances=with_integers,
    at_scale=at_scale(
        INERTIA, controls={"rank kT in place of k(T+1)": INERTIA.mutated(inertia=lambda k, T: (k, k * (T - 1)))}
    ),
    figure=figure,
    keys=(RANK,),
)
