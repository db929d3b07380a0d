"""ML-2: with two tasks the minimisers form an orbit of O(k, k), and rank 3k is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from math import inf
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from array_api_compat import device

from loraml_theory.closed_forms import boost, two_task_orbit
from loraml_theory.libraries import array_namespace
from loraml_theory.spectra import INDEPENDENT, congruence_floor, rounding_level, separation
from loraml_theory.structure import Array, GroundTruth, frobenius, joint_factor, transpose
from paper_checks.claim import Claim, Control, Profile
from paper_checks.evidence import exact_evidence
from paper_checks.evidence.assumptions import RETRAINING_PAIR_INDEPENDENT, TWO_TASKS
from paper_checks.evidence.at_scale import Statement, at_scale
from paper_checks.evidence.drawn import carry, draw, with_integers
from paper_checks.evidence.evidence import Evidence, Note
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.measure import inertia_evidence, level, zero_evidence
from paper_checks.evidence.minimisers import (
    GLOBAL,
    Minimiser,
    draw_boost,
    minimiser,
    misfit,
    random_starts,
    solve,
    solve_each,
)
from paper_checks.evidence.resolution import slightly_more
from sims.ensembles.ensembles import Ensemble, orbit, starts
from sims.ensembles.masks import Masks, inertia_masks, masks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RANK = r"rank of $W_3 - A$ at a minimiser $A$ with all rapidities non-zero"

Count = Callable[[int], int]
Element = Callable[[np.random.Generator, np.ndarray], np.ndarray]
RationalElement = Callable[[np.random.Generator, int, int], np.ndarray]
RAPIDITIES = (0.3, 1.5)


def _thrice(k: int) -> int:
    return 3 * k


def _orthogonal(rng: np.random.Generator, rapidities: np.ndarray) -> np.ndarray:
    return np.linalg.qr(rng.standard_normal((2 * rapidities.size, 2 * rapidities.size)))[0]


def _rational_orthogonal(rng: np.random.Generator, k: int, _active: int) -> np.ndarray:
    return exact_evidence.draw_orthogonal(rng, 2 * k)


def check(
    instance: Instance,
    profile: Profile,
    *,
    element: Element = draw_boost,
    rational_element: RationalElement = exact_evidence.draw_boost,
    non_zero: Count = lambda k: k,
    needed: Count = _thrice,
) -> Iterator[Evidence | Note]:
    """Construct minimisers from O(k, k), count their ranks, and find the group element behind solvers' minimisers."""
    truth, k = instance.truth, instance.truth.k
    rng = instance.rng("orbit")
    pair = np.concatenate(list(truth.U_retraining), axis=1)
    for active in sorted({k, k - 1}, reverse=True):
        rapidities = np.concatenate([rng.uniform(*RAPIDITIES, active), np.zeros(k - active)])
        H = element(rng, rapidities)
        point = minimiser("orbit", truth, *two_task_orbit(truth, H))
        yield zero_evidence(
            instance,
            f"misfit of the orbit point with {active} non-zero rapidities, over max||W_t||_F",
            point.misfit / float(truth.retraining_scale),
            condition=float(np.linalg.norm(H, 2)) ** 2,
        )
        smallest = float(_smallest(H))
        count = non_zero(active)
        if count:
            yield from inertia_evidence(
                instance,
                f"A - A*, {active} non-zero rapidities",
                point.A - truth.A_star,
                factor=pair,
                smallest=smallest,
                predicted=(count, count),
            )
        if active == k:
            yield from _adaptation(instance, point, min(1.0, smallest), needed)
    yield from _converse(instance, profile, pair)
    yield from _exact(instance, rational_element, non_zero, needed)


def _leading(like: Array) -> Array:
    """Return diag(I_k, 0), ``(2k, 2k)``, for a matrix H of the group."""
    xp, m = array_namespace(like), int(like.shape[-1])
    first = xp.astype(2 * xp.arange(m, device=device(like)) < m, like.dtype)
    return first[:, None] * xp.eye(m, dtype=like.dtype, device=device(like))


