"""ML-4: with two tasks every stationary point is a global minimum or has a descent direction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np

from loraml_theory.adapters import Parameters
from loraml_theory.landscape import directional_curvature, escape_direction, most_negative_direction
from loraml_theory.moments import population
from loraml_theory.objectives import ProjectedLoRAML
from loraml_theory.solvers import newton
from loraml_theory.solvers.base import gradient_norm
from loraml_theory.structure import GroundTruth
from paper_checks.claim import Claim, Control, Profile
from paper_checks.evidence import exact_evidence
from paper_checks.evidence.assumptions import TWO_TASKS
from paper_checks.evidence.derivatives import derivative_evidence
from paper_checks.evidence.drawn import carry, draw, with_integers
from paper_checks.evidence.evidence import Evidence, Note
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.minimisers import GLOBAL, random_starts, solve, stationary

TRAPPED = "stationary points above the minimum without a way down"
PROVED = "saddles whose way down is proved"


@dataclass(frozen=True)
class Stationary:
    """A point (U_1, .., U_T), ``(T, d, r)``, with a vanishing gradient."""

    origin: str
    U: np.ndarray


Points = Callable[[Instance, Profile], Iterator[Stationary | Note]]
WayDown = Callable[[Instance, np.ndarray], np.ndarray]


def _constructed_way_down(instance: Instance, U: np.ndarray) -> np.ndarray:
    return np.asarray(escape_direction(instance.truth.W_retraining, U).direction)


def _steepest_way_down(instance: Instance, U: np.ndarray) -> np.ndarray:
    """Return the Hessian's lowest eigenvector, for controls where the construction does not apply."""
    objective = ProjectedLoRAML(population(instance.truth.W_retraining))
    return np.asarray(most_negative_direction(objective, Parameters(U=U)).U)


def all_points(instance: Instance, profile: Profile) -> Iterator[Stationary | Note]:
    """Yield the constructed stationary points, and those that Newton reaches from random starts and near saddles."""
    yield from constructed(instance)
    saddles = [p.U for p in constructed(instance)]
    nearby = np.stack(saddles) + 1e-3 * np.stack(saddles).std() * instance.rng("nearby").standard_normal(
        (len(saddles), *saddles[0].shape)
    )
    starts = np.concatenate([random_starts(instance, profile.starts), nearby])
    solution, _, misfits = solve(instance, starts)
    still = stationary(solution, instance)
    yield Note(
        instance.name,
        f"{int((misfits <= GLOBAL).sum())} of {len(starts)} solver ends are global minima, "
        f"{int((~still).sum())} did not converge",
    )
    for i in np.flatnonzero(still):
        yield Stationary(f"solver end {i}", solution.parameters.U[i])


def constructed(instance: Instance) -> Iterator[Stationary]:
    """Yield stationary points in closed form: U_1, U_2 made of i positive and j negative eigenpairs of W_1 - W_2.

    Where d > 2k, the remaining columns are also filled with a vector of ker M that both factors share: the case of
    equal norms in the proof, which solvers do not reach.
    """
    truth, k = instance.truth, instance.truth.k
    M = truth.W_retraining[0] - truth.W_retraining[1]
    values, vectors = np.linalg.eigh((M + M.T) / 2)
    order = np.argsort(np.abs(values))
    shared = np.sqrt(np.abs(values).max()) * vectors[:, order[0]]
    for i, j in product(range(k + 1), repeat=2):
        if (i, j) == (k, k):
            continue
        U = np.zeros((2, truth.d, k))
        U[0, :, :i] = vectors[:, -i or truth.d :] * np.sqrt(np.maximum(values[-i or truth.d :], 0))
        U[1, :, :j] = vectors[:, :j] * np.sqrt(np.maximum(-values[:j], 0))
        yield Stationary(f"{i} positive and {j} negative eigenpairs", U)
        if truth.d > 2 * k and max(i, j) < k:
            U = U.copy()
            U[:, :, -1] = shared
            yield Stationary(f"{i} positive and {j} negative eigenpairs, a shared column in ker M", U)


