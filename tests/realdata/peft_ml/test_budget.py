from __future__ import annotations

import pytest

from realdata.experiments.records import Count
from realdata.peft_ml.budget import Budget


def test_counts_steps_and_examples() -> None:
    budget = Budget()
    for examples in (16, 16, 5):
        budget.spend(examples)
    assert budget.spent == Count(gradient_steps=3, examples=37)


def test_a_step_has_examples() -> None:
    budget = Budget()
    with pytest.raises(ValueError, match="a gradient step needs at least 1 example, got 0"):
        budget.spend(0)
    assert budget.spent == Count(0, 0)
