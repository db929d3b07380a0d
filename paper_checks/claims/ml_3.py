"""ML-3: with three tasks or more every minimiser is the truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from math import inf

import numpy as np

from loraml_theory import zoo
from loraml_theory.adapters import Parameters
from loraml_theory.closed_forms import spectral_recovery
from loraml_theory.excess_rank import family_point
from loraml_theory.landscape import curvature, gauge_dimension
from loraml_theory.libraries import array_namespace
from loraml_theory.moments import population
from loraml_theory.objectives import ProjectedLoRAML
from loraml_theory.structure import Array, GroundTruth, frobenius, transpose
from paper_checks.claim import Beyond, Claim, Control, Profile
from paper_checks.evidence import exact_evidence, theorems
from paper_checks.evidence.assumptions import SOME_TRIPLE_INDEPENDENT, THREE_TASKS
from paper_checks.evidence.at_scale import Statement, at_scale
from paper_checks.evidence.drawn import carry, with_integers
from paper_checks.evidence.evidence import Evidence, Note
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.measure import zero_evidence
from paper_checks.evidence.minimisers import (
    AMPLIFICATION,
    Minimiser,
    Points,
    all_minimisers,
    asserted_condition,
    minimiser,
    orbit_point,
    smallest_shift,
    solve_each,
)
from sims.ensembles.ensembles import Ensemble, starts
from sims.ensembles.masks import Masks, masks

APART = r"distance of a minimiser's base from $A^\star$, over $\max_t \|W_t\|_F$"
PROVED = "largest $k$ up to which recovery is proved for all independent structures"
LARGEST_HESSIAN = 1280  # unknowns: some seconds for whole numbers, 20 for floats taken as exact


def check(instance: Instance, profile: Profile, *, points: Points = all_minimisers) -> Iterator[Evidence | Note]:
    """Measure the distance of every known global minimiser from the truth, and check that the truth is isolated."""
    truth = instance.truth
    condition, scale = float(asserted_condition(truth)), float(truth.retraining_scale)
    for point in points(instance, profile):
        if isinstance(point, Note):
            yield point
            continue
        if point.A is truth.A_star:
            continue  # the truth against itself; that it is isolated is checked below
        first_order = 10 * condition * point.misfit < smallest_shift(truth)  # otherwise the bound on the base is void
        slack = 10 * np.sqrt(truth.T) * point.misfit / scale if first_order else inf
        U = point.U
        shifts = U @ np.swapaxes(U, -1, -2) - truth.R[:-1]
        yield zero_evidence(
            instance,
            f"||A - A*||_F / max||W_t||_F at {point.origin}",
            np.linalg.norm(point.A - truth.A_star) / scale,
            condition=condition,
            slack=slack,
        ).of(APART)
        yield zero_evidence(
            instance,
            f"max_t ||U_t U_t^T - R_t*||_F / max||W_t||_F at {point.origin}",
            np.max(np.linalg.norm(shifts, axis=(-2, -1))) / scale,
            condition=2 * condition,
            slack=slack,
        )
    if truth.T * truth.d * truth.k <= 120:
        yield _isolated(instance, condition)
    yield from _exact(instance)


def _exact(instance: Instance) -> Iterator[Evidence | Note]:
    """Decide over Q that the W_t leave a single base, that it is A*, and that the truth is isolated in its orbit."""
    truth = exact_evidence.over_rationals(instance)
    if truth is None:
        return
    from loraml_theory.exact import hessian, pins_base, rank, recover

    W, k = truth.W_retraining, truth.k
    pinned = pins_base(W, k)
    what = "a triple whose W_t leave no base of zero loss but one (the proof's linear system over Q), 1 for yes"
    yield exact_evidence.evidence(instance, what, int(pinned), 1)
    if pinned:
        yield exact_evidence.zero(instance, "A - A*, A recovered from the W_t", recover(W, k) - truth.A_star).of(APART)
    unknowns = truth.T * truth.d * k
    if unknowns <= LARGEST_HESSIAN:
        nullity = unknowns - rank(hessian(truth.U_retraining, truth.U_retraining))
        what = "nullity over Q of the Hessian at the truth"
        yield exact_evidence.evidence(instance, what, nullity, gauge_dimension(k, truth.T))
    else:
        said = f"exact evidence omitted, the Hessian's nullity: T d k = {unknowns} > {LARGEST_HESSIAN}"
        yield Note(instance.name, said)


def _isolated(instance: Instance, condition: float) -> Evidence:
    """Count the Hessian's zero eigenvalues at the truth: only those of U_t -> U_t Q_t, so no minimiser is near."""
    truth = instance.truth
    balanced = truth.U_retraining / np.linalg.norm(truth.U_retraining, axis=(-2, -1), keepdims=True)
    W = balanced @ np.swapaxes(balanced, -1, -2)  # the Hessian does not depend on A*
    spectrum = curvature(ProjectedLoRAML(population(W)), Parameters(U=balanced))
    cut = 1e3 * spectrum.size * float(np.finfo(float).eps) * spectrum[-1]
    return Evidence(
        "numerical",
        instance.name,
        "zero eigenvalues of the Hessian at the truth, factors scaled to norm 1",
        int(np.sum(spectrum < cut)),
        gauge_dimension(truth.k, truth.T),
        "equal",
        0.0,
        "counted below 10^3 roundings of the largest; T k(k-1)/2 belong to U_t -> U_t Q_t",
        decidable=float(np.min(np.linalg.svd(balanced, compute_uv=False))) ** 2 > 1e-6 * condition,
    )


