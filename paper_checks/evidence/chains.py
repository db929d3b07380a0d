"""An instance's retraining tasks as a chain, one after another, for the claims on continual adaptation."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import numpy as np

from loraml_theory.continual.predictions import increments
from loraml_theory.moments import Moments
from loraml_theory.spectra import DEPENDENT, INDEPENDENT
from loraml_theory.structure import GroundTruth
from paper_checks.evidence.drawn import draw
from paper_checks.evidence.evidence import Evidence
from paper_checks.evidence.exact_evidence import over_rationals
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.measure import level, zero_evidence

if TYPE_CHECKING:
    from loraml_theory.exact import RationalTruth

NEAR_MISS = 1e-9  # a prediction that is this much too large, relatively, must be refuted
LARGEST_EXACT = 12  # dimension of exact evidence on chains, whose numbers grow with every task
LARGEST_DESCENT = 12  # dimension in which chains are also descended


def chain(instance: Instance, S: np.ndarray | None = None) -> Moments:
    """Return the tasks' population moments, with the inputs' second moments S, ``(T, d, d)``, or the identity."""
    W = instance.truth.W_retraining
    if S is None:
        S = np.broadcast_to(np.eye(W.shape[-1]), W.shape)
    return Moments(S, W, np.zeros(len(W)), inf)


def equal_tasks(seed: int, *, d: int = 10, k: int = 1, T: int = 3) -> Instance:
    """Draw a chain of one task, met T times."""
    truth = draw("generic", d, k, T, seed).truth
    U = np.concatenate([np.repeat(truth.U_star[:1], T, axis=0), truth.U_star[-1:]])
    return Instance(f"equal-tasks d={d} k={k} T={T}", GroundTruth(truth.A_star, U), seed)


def regular_inputs(instance: Instance) -> np.ndarray:
    """Draw second moments with eigenvalues from 1/2 to 2, another for each task, ``(T, d, d)``."""
    return _drawn_inputs(instance, np.linspace(0.5, 2, instance.truth.d))


def singular_inputs(instance: Instance, rank: int) -> np.ndarray:
    """Draw second moments of this rank, their ranges in general position, ``(T, d, d)``."""
    values = np.zeros(instance.truth.d)
    values[:rank] = np.linspace(0.5, 2, rank)
    return _drawn_inputs(instance, values)


def _drawn_inputs(instance: Instance, values: np.ndarray) -> np.ndarray:
    T, d = instance.truth.T, instance.truth.d
    vectors = np.linalg.qr(instance.rng("inputs").standard_normal((T, d, d)))[0]
    S: np.ndarray = (vectors * values) @ vectors.swapaxes(-1, -2)
    return (S + S.swapaxes(-1, -2)) / 2


def shifts(instance: Instance) -> np.ndarray:
    """Return the shifts R_t of the chain, ``(T, d, d)``."""
    R: np.ndarray = instance.truth.R[:-1]
    return R


def unit(instance: Instance) -> float:
    """Return the unit of losses: ``1/2 mean_t ||R_t||_F^2``, the average loss of the base."""
    return float(np.mean(np.sum(shifts(instance) ** 2, axis=(-2, -1)))) / 2


def condition(instance: Instance) -> float:
    """Return one over the least angle of a factor's column with the span of those before, dependent ones left out.

    Infinite where float64 cannot tell whether one is dependent, or sees less than what a task adds to the span.
    """
    U, worst = instance.truth.U_retraining, 1.0
    for R, E in zip(shifts(instance), increments(U), strict=True):
        added = np.linalg.svd(R @ E, compute_uv=False)[: round(float(np.trace(E)))]
        if added.size and added[-1] < 100 * level(instance):
            return inf
    for t in range(1, len(U) + 1):
        for last in range(1, U.shape[-1] + 1):
            columns = [*(U[s, :, j] for s in range(t - 1) for j in range(U.shape[-1])), *(U[t - 1, :, :last].T)]
            apart = _distance(np.stack(columns, axis=-1))
            if DEPENDENT <= apart <= INDEPENDENT:
                return inf
            worst = max(worst, 1 / apart if apart > INDEPENDENT else 1.0)
    return worst


def _distance(columns: np.ndarray) -> float:
    """Return the sine of the angle of the last column with the span of the others."""
    others, last = columns[:, :-1], columns[:, -1]
    length = float(np.linalg.norm(last))
    if not length:
        return 0.0
    left, values, _ = np.linalg.svd(others / np.maximum(np.linalg.norm(others, axis=0), 1e-300), full_matrices=False)
    basis = left[:, values > INDEPENDENT]
    outside = last - basis @ (basis.T @ last)
    return float(np.linalg.norm(outside - basis @ (basis.T @ outside))) / length


def same(instance: Instance, what: str, found: np.ndarray, expected: np.ndarray, *, condition: float = 1.0) -> Evidence:
    """State that matrices are equal: their largest Frobenius distance over ``max_t ||W_t||_F`` is zero."""
    apart = np.sqrt(np.max(np.sum((found - expected) ** 2, axis=(-2, -1)))) / float(instance.truth.scale)
    return zero_evidence(instance, f"distance over max||W_t||_F of {what}", float(apart), condition=condition)


def loss(
    instance: Instance, what: str, found: float, predicted: float, *, condition: float = 1.0, key: str = ""
) -> Evidence:
    """Compare two losses in the `unit`, up to rounding of ``max_t ||W_t||_F`` over its root, times a condition."""
    one = unit(instance)
    lost = float(instance.truth.scale) / np.sqrt(2 * one)
    rounding = condition * instance.truth.d * float(np.finfo(float).eps) * max(1.0, lost)
    size = max(1.0, abs(float(predicted)) / one)
    return Evidence(
        "numerical",
        instance.name,
        f"{what}, over 1/2 mean||R_t||^2",
        float(found) / one,
        float(predicted) / one,
        "equal",
        100 * rounding * size,
        f"100 d eps, rounding of max||W_t||_F over the tasks' shifts {lost:.2g}, condition number {condition:.2g}",
        decidable=100 * rounding < 1e-3,
        key=key,
        rounding=rounding * size,
    )


def over_q(instance: Instance) -> RationalTruth | None:
    """Return the instance over Q where it is known exactly and chains of it are affordable."""
    return over_rationals(instance) if instance.truth.d <= LARGEST_EXACT else None