def _smallest(H: Array) -> Array:
    """Return the smallest non-zero ``|eig(D)|``, where ``A - A* = [U_1*, U_2*] D [U_1*, U_2*]^T``, ``(...)``."""
    xp, k = array_namespace(H), H.shape[-1] // 2
    moduli = xp.abs(xp.linalg.eigvalsh(_leading(H) - H[..., :k] @ transpose(H[..., :k])))
    return xp.min(xp.where(moduli > 1e-12, moduli, xp.full_like(moduli, inf)), axis=-1)


def _exact(instance: Instance, element: RationalElement, non_zero: Count, needed: Count) -> Iterator[Evidence]:
    """Construct minimisers from rational elements of O(k, k), and decide misfit and inertia over Q."""
    truth = exact_evidence.over_rationals(instance)
    if truth is None:
        return
    from loraml_theory.exact import rank, two_task_orbit
    from loraml_theory.exact.rational import shifts

    k = truth.k
    for active in sorted({k, k - 1}, reverse=True):
        A, U = two_task_orbit(truth, element(instance.rng(f"rational orbit {active}"), k, active))
        what = f"A + U_t U_t^T - W_t at an orbit point with {active} non-zero rapidities"
        yield exact_evidence.zero(instance, what, A + shifts(U) - truth.W_retraining)
        count = non_zero(active)
        what = f"A - A*, {active} non-zero rapidities"
        yield from exact_evidence.signs(instance, what, A - truth.A_star, (count, count))
        if active == k and rank(np.concatenate(list(truth.U_star), axis=1)) == 3 * k:
            what = "W_3 - A, all rapidities non-zero"
            yield from exact_evidence.signs(instance, what, truth.W_test - A, (needed(k) - k, k), key=RANK)


def _adaptation(instance: Instance, point: Minimiser, smallest: float, needed: Count) -> Iterator[Evidence | Note]:
    """Count the inertia (2k, k) of ``W_3 - A`` where the test task is independent of the other two."""
    truth, k = instance.truth, instance.truth.k
    apart = float(separation(truth.U_star))
    if apart <= INDEPENDENT:
        yield Note(instance.name, f"assumption I does not clearly hold (separation {apart:.1e}): 3k is not judged")
        return
    yield from inertia_evidence(
        instance,
        "W_3 - A, all rapidities non-zero",
        truth.W_test - point.A,
        factor=joint_factor(truth.U_star),
        smallest=smallest,
        predicted=(needed(k) - k, k),
        key=RANK,
    )


def _converse(instance: Instance, profile: Profile, pair: np.ndarray) -> Iterator[Evidence | Note]:
    """Solve from random starts; at each global minimum reached, ``H = [U_1*, U_2*]^+ [U_1, U_2]`` is in O(k, k)."""
    solution, _, misfits = solve(instance, random_starts(instance, profile.starts))
    reached = np.flatnonzero(misfits <= GLOBAL)
    yield Note(instance.name, f"{reached.size} of {profile.starts} random starts reached a global minimum")
    if not reached.size:
        yield Evidence(
            "numerical",
            instance.name,
            "solver ends at a global minimum, to compare with the orbit",
            0,
            1,
            "at least",
            0,
            "without one, that there are no other minimisers is not checked",
            decidable=False,
        )
    for i in reached:
        error = 2 * float(misfits[i] * instance.truth.retraining_scale) + level(instance)
        found, smallest = group_defects(pair, joint_factor(solution.parameters.U[i]), error)
        reason = f"2 misfit + rounding = {error:.1e}, over sigma_min([U_1*, U_2*]) = {float(smallest):.2g}"
        for what, defect, bound in found:
            tolerance = float(bound)
            yield Evidence(
                "numerical",
                instance.name,
                f"{what} at solver end {i}",
                float(defect),
                0.0,
                "equal",
                10 * tolerance,
                "10 times (" + reason + ")",
                decidable=tolerance < 1e-4,
                rounding=tolerance,
            )


class Defect(NamedTuple):
    """A quantity that vanishes, and a bound of it from the error of the minimiser."""

    what: str
    defect: Array
    bound: Array


