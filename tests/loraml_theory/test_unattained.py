"""LoRA-ML without a ridge on tasks that no base and shifts fit: the infimum is approached by a diverging base."""

from __future__ import annotations

import numpy as np
import pytest

from loraml_theory.adapters import Parameters
from loraml_theory.moments import population
from loraml_theory.objectives import LoRAML
from loraml_theory.solvers import block_descent
from loraml_theory.structure import frobenius


def test_shifts_of_rank_two_are_approached_by_adapters_of_rank_one() -> None:
    rng = np.random.default_rng(0)
    u, v = rng.standard_normal((5, 1)), rng.standard_normal((4, 1))
    b, c = rng.standard_normal((6, 5, 1)), rng.standard_normal((6, 4, 1))
    objective = LoRAML(population(b @ v.T + u @ np.swapaxes(c, -1, -2)))

    def approaching(s: float) -> Parameters:
        return Parameters(-s * u @ v.T, np.sqrt(s) * (u + b / s), np.sqrt(s) * (v + c / s))

    values = [float(objective.value(approaching(s))) for s in (10.0, 100.0, 1000.0)]
    assert values[1] == pytest.approx(values[0] / 100, rel=1e-6)
    assert values[2] == pytest.approx(values[0] / 10_000, rel=1e-3)
    whole = LoRAML(objective.moments.ridge(0.1))  # a penalty on A + U V^T alone keeps the way open
    assert float(whole.value(approaching(1e4))) == pytest.approx(float(whole.value(approaching(1e3))), rel=1e-3)
    both = LoRAML(objective.moments, 0.1)  # one on both terms closes it
    assert float(both.value(approaching(1e4))) > 10 * float(both.value(approaching(1e3)))


def test_descent_follows_that_way_without_a_ridge_and_ends_with_one() -> None:
    rng = np.random.default_rng(0)
    u, v = rng.standard_normal((5, 1)), rng.standard_normal((4, 1))
    b, c = rng.standard_normal((6, 5, 1)), rng.standard_normal((6, 4, 1))
    m = population(b @ v.T + u @ np.swapaxes(c, -1, -2))
    early, late = (block_descent(m, 1, memory=10, max_iterations=steps) for steps in (20, 200))
    assert not early.converged
    assert not late.converged
    assert float(late.value) < float(early.value)
    assert float(frobenius(late.parameters.A)) > 1000 * float(frobenius(early.parameters.A))
    penalised = block_descent(m, 1, ridge=0.1, memory=10).require_converged()
    assert float(frobenius(penalised.parameters.A)) < 10