def _second_minimiser(instance: Instance, _profile: Profile) -> Iterator[Minimiser | Note]:
    """Yield the other minimiser of the dependent construction (`zoo.second_minimiser`, drawn again from the seed)."""
    rng = np.random.default_rng([instance.seed, 0])
    truth, A, U = zoo.second_minimiser(rng, instance.truth.d, instance.truth.k, instance.truth.T)
    yield minimiser("the second minimiser", truth, A, U)


def dependent(d: int, k: int, T: int, seed: int) -> Instance:
    """Draw an instance with the second minimiser that `_second_minimiser` yields."""
    truth, _, _ = zoo.second_minimiser(np.random.default_rng([seed, 0]), d, k, T)
    return Instance(f"dependent d={d} k={k} T={T}", truth, seed)


def _orbit(instance: Instance, _profile: Profile) -> Iterator[Minimiser | Note]:
    yield orbit_point(instance)


def _repeated(instance: Instance, _profile: Profile) -> Iterator[Minimiser | Note]:
    """Yield the orbit point of the first two tasks, carried over to their repetitions."""
    truth = instance.truth
    pair = orbit_point(Instance(instance.name, truth.with_tasks([0, 1]), instance.seed))
    U = np.stack([pair.U[t % 2] for t in range(truth.T)])
    yield minimiser("the orbit point of the two distinct tasks", truth, pair.A, U)


def _wider(instance: Instance, _profile: Profile, *, share: float = 1.0) -> Iterator[Minimiser | Note]:
    """Yield the minimiser with adapters of rank k + 1 that moves a rank-one matrix from the base to all adapters."""
    truth = instance.truth
    size = np.sqrt(share * float(truth.retraining_scale) / truth.d)
    v = size * instance.rng("wider").standard_normal((truth.d, 1))
    yield minimiser(
        "a minimiser with adapters of rank k + 1", truth, *family_point(truth.A_star, truth.U_retraining, v)
    )


def is_recovered(A_star: Array, U_star: Array, *, factor: float = 1.0) -> Masks:
    """Compare base, times `factor`, and shifts of the spectral form with the truth (ML-6)."""
    truth = GroundTruth(A_star, U_star)
    found = spectral_recovery(truth.W_retraining, truth.k)
    tolerance = AMPLIFICATION * float(array_namespace(A_star).finfo(A_star.dtype).eps) * found.condition
    return masks(_is_truth(truth, factor * found.A, found.U, tolerance), ~(tolerance < 1e-3))