def group_defects(F: Array, U: Array, error: Array | float) -> tuple[tuple[Defect, Defect], Array]:
    """Return how far ``H = F^+ U`` is from O(k, k), and U from ``F H``; and ``sigma_min(F)``.

    ``U J U^T = F J F^T + E`` with ``||E|| <= error``, twice the misfit and rounding; both bounds follow.

    Parameters
    ----------
    F, U
        ``[U_1*, U_2*]`` and ``[U_1, U_2]``, ``(..., d, 2k)``.
    error
        Bound of ``||E||``, ``(...)``.
    """
    xp = array_namespace(F)
    H = xp.linalg.pinv(F) @ U
    J = 2 * _leading(H) - xp.eye(H.shape[-1], dtype=H.dtype, device=device(H))
    size, smallest = xp.linalg.matrix_norm(H, ord=2), xp.linalg.svdvals(F)[..., -1]
    group = frobenius(H @ J @ transpose(H) - J) / size**2
    span = frobenius(U - F @ H) / (frobenius(F) * size)
    return (
        Defect("||H J H^T - J|| / ||H||^2", group, error / (smallest * size) ** 2),
        Defect("||[U_1, U_2] - F H|| / (||F|| ||H||)", span, error / (smallest * frobenius(F))),
    ), smallest


def _coinciding(seed: int) -> Instance:
    """Draw two equal retraining tasks."""
    truth = draw("generic", 10, 1, 2, seed).truth
    return Instance("U_2* = U_1* d=10 k=1 T=2", GroundTruth(truth.A_star, truth.U_star[[0, 0, 2]]), seed)


def on_the_orbit(
    A_star: Array, U_star: Array, rapidities: Array, rotations: Array, *, needed: Count = _thrice
) -> Masks:
    """Construct a point of the orbit from non-zero rapidities ``(B, k)`` and orthogonal rotations ``(2, B, 2, k, k)``.

    It is a minimiser, ``A - A*`` has inertia (k, k), and ``W_3 - A`` (needed - k, k).
    """
    truth = GroundTruth(A_star, U_star)
    xp, k = array_namespace(A_star), truth.k
    H = boost(rapidities, rotations[0, ...], rotations[1, ...])
    A, U = two_task_orbit(truth, H)
    size = xp.linalg.matrix_norm(H, ord=2) ** 2
    tolerance = size * 100 * truth.d * float(xp.finfo(A.dtype).eps) * truth.scale
    smallest, cut = _smallest(H), rounding_level(truth.scale, truth.d)
    pair = congruence_floor(joint_factor(truth.U_retraining), smallest)
    whole = congruence_floor(joint_factor(U_star), xp.minimum(smallest, xp.ones_like(smallest)))
    base = inertia_masks(A - A_star, cut, pair, (k, k))
    test = inertia_masks(truth.W_test - A, cut, whole, (needed(k) - k, k))
    fits = misfit(truth, A, U) <= tolerance
    failed = ~fits | ~(base[0] | base[1]) | ~(test[0] | test[1])
    undecided = (base[1] | test[1]) & ~failed
    return masks(fits & base[0] & test[0], undecided | (tolerance > 1e-3 * truth.scale))


def in_the_group(A_star: Array, U_star: Array, start: Array) -> Masks:
    """Find the ``[U_1, U_2] = [U_1*, U_2*] H`` of the minimiser that Newton finds from a start; ``H J H^T = J``."""
    truth = GroundTruth(A_star, U_star)
    xp, end = array_namespace(A_star), solve_each(truth, start)
    error = 10 * (2 * end.misfit + rounding_level(truth.scale, truth.d))
    (group, span), _ = group_defects(joint_factor(truth.U_retraining), joint_factor(end.U), error)
    within = (group.defect <= group.bound) & (span.defect <= span.bound)
    return masks(within, ~(xp.maximum(group.bound, span.bound) < 1e-3), end.unconverged, end.elsewhere)


