"""Checks that the gradient and the Hessian used by the landscape claims are those of the objective."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from loraml_theory.adapters import Parameters
from loraml_theory.moments import population
from loraml_theory.objectives import ProjectedLoRAML
from paper_checks.evidence.evidence import Evidence
from paper_checks.evidence.instance import Instance

FIRST = {-2: 1.0, -1: -8.0, 1: 8.0, 2: -1.0}
SECOND = {-2: -1.0, -1: 16.0, 0: -30.0, 1: 16.0, 2: -1.0}
STEP = 0.25


def derivative_evidence(instance: Instance) -> Iterator[Evidence]:
    """Compare derivatives along a drawn line with finite differences of values.

    Along a line the objective is a polynomial of degree 4, for which the five-point formulas are exact.
    """
    truth = instance.truth
    objective, scale = ProjectedLoRAML(population(truth.W_retraining)), float(truth.retraining_scale)
    U, V = instance.rng("derivatives").standard_normal((2, *truth.U_retraining.shape)) * np.sqrt(scale / truth.d)
    at, along = Parameters(U=U), Parameters(U=V)
    values = {i: float(objective.value(Parameters(U=U + i * STEP * V))) for i in SECOND}
    size = max(values.values())
    for what, formula, power, stated in (
        ("<grad g, v>", FIRST, 1, np.sum(objective.gradient(at).U * V)),
        ("<v, H v>", SECOND, 2, np.sum(objective.hessian_vector(at, along).U * V)),
    ):
        differences = sum(weight * values[i] for i, weight in formula.items()) / (12 * STEP**power)
        yield Evidence(
            "numerical",
            instance.name,
            f"{what} along a drawn line, less its five-point formula, over the largest value of g there",
            float(stated - differences) / size,
            0.0,
            "equal",
            1e-12,
            "the formula is exact for polynomials of degree 4; rounding of values that cancel, d eps times 85",
            rounding=1e-14,
        )
