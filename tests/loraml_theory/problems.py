"""Objectives with a point and directions, of every kind: drawn for properties, listed for slopes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from loraml_theory import testing
from loraml_theory.adapters import Parameters
from loraml_theory.objectives import FineTuning, LoRAML, Objective, ProjectedLoRAML, StandardRetraining
from loraml_theory.structure import GroundTruth
from loraml_theory.testing import moments_with_spectrum, point

KINDS = ("standard retraining", "LoRA-ML", "projected LoRA-ML", "fine-tuning")


class Problem(NamedTuple):
    objective: Any  # an Objective
    at: Parameters
    direction: Parameters
    other: Parameters


def make(kind: str, moments: Any, *, rank: int, symmetric: bool, ridge: float, seeds: tuple[int, ...]) -> Problem:
    """Build an objective of a kind on moments, with a point and two directions of the given seeds."""
    d_out, d_in = moments.W.shape[-2:]
    sizes = {"d_out": d_out, "d_in": d_in, "rank": rank, "symmetric": symmetric, "tasks": moments.W.shape[0]}
    if kind == "standard retraining":
        points = [Parameters(A=point(**sizes, seed=seed).A) for seed in seeds]
        return Problem(StandardRetraining(moments), *points)
    if kind == "LoRA-ML":
        return Problem(LoRAML(moments, ridge), *(point(**sizes, seed=seed) for seed in seeds))
    if kind == "projected LoRA-ML":
        return Problem(ProjectedLoRAML(moments), *(point(**sizes, base=False, seed=seed) for seed in seeds))
    sizes["tasks"] = None
    base = point(**sizes, seed=seeds[0] + 1).A
    points = [point(**sizes, base=False, seed=seed) for seed in seeds]
    return Problem(FineTuning(moments.task(0), base, ridge), *points)


@st.composite
def problems(draw: st.DrawFn, kinds: tuple[str, ...] = KINDS) -> Problem:
    """Draw an objective of any kind on moments of any shape, weights and rank."""
    symmetric = draw(st.booleans())
    d = draw(st.integers(1, 3))
    moments = draw(
        testing.moments(
            d_out=d, d_in=d if symmetric else draw(st.integers(1, 3)), singular=None, tasks=st.integers(2, 3)
        )
    )
    return make(
        draw(st.sampled_from(kinds)),
        moments,
        rank=draw(st.integers(1, 2)),
        symmetric=symmetric,
        ridge=draw(st.sampled_from([0.0, 0.5])),
        seeds=draw(st.tuples(*[st.integers(0, 100)] * 3)),
    )


def listed() -> dict[str, Problem]:
    """Return one generic problem of each kind and form, by name."""
    forms: dict[str, dict[str, Any]] = {
        "symmetric": {"d_out": 3, "symmetric": True},
        "asymmetric": {"d_out": 3, "symmetric": False},
        "rectangular": {"d_out": 2, "symmetric": False},
        "weighted": {"d_out": 3, "symmetric": True, "n": (10.0, 20.0, 60.0)},
        "ridge": {"d_out": 2, "symmetric": False, "ridge": 0.7, "n": (10.0, 20.0, 60.0)},
        "singular": {"d_out": 3, "symmetric": False, "spectrum": (2.0, 1.0, 0.0)},
    }
    problems = {}
    for name, form in forms.items():
        options: dict[str, Any] = {"n": 10.0, "ridge": 0.0, "spectrum": (3.0, 2.0, 1.0)} | form
        moments = moments_with_spectrum(
            d_out=options["d_out"], tasks=3, spectrum=options["spectrum"], n=options["n"], seed=7
        )
        for kind in KINDS:
            problems[f"{kind}, {name}"] = make(
                kind,
                moments,
                rank=2,
                symmetric=options["symmetric"],
                ridge=options["ridge"],
                seeds=(1, 2, 3),
            )
    return problems


def move(at: Parameters, direction: Parameters, step: float) -> Parameters:
    """Return ``at + step * direction``."""
    return Parameters(*(None if x is None else x + step * v for x, v in zip(at, direction, strict=True)))


def inner(one: Parameters, other: Parameters) -> float:
    """Return the Euclidean inner product."""
    return float(sum(np.sum(x * y) for x, y in zip(one, other, strict=True) if x is not None))


def size(objective: Objective, at: Parameters, direction: Parameters) -> float:
    """Return a bound on the terms that make up f within two steps of the point: what rounding is relative to."""
    S, W = np.linalg.norm(objective.moments.S, axis=(-2, -1)).max(), np.abs(objective.moments.W).max()
    largest = sum(
        float(np.sum(x * x)) + 4 * float(np.sum(v * v)) for x, v in zip(at, direction, strict=True) if x is not None
    )
    base = getattr(objective, "base", None)
    start = float(np.sum(base**2)) if isinstance(base, np.ndarray) else 0.0
    return 10 * (1 + float(S) + getattr(objective, "ridge", 0.0)) * (1 + float(W) + largest + start) ** 2


def stationary_point(truth: GroundTruth, keep: list[bool]) -> np.ndarray:
    """Fit a subset of the eigenpairs of M = R_1 - R_2: positive ones by U_1, negative ones by U_2, zeros elsewhere."""
    values, vectors = np.linalg.eigh(truth.R[0] - truth.R[1])
    k, U = truth.k, np.zeros((2, truth.d, truth.k))
    for task, order in enumerate((range(truth.d - 1, truth.d - 1 - k, -1), range(k))):
        for column, i in enumerate(order):
            signed = values[i] if task == 0 else -values[i]
            if keep[task * k + column] and signed > 1e-9 * np.abs(values).max():
                U[task, :, column] = np.sqrt(signed) * vectors[:, i]
    return U
