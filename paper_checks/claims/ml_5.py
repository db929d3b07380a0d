"""ML-5: with three tasks or more there are spurious local minima."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from loraml_theory.adapters import Parameters
from loraml_theory.closed_forms import best_rank_error, standard_retraining
from loraml_theory.landscape import curvature, gauge_dimension
from loraml_theory.moments import population
from loraml_theory.objectives import ProjectedLoRAML
from loraml_theory.solvers.base import gradient_norm
from loraml_theory.spectra import numerical_rank
from loraml_theory.structure import joint_factor
from paper_checks.claim import Claim, Control, Profile
from paper_checks.evidence import exact_evidence
from paper_checks.evidence.assumptions import THREE_TASKS
from paper_checks.evidence.derivatives import derivative_evidence
from paper_checks.evidence.drawn import carry, draw
from paper_checks.evidence.evidence import Evidence, Note
from paper_checks.evidence.forged import forged_evidence
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.minimisers import random_starts, solve, stationary
from paper_checks.evidence.resolution import slightly_more

FAR = 1e-4  # misfits above this, relative to max||W_t||_F, are not slow convergence to the global minimum
CLEARLY = 1e-3  # squared singular values of the joint factor above this, relative to max||W_t||_F, are independence

VALUE = "$f$ at a strict local minimum (0 at the global ones)"
RANK = "rank of $W_{T+1} - A$ there, for a new task that is independent of the others"
CURVATURE = r"least curvature there, across the orbit $U_t \to U_t Q_t$"

Candidate = Callable[[Instance, Profile], np.ndarray | None]


def search(instance: Instance, profile: Profile) -> np.ndarray | None:
    """Run Newton from random starts; return the lowest stationary end that is strict and far from 0, if any."""
    truth = instance.truth
    count = profile.starts * max(1, 1000 // (truth.T * truth.d * truth.k))
    solution, _, misfits = solve(instance, random_starts(instance, count))
    above = np.flatnonzero(stationary(solution, instance) & (misfits > FAR))
    objective = ProjectedLoRAML(population(truth.W_retraining))
    for i in above[np.argsort(solution.value[above])][:3]:
        U = solution.parameters.U[i]
        spectrum = curvature(objective, Parameters(U=U))
        if spectrum[gauge_dimension(truth.k, truth.T)] > 1e-9 * spectrum[-1]:
            return U
    return None


def check(instance: Instance, profile: Profile, *, candidate: Candidate = search) -> Iterator[Evidence | Note]:
    """Test whether a point is a strict spurious minimum: stationary, above the global minimum 0, Hessian positive."""
    U = candidate(instance, profile)
    if U is None:
        yield Evidence(
            "numerical",
            instance.name,
            "strict spurious minima from random starts",
            0,
            1,
            "at least",
            0,
            "a search that finds none is no proof of absence",
            decidable=False,
            decides=False,
        )
        return
    yield from derivative_evidence(instance)
    yield from _offered(instance, U)
    yield from _adaptable(instance, U)
    yield from _certified(instance, U)
    yield from forged_evidence(instance.name)


def _offered(instance: Instance, U: np.ndarray) -> Iterator[Evidence | Note]:
    """Judge a point: value above 0, stationary, the Hessian positive except along the orbit of U_t -> U_t Q_t."""
    truth = instance.truth
    objective, scale = ProjectedLoRAML(population(truth.W_retraining)), float(truth.retraining_scale)
    at = Parameters(U=U)
    eps = float(np.finfo(float).eps)
    yield Evidence(
        "numerical",
        instance.name,
        "f / max||W_t||_F^2 at the point (the global minimum is 0)",
        float(objective.value(at)) / scale**2,
        FAR**2 / 2,
        "at least",
        0.0,
        "far above rounding",
        key=VALUE,
    )
    yield Evidence(
        "numerical",
        instance.name,
        "||grad f|| / max||W_t||_F^{3/2} at the point",
        float(gradient_norm(objective, objective.gradient(at))) / scale**1.5,
        0.0,
        "equal",
        1e-12,
        "stationary to rounding",
    )
    spectrum = curvature(objective, at) / scale
    gauge = gauge_dimension(truth.k, truth.T)
    yield Evidence(
        "numerical",
        instance.name,
        f"eigenvalue {gauge + 1} of the Hessian / max||W_t||_F at the point ({gauge} belong to U_t -> U_t Q_t)",
        float(spectrum[gauge]),
        1e3 * spectrum.size * eps,
        "at least",
        0.0,
        "above the rounding of the Hessian by 10^3: strict minimum",
        key=CURVATURE,
    )
    yield Evidence(
        "numerical",
        instance.name,
        "smallest eigenvalue of the Hessian / max||W_t||_F",
        float(spectrum[0]),
        0.0,
        "at least",
        1e-10,
        "the gradient is 1e-12, not 0: zero eigenvalues of the orbit move by as much times the curvature's inverse, "
        "which is at most 100 for known minima",
    )
    yield Note(
        instance.name,
        f"f = {float(objective.value(at)):.7g}, eigenvalue {gauge + 1} of the Hessian {spectrum[gauge] * scale:.5g}",
    )


def _adaptable(instance: Instance, U: np.ndarray) -> Iterator[Evidence | Note]:
    """Measure what a new task needs from the base there; more than rank k if it is independent of the others."""
    truth, moments = instance.truth, population(instance.truth.W_retraining)
    residual = truth.W_test - ProjectedLoRAML(moments).base(Parameters(U=U))
    rank = int(numerical_rank(residual, np.asarray(1e-9 * float(truth.retraining_scale))).low)
    left, standard = (
        float(best_rank_error(M, truth.k)) for M in (residual, truth.W_test - standard_retraining(moments))
    )
    yield Note(
        instance.name,
        f"from the base there a new task needs rank {rank}, k = {truth.k}; rank k leaves a squared error of "
        f"{left:.3g}, after standard retraining {standard:.3g}",
    )
    joint = np.linalg.svd(joint_factor(truth.U_star), compute_uv=False)
    if truth.k * (truth.T + 1) <= truth.d and joint[-1] ** 2 > CLEARLY * float(truth.retraining_scale):
        what = "singular values of W_{T+1} - A above 10^-8 max||W_t||_F, A the base at the point"
        reason = "A - A* is not 0, and of the span of the retraining tasks"
        yield Evidence("numerical", instance.name, what, rank, truth.k + 1, "at least", 0.0, reason, key=RANK)


def _certified(instance: Instance, U: np.ndarray) -> Iterator[Evidence | Note]:
    """Prove that a strict spurious minimum lies near a point, for exactly the floats of the structure."""
    if not exact_evidence.available():
        return
    from loraml_theory.certified import certificate
    from loraml_theory.certified.prove import UnprovedError, prove
    from loraml_theory.exact import rationals

    try:
        proof = prove(rationals(instance.truth.U_retraining), U)
    except UnprovedError as problem:
        yield Note(instance.name, f"no spurious minimum is proved near the point: {problem}")
        return
    reason = "proved in ball arithmetic (Krawczyk, L D L^T); `loraml certify spurious` writes the proof as a file"
    value, curvature = exact_evidence.downward(proof.value[0]), exact_evidence.downward(proof.curvature)
    for what, bound, key in (
        ("f at a stationary point proved to be near (the global minimum is 0)", value, VALUE),
        ("the Hessian there, orthogonally to U_t -> U_t Q_t", curvature, CURVATURE),
    ):
        yield exact_evidence.evidence(
            instance, f"lower bound of {what}", bound, 0.0, relation="above", kind="certified", reason=reason
        ).of(key)
    made = certificate.document(proof, {"instance": instance.name, "seed": instance.seed})
    what = "certificate of the spurious minimum, for `loraml certify check`"
    yield Note(instance.name, what, certificate.dumps(made))


def _saddle(instance: Instance, _profile: Profile) -> np.ndarray:
    """Return the best point with one adapter kept at zero: stationary, not a minimum."""
    truth = instance.truth
    U = np.zeros_like(truth.U_retraining)
    M = (truth.W_retraining[0] - truth.W_retraining.mean(axis=0)) * truth.T / (truth.T - 1)
    values, vectors = np.linalg.eigh((M + M.T) / 2)
    U[0] = vectors[:, -truth.k :] * np.sqrt(np.maximum(values[-truth.k :], 0))
    return U


def _truth(instance: Instance, _profile: Profile) -> np.ndarray:
    return np.asarray(instance.truth.U_retraining)


def _beside(instance: Instance, profile: Profile) -> np.ndarray | None:
    """Return factors that are 10^-9 too large for a spurious minimum."""
    found = search(instance, profile)
    return None if found is None else np.asarray(slightly_more(found))


CLAIM = Claim(
    id="ML-5",
    title="Three tasks or more: spurious local minima exist",
    statement=(
        r"For $T \ge 3$ the population objective $f$ can have strict local minima with $f > 0$, though every "
        r"global minimiser is the truth; one instance at $d = 3$, $T = 3$, $k = 1$ settles every $d \ge 3$ by "
        "padding with zeros. At its base rank $k$ does not suffice for a new independent task."
    ),
    source="arXiv 2410.22264v1, Appendix D.2; proof in docs/theory.md, ML-5",
    nature="theorem",
    assumptions=(THREE_TASKS,),
    check=check,
    controls=(
        Control(
            "a saddle offered as a spurious minimum",
            partial(check, candidate=_saddle),
            carry("generic", 10, 1, 3),
            key=CURVATURE,
        ),
        Control(
            "a global minimiser offered as a spurious minimum",
            partial(check, candidate=_truth),
            carry("generic", 10, 1, 3),
            key=VALUE,
        ),
        Control(
            "near miss: a point 10^-9 beside a spurious minimum",
            partial(check, candidate=_beside),
            carry("spurious", 3, 1, 3),
        ),
    ),
    instances=lambda seed: [draw("spurious", 3, 1, 3, seed), draw("spurious", 10, 1, 3, seed)],
    keys=(VALUE, CURVATURE, RANK),
    existential=True,
)