def check(
    instance: Instance,
    profile: Profile,
    *,
    points: Points = all_points,
    way_down: WayDown = _constructed_way_down,
) -> Iterator[Evidence | Note]:
    """Classify stationary points as global minima or points with a verified escape direction; count the rest."""
    found = []
    for point in points(instance, profile):
        if isinstance(point, Note):
            yield point
        else:
            found.append(_descent(instance, point, way_down))
    cut = _rounding(instance)
    above = [d for d in found if d.misfit > GLOBAL]
    # theory makes the curvature of the order of the misfit, at worst of its square
    hidden = [d for d in above if d.curvature > -cut and d.misfit**2 <= 100 * cut]
    trapped = [d for d in above if d.curvature > -cut and d.misfit**2 > 100 * cut]
    still = all(d.gradient <= 1e-11 for d in found)
    reason = f"<v, Hv> / max||W_t||_F, evaluated by the Hessian-vector product, is negative below -{cut:.1e}"
    yield Evidence(
        "numerical",
        instance.name,
        f"stationary points, of {len(found)}, above the minimum and without a way down: "
        + (", ".join(d.origin for d in trapped) or "none"),
        len(trapped),
        0,
        "equal",
        0,
        f"global: misfit at most {GLOBAL:g} max||W_t||_F; " + reason,
        decidable=bool(trapped) or (bool(found) and still and not hidden),
        key=TRAPPED,
    )
    seen = [d.curvature for d in above if d not in hidden]
    if seen:
        what = f"largest <v, Hv> / max||W_t||_F along the way down over {len(seen)} points that are not global"
        yield Evidence("numerical", instance.name, what, max(seen), -cut, "at most", 0.0, reason, decidable=still)
    yield from derivative_evidence(instance)
    yield from _certified(instance, way_down)


def _certified(instance: Instance, way_down: WayDown) -> Iterator[Evidence | Note]:
    """Enclose stationary points that are not global in balls; bound the curvature along the descent direction."""
    truth = exact_evidence.over_rationals(instance)
    if truth is None or truth.T != 2:
        return
    from loraml_theory.certified.saddles import curvature_bound, saddles, value_bound
    from loraml_theory.exact import rank

    U_star = truth.U_retraining
    if rank(np.concatenate(list(U_star), axis=1)) < 2 * truth.k:
        yield Note(
            instance.name, "no stationary points enclosed, which needs independent U_1*, U_2*; the claim does not"
        )
        return
    try:
        enclosed = saddles(U_star)
    except ValueError as problem:
        yield Note(instance.name, f"no stationary points enclosed: {problem}")
        return
    bounds = [curvature_bound(U_star, s.U, way_down(instance, s.midpoint)) for s in enclosed]
    proved = sum(value_bound(U_star, s.U) > 0 > bound for s, bound in zip(enclosed, bounds, strict=True))
    yield exact_evidence.evidence(
        instance,
        "stationary points enclosed in balls, with g > 0, at which <v, Hv> < 0 is proved along the way down",
        proved,
        len(enclosed),
        kind="certified",
        reason="ball arithmetic: the bounds hold for the true point",
    ).of(PROVED)
    yield Note(
        instance.name,
        f"certified: <v, Hv> / ||v||^2 <= {exact_evidence.upward(max(bounds)):.6g} at all {len(enclosed)} points",
    )


@dataclass(frozen=True)
class Descent:
    """A stationary point's misfit, gradient and curvature along its descent direction, over powers of max||W_t||_F."""

    origin: str
    misfit: float
    gradient: float
    curvature: float


