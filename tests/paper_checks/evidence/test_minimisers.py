"""Which ends of a solver count as global minimisers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from loraml_theory import zoo
from loraml_theory.adapters import Parameters
from paper_checks.evidence import minimisers
from paper_checks.evidence.evidence import Note
from paper_checks.evidence.instance import Instance


def test_only_misfits_that_are_rounding_are_global(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither 1e-8 of the largest W_t nor 1e-3, whether stationary or not."""
    instance = Instance("x", zoo.generic(np.random.default_rng(0), 6, 1, 3), 0)
    misfits = np.array([1e-15, 9e-10, 1.1e-9, 1e-8, 1e-3])
    solution = SimpleNamespace(parameters=Parameters(U=np.zeros((5, 3, 6, 1))), gradient_norm=np.array([0, 0, 0, 1, 0]))

    def solve(*_: Any) -> Any:
        return solution, np.zeros((5, 6, 6)), misfits

    monkeypatch.setattr(minimisers, "solve", solve)
    *found, note = minimisers.global_ends(instance, np.zeros((5, 3, 6, 1)), "starts")
    scale = float(instance.truth.retraining_scale)
    assert [end.misfit / scale for end in found if not isinstance(end, Note)] == pytest.approx([1e-15, 9e-10])
    assert isinstance(note, Note)
    assert "2 of 5 reached a global minimum, 2 ended stationary above it, 1 did not converge" in note.text
