from __future__ import annotations

import numpy as np
import pytest

from loraml_theory import zoo
from loraml_theory.structure import GroundTruth
from paper_checks.claim import PROFILES
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.structure_facts import facts


def values(kind: str, d: int, k: int, T: int) -> list[str]:
    drawn = Instance("drawn", zoo.KINDS[kind](np.random.default_rng(0), d, k, T), 0)
    return [fact.value for fact in facts(drawn, PROFILES["quick"])]


@pytest.mark.parametrize(
    ("kind", "T", "expected"),
    [
        ("generic", 3, ["8", None, "2", "yes", "96 from SR, 36 from LoRA-ML"]),
        ("repeated-task", 3, ["6", None, "2 to 6", "no", "84 from SR, 36 to 84 from LoRA-ML"]),
        ("generic", 2, ["6", None, "2 to 6", "no", "84 from SR, 36 to 84 from LoRA-ML"]),
    ],
)
def test_ranks_and_what_determines_the_base(kind: str, T: int, expected: list[str | None]) -> None:
    found = values(kind, 10, 2, T)
    assert [value for value, known in zip(found, expected, strict=True) if known] == [v for v in expected if v]
    assert found[1].endswith(" %")


def test_a_shift_that_float64_cannot_see_is_said() -> None:
    truth = zoo.scaled(np.random.default_rng(0), 10, 1, 3)
    U = truth.U_star.copy()
    U[0] *= 1e-6
    found = facts(Instance("drawn", GroundTruth(truth.A_star, U), 0), PROFILES["quick"])
    assert found[0].value == "3, all that float64 can see"


def test_tasks_that_are_all_the_same_need_no_more_than_two_k() -> None:
    U = np.ones((4, 6, 1))
    U[3] = np.arange(6.0)[:, None]
    found = facts(Instance("same", GroundTruth(np.eye(6), U), 0), PROFILES["quick"])
    assert found[0].value == "2"
    assert found[3].value != "yes"
