"""SR-5: no number of tasks repairs standard retraining."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from math import ceil
from typing import Any

import numpy as np

from loraml_theory.closed_forms import best_rank_error
from loraml_theory.moments import bartlett_factor
from loraml_theory.rates import many_task_floor, mean_many_task_floor
from paper_checks.claim import Claim, Control, Profile
from paper_checks.evidence.assumptions import RANK_BELOW_DIMENSION
from paper_checks.evidence.drawn import carry, draw
from paper_checks.evidence.evidence import Evidence
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.measure import level, mean_evidence
from paper_checks.evidence.resolution import COARSER
from paper_checks.evidence.trials import FEWEST

MEAN = r"mean error that rank $k$ leaves after $10^{12}$ tasks, over $s^4$"
FLOOR = r"the same for one test task, over its prediction"
MANY = 10**12  # tasks

Floor = Callable[..., Any]
Mean = Callable[..., tuple[float, float, float]]


def check(
    instance: Instance, profile: Profile, *, floor: Floor = many_task_floor, mean: Mean = mean_many_task_floor
) -> Iterator[Evidence]:
    """Retrain on very many random tasks; measure what rank k leaves of the instance's test task, and of random ones."""
    truth = instance.truth
    scale = float(np.sqrt(np.mean(truth.U_retraining**2)))
    yield _one_task(instance, scale, floor)
    yield _mean(instance, profile, scale, mean)


def _mean_shifts(rng: np.random.Generator, d: int, k: int, *, scale: float, batch: int) -> np.ndarray:
    """Draw ``(1/T) sum_t U_t U_t^T`` of T normal factors exactly, at a cost that T does not change (Bartlett)."""
    L = scale / np.sqrt(MANY) * bartlett_factor(rng, (batch,), d, k * MANY)
    return np.asarray(L @ np.swapaxes(L, -1, -2))


def _one_task(instance: Instance, scale: float, floor: Floor) -> Evidence:
    """Retrain on tasks about the instance's A*, as large as its own, and compare the floor of its test task."""
    truth, k = instance.truth, instance.truth.k
    shift = _mean_shifts(instance.rng("many tasks"), truth.d, k, scale=scale, batch=1)[0]
    residual = truth.W_test - (truth.A_star + shift)
    predicted = float(floor(truth.U_star[-1], scale=scale))
    apart = scale**2 * np.sqrt(k * truth.d * (truth.d + 1) / MANY)  # of the mean shift from k s^2 I, root mean square
    tolerance = 2 * (4 * apart + 4 * level(instance)) / np.sqrt(predicted)
    return Evidence(
        "numerical",
        instance.name,
        f"error that rank {k} leaves of the test task after {MANY:.0e} tasks of s = {scale:.3g}, over its prediction",
        float(best_rank_error(residual, k)) / predicted,
        1.0,
        "equal",
        tolerance,
        "four times the distance of the mean shift from its limit, and of rounding of max||W_t||_F, to first order",
        decidable=tolerance < COARSER["many tasks"].value,
        key=FLOOR,
        coarser="many tasks",
    )


def _mean(instance: Instance, profile: Profile, scale: float, mean: Mean) -> Evidence:
    """Average the floor over test tasks that are drawn as the others, each after a retraining of its own.

    The predicted spread widens the interval: for d much larger than k nearly all draws have the same floor, and the
    sample's own spread may be 0.
    """
    d, k, rng = instance.truth.d, instance.truth.k, instance.rng("random tasks")
    predicted, error, spread = mean(rng, d, k, scale=scale)
    trials = max(FEWEST, ceil(200 * profile.trials * (spread / predicted) ** 2))
    U = scale * rng.standard_normal((trials, d, k))
    shifts = _mean_shifts(rng, d, k, scale=scale, batch=trials)
    floors = best_rank_error(U @ np.swapaxes(U, -1, -2) - shifts, k)
    return mean_evidence(
        instance,
        f"mean error that rank {k} leaves after {MANY:.0e} tasks, over s^4, s = {scale:.3g}",
        floors / scale**4,
        predicted / scale**4,
        bias=1e-9,
        reason="second order in the distance of the mean shift from its limit, some k d^2 / T; the first is chance",
        predicted_error=np.hypot(error, spread / np.sqrt(trials)) / scale**4,
    ).of(MEAN)


def _without_scale(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a mutant that takes the factors' entries to have variance 1."""
    return lambda *args, scale: function(*args)  # noqa: ARG005


def _times(factor: float, mean: Mean = mean_many_task_floor) -> Mean:
    """Return a mutant that is wrong by a factor."""

    def scaled(*args: Any, **options: Any) -> tuple[float, float, float]:
        value, error, spread = mean(*args, **options)
        return factor * value, error, spread

    return scaled


def _leading_order(_rng: np.random.Generator, d: int, k: int, *, scale: float) -> tuple[float, float, float]:
    """Return ``k^2 (d - k) s^4``, the value for d much larger than k, as a mutant at other sizes."""
    value = float(k**2 * (d - k) * scale**4)
    return value, 0.0, value / 10


SHAPES = (
    ("generic", 10, 1, 3),
    ("generic", 10, 2, 3),
    ("generic", 10, 3, 3),
    ("generic", 6, 3, 3),
    ("generic", 5, 3, 3),  # d < 2k
    ("orthogonal", 20, 2, 5),
    ("generic", 64, 4, 5),
    ("integer", 10, 2, 3),
)


def _instances(seed: int) -> list[Instance]:
    return [draw(*shape, seed) for shape in SHAPES]


CLAIM = Claim(
    id="SR-5",
    title="No number of tasks repairs standard retraining",
    statement=(
        r"For factors with independent normal entries of standard deviation $s$ the mean shift tends to $k s^2 I$ as "
        r"$T \to \infty$, and rank $k$ leaves $\sum_{i>k} \sigma_i^2(R_{T+1}^\star - k s^2 I)$ of a test task: on "
        r"average $s^4 [k^2 (d - k) - \mathrm{E} \sum_{i \le k} \max(0, k^2 - (\lambda_i - k)^2)]$ for $d \ge 2k$, "
        r"with $\lambda_i$ the eigenvalues of a $k \times k$ Wishart matrix of $d$ degrees of freedom. It is positive "
        r"for every $d > k$."
    ),
    source="beyond arXiv 2410.22264, which has it for a given T (SR-3); proof in docs/theory.md, SR-5",
    nature="theorem",
    assumptions=(RANK_BELOW_DIMENSION,),
    check=check,
    controls=(
        Control(
            "mutated: without s^4",
            partial(check, floor=_without_scale(many_task_floor), mean=_without_scale(mean_many_task_floor)),
            carry("integer", 10, 2, 3),
        ),
        Control(
            "mutated: k^2 (d - k) at every d",
            partial(check, mean=_leading_order),
            carry("generic", 10, 3, 3),
        ),
        Control(
            "mutated: a mean shift of s^2 I for k s^2 I",
            partial(check, floor=lambda U, scale: many_task_floor(U, scale=scale / np.sqrt(U.shape[-1]))),
            carry("generic", 10, 2, 3),
        ),
        Control(
            "near miss: 10^-3 too large for one task",
            partial(check, floor=lambda U, scale: 1.001 * many_task_floor(U, scale=scale)),
            carry("generic", 10, 1, 3),
        ),
        Control(
            "near miss: the mean 6 % too large",
            partial(check, mean=_times(1.06)),
            carry("generic", 10, 3, 3),
        ),
    ),
    instances=_instances,
    keys=(MEAN, FLOOR),
)