TWO = Ensemble("generic", 10, 1, 2), Ensemble("asymmetric", 12, 2, 2)
ORBIT = Statement(
    "a drawn orbit point is a minimiser, A - A* has inertia (k, k), W_3 - A (2k, k)",
    on_the_orbit,
    (*TWO, Ensemble("generic", 20, 4, 2)),
    "ml_2_orbit",
    orbit,
)
CONVERSE = Statement(
    "the minimiser Newton finds is [U_1*, U_2*] H with H in O(k, k)", in_the_group, TWO, "ml_2_converse", starts
)


def figure(ax: Axes, instance: Instance) -> None:
    """Draw the singular values of W_3 - A and the misfit along the orbit."""
    truth, k = instance.truth, instance.truth.k
    rapidities = np.linspace(0, 2.5, 26)
    points = [minimiser("", truth, *two_task_orbit(truth, boost(np.full(k, r)))) for r in rapidities]
    values = np.array([np.linalg.svd(truth.W_test - p.A, compute_uv=False) for p in points])
    shown = min(truth.d, 3 * k + 1)
    for i in range(shown):
        ax.semilogy(rapidities, np.maximum(values[:, i], 1e-16), color="C0" if i < k else "C1" if i < 3 * k else "0.7")
    ax.semilogy(rapidities, [max(p.misfit, 1e-17) for p in points], "k:", label="misfit $(2f)^{1/2}$")
    ax.plot([], [], color="C0", label="singular values 1..k of $W_3-\\hat A$")
    ax.plot([], [], color="C1", label="k+1..3k")
    ax.set(xlabel="rapidity of all k boosts (0: the truth)", ylabel="singular values")
    ax.legend(frameon=False)


CLAIM = Claim(
    id="ML-2",
    title="Two tasks: the bound $3k$ is tight",
    statement=(
        r"With $[U_1^\star, U_2^\star]$ of rank $2k$ the minimisers at $T = 2$ are exactly $[U_1, U_2] = "
        r"[U_1^\star, U_2^\star] H$, $H \in O(k,k)$, $A = A^\star + R_1^\star - U_1 U_1^\top$. "
        r"$\operatorname{rank}(A - A^\star)$ is twice the number of non-zero rapidities of $H$; with all "
        "non-zero and assumption I, $W_3 - A$ has $2k$ positive and $k$ negative eigenvalues: rank $3k$ is "
        "needed."
    ),
    source="arXiv 2410.22264, the T = 2 case; proof in docs/theory.md, ML-2",
    nature="theorem",
    assumptions=(TWO_TASKS, RETRAINING_PAIR_INDEPENDENT),
    check=check,
    controls=(
        Control(
            "mutated: any orthogonal H",
            partial(check, element=_orthogonal, rational_element=_rational_orthogonal),
            carry("generic", 10, 1, 2),
        ),
        Control(
            "near miss: H 10^-9 too large",
            partial(
                check,
                element=lambda rng, rapidities: slightly_more(draw_boost(rng, rapidities)),
                rational_element=lambda *drawn: slightly_more(exact_evidence.draw_boost(*drawn)),
            ),
            carry("generic", 10, 1, 2),
        ),
        Control(
            "near miss: rank(W_3 - A) = 3k - 1",
            partial(check, needed=lambda k: 3 * k - 1),
            carry("generic", 10, 1, 2),
            key=RANK,
        ),
        Control("mutated: rank(W_3 - A) = 2k", partial(check, needed=lambda k: 2 * k), carry("generic", 10, 1, 2)),
        Control(
            "mutated: rank(A - A*) = 2(non-zero rapidities - 1)",
            partial(check, non_zero=lambda active: max(0, active - 1)),
            carry("asymmetric", 12, 2, 2),
        ),
        Control("broken assumption: U_2* = U_1*", check, _coinciding, on_given=False),
    ),
    instances=with_integers,
    at_scale=at_scale(ORBIT, CONVERSE, controls={"rank(W_3 - A) = 2k": ORBIT.mutated(needed=lambda k: 2 * k)}),
    figure=figure,
    keys=(RANK,),
)