def _descent(instance: Instance, point: Stationary, way_down: WayDown) -> Descent:
    """Measure a point; where the construction shows no descent above rounding, try the lowest eigenvector."""
    objective, scale = ProjectedLoRAML(population(instance.truth.W_retraining)), float(instance.truth.retraining_scale)
    at = Parameters(U=point.U)
    gradient = float(gradient_norm(objective, objective.gradient(at))) / scale**1.5
    misfit = float(np.sqrt(2 * objective.value(at))) / scale
    curvature = np.nan
    if misfit > GLOBAL:
        curvature = _curvature(objective, at, way_down(instance, point.U)) / scale
        if curvature > -_rounding(instance) and point.U.size <= 400:
            curvature = min(curvature, _curvature(objective, at, _steepest_way_down(instance, point.U)) / scale)
    return Descent(point.origin, misfit, gradient, curvature)


def _curvature(objective: ProjectedLoRAML, at: Parameters, direction: np.ndarray) -> float:
    return float(directional_curvature(objective, at, Parameters(U=direction)))


def _rounding(instance: Instance) -> float:
    """Return the rounding of ``<v, Hv> / max||W_t||_F``."""
    return 10 * instance.truth.d * float(np.finfo(float).eps)


def _narrow(instance: Instance, _profile: Profile) -> Iterator[Stationary | Note]:
    """Yield the best adapters of rank k - 1: the leading k - 1 eigenpairs on either side."""
    truth, r = instance.truth, instance.truth.k - 1
    M = truth.W_retraining[0] - truth.W_retraining[1]
    values, vectors = np.linalg.eigh((M + M.T) / 2)
    U = np.stack([vectors[:, -r:] * np.sqrt(values[-r:]), vectors[:, :r] * np.sqrt(-values[:r])])
    yield Stationary("the best adapters of rank k - 1", U)


def _nearly_narrow(seed: int) -> Instance:
    """Draw two tasks of k = 2 whose second directions are so small that rank 1 nearly reaches them."""
    drawn = draw("generic", 12, 2, 2, seed)
    truth = GroundTruth(drawn.truth.A_star, drawn.truth.U_star * np.array([1.0, 1e-2]))
    return Instance("generic d=12 k=2 T=2, second direction 10^-4", truth, seed)


def _third_task(instance: Instance, _profile: Profile) -> Iterator[Stationary | Note]:
    """Yield the ends of 100 random starts at T = 3, which include spurious minima (ML-5)."""
    starts = instance.rng("spurious").standard_normal((100, 3, instance.truth.d, 1))
    ends = newton(ProjectedLoRAML(population(instance.truth.W_retraining)), Parameters(U=starts))
    for i in np.flatnonzero(ends.converged):
        yield Stationary(f"solver end {i}", ends.parameters.U[i])


CLAIM = Claim(
    id="ML-4",
    title="Two tasks: no bad stationary points",
    statement=(
        "At $T = 2$ every second-order stationary point of LoRA-ML in the population is a global minimum, for "
        "every $k$: at any other stationary point a direction of negative curvature can be constructed."
    ),
    source="arXiv 2410.22264v1, Theorem 4; proof in docs/theory.md, ML-4",
    nature="theorem",
    assumptions=(TWO_TASKS,),
    check=check,
    controls=(
        Control(
            "mutated: adapters of rank k - 1",
            partial(check, points=_narrow, way_down=_steepest_way_down),
            carry("asymmetric", 12, 2, 2),
            on_given=False,
            key=TRAPPED,
        ),
        Control(
            "near miss: adapters of rank k - 1 where the last direction of the shifts is 10^-4 of the others",
            partial(check, points=_narrow, way_down=_steepest_way_down),
            _nearly_narrow,
            on_given=False,
            key=TRAPPED,
        ),
        Control(
            "broken assumption: T = 3",
            partial(check, points=_third_task, way_down=_steepest_way_down),
            carry("spurious", 3, 1, 3),
            on_given=False,
            key=TRAPPED,
        ),
    ),
    instances=with_integers,
    keys=(TRAPPED, PROVED),
)