def is_the_truth(A_star: Array, U_star: Array, start: Array) -> Masks:
    """Compare the minimiser that Newton finds from a start with the truth."""
    truth = GroundTruth(A_star, U_star)
    end = solve_each(truth, start)
    eps = float(array_namespace(A_star).finfo(A_star.dtype).eps)
    slack = 100 * truth.d * eps + 10 * truth.T**0.5 * end.misfit / truth.retraining_scale
    tolerance = asserted_condition(truth) * slack
    success = _is_truth(truth, end.base, end.U, tolerance, of_shifts=2)
    return masks(success, ~(tolerance < 1e-3), end.unconverged, end.elsewhere)


def _is_truth(truth: GroundTruth, A: Array, U: Array, tolerance: Array, *, of_shifts: float = 1) -> Array:
    """Return whether A and all ``U_t U_t^T`` are within a tolerance, over max||W_t||_F, of A* and R_t*."""
    apart = array_namespace(A).max(frobenius(U @ transpose(U) - truth.R[..., :-1, :, :]), axis=-1)
    scale = truth.retraining_scale
    return (frobenius(A - truth.A_star) <= tolerance * scale) & (apart <= of_shifts * tolerance * scale)


THREE, FOUR = Ensemble("generic", 10, 1, 3), Ensemble("asymmetric", 12, 2, 4)
SPECTRAL = Statement(
    "base and shifts of the spectral form are the truth to rounding",
    is_recovered,
    (THREE, FOUR, Ensemble("generic", 10, 3, 3)),
)
RANDOM = Statement(
    "the minimiser Newton finds from a random start is the truth", is_the_truth, (THREE, FOUR), "ml_3", starts
)

every_structure = partial(theorems.every_independent_structure, PROVED)

CLAIM = Claim(
    id="ML-3",
    title="Three tasks or more: exact recovery",
    statement=(
        r"If some three of $U_1^\star, \ldots, U_T^\star$ are jointly independent, every global minimiser of "
        r"LoRA-ML has $A = A^\star$ and $U_t U_t^\top = R_t^\star$: rank $k$ is enough to fine-tune."
    ),
    source="arXiv 2410.22264v1, Theorem 3; proof in docs/theory.md, ML-3",
    nature="theorem",
    assumptions=(THREE_TASKS, SOME_TRIPLE_INDEPENDENT),
    check=check,
    controls=(
        Control("mutated: adapters of rank k + 1", partial(check, points=_wider), carry("generic", 10, 1, 3)),
        Control(
            "near miss: adapters of rank k + 1 that share a matrix of 10^-9",
            partial(check, points=partial(_wider, share=1e-9)),
            carry("generic", 10, 1, 3),
            key=APART,
        ),
        Control(
            "broken assumption: T = 2",
            partial(check, points=_orbit),
            carry("generic", 10, 1, 2),
            on_given=False,
        ),
        Control(
            "broken assumption: a repeated task",
            partial(check, points=_repeated),
            carry("repeated-task", 10, 1, 3),
            on_given=False,
        ),
        Control(
            "broken assumption: k = 2, all of U_3* in span[U_1*, U_2*]",
            partial(check, points=_second_minimiser),
            lambda seed: dependent(10, 2, 3, seed),
            on_given=False,
        ),
    ),
    instances=with_integers,
    at_scale=at_scale(
        SPECTRAL,
        RANDOM,
        controls={
            "a base 10^-9 off": replace(SPECTRAL, options={"factor": 1 + 1e-9}),
            "broken assumption, a repeated task": replace(RANDOM, ensembles=(Ensemble("repeated-task", 10, 1, 3),)),
        },
    ),
    for_all=Beyond(
        every_structure,
        controls=(
            ("a proof with one coefficient changed", partial(every_structure, change=theorems.change_coefficient)),
            ("a proof with one index changed", partial(every_structure, change=theorems.change_index)),
        ),
    ),
    keys=(APART, PROVED),
)
