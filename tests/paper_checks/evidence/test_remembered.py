"""What is remembered is what would have been computed, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest

from loraml_theory.structure import GroundTruth
from paper_checks.claim import Claim, Profile
from paper_checks.claims import ft_1, ft_2, ml_7, ml_9
from paper_checks.evidence.drawn import draw
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.remembered import Memory, remembered, remembering
from paper_checks.verify import examine

calls: list[str] = []


@pytest.fixture(autouse=True)
def no_calls() -> None:
    calls.clear()


@remembered
def drawn(rng: np.random.Generator, M: np.ndarray, instance: Instance, *, times: int = 1) -> np.ndarray:
    calls.append("drawn")
    return times * M + rng.standard_normal(M.shape) + instance.seed


@remembered
def half(value: float) -> float:
    calls.append("half")
    if value < 0:
        raise ValueError("value: negative")
    return value / 2


M = np.arange(4.0)


def test_equal_arguments_are_computed_once_and_leave_the_generator_where_the_call_left_it() -> None:
    first, second = np.random.default_rng(1), np.random.default_rng(1)
    with remembering():
        one = drawn(first, M, draw("generic", 6, 1, 2, 0))
        assert np.array_equal(drawn(second, M.copy(), draw("generic", 6, 1, 2, 0), times=1), one)
        assert len(calls) == 1
        assert first.random() == second.random()
        assert not np.array_equal(drawn(first, M, draw("generic", 6, 1, 2, 0)), one)
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("other", "instance", "times"),
    [
        (M + np.finfo(float).tiny, draw("generic", 6, 1, 2, 0), 1),
        (M[None], draw("generic", 6, 1, 2, 0), 1),
        (M, draw("generic", 6, 1, 2, 1), 1),
        (M, draw("generic", 6, 1, 2, 0), 2),
        (M, Instance("generic d=6 k=1 T=2", GroundTruth(np.eye(6), np.ones((3, 6, 1))), 0), 1),
    ],
    ids=["bits", "shape", "seed", "keyword", "truth"],
)
def test_other_arguments_are_computed_again(other: np.ndarray, instance: Instance, times: int) -> None:
    with remembering():
        drawn(np.random.default_rng(1), M, draw("generic", 6, 1, 2, 0))
        drawn(np.random.default_rng(1), other, instance, times=times)
    assert len(calls) == 2


@remembered
def described(value: object) -> str:
    return repr(value)


@pytest.mark.parametrize(
    "value",
    [1, True, 1.0, np.float32(1), np.float64(1), 0.0, -0.0, (1, 2), (True, 2.0), np.array([1.0], "f4")],
    ids=lambda value: f"{type(value).__name__} {value}",
)
def test_what_python_takes_for_equal_is_computed_apart(value: object) -> None:
    with remembering():
        for other in (1, True, 1.0, np.float32(1), np.float64(1), 0.0, -0.0, (1, 2), (True, 2.0), np.array([1.0])):
            described(other)
        assert described(value) == repr(value)


def test_nan_is_found_again() -> None:
    with remembering():
        half(float("nan"))
        half(float("nan"))
    assert len(calls) == 1


@pytest.mark.parametrize(
    "value", [[1.0], np.array([None]), (np.random.default_rng(0),)], ids=["list", "objects", "generator in a tuple"]
)
def test_what_has_no_equality_is_refused(value: object) -> None:
    with remembering(), pytest.raises(TypeError):
        described(value)


@remembered
def pair(size: int) -> tuple[np.ndarray, Instance]:
    return np.zeros(size), Instance("zeros", GroundTruth(np.zeros((size, size)), np.zeros((3, size, 1))), 0)


def test_a_shared_result_cannot_be_written_to() -> None:
    with remembering():
        array, instance = pair(2)
        for shared in (array, instance.truth.A_star):
            with pytest.raises(ValueError, match="read-only"):
                shared += 1
        assert not np.any(pair(2)[0])


def test_memory_ends_with_the_outermost_block_unless_it_is_kept() -> None:
    half(2.0)
    half(2.0)
    assert len(calls) == 2
    for blocks in (1, 2):
        with remembering():
            half(2.0)
            with remembering():
                assert half(2.0) == 1
        assert len(calls) == 2 + blocks
    kept: Memory = {}
    for _ in range(2):
        with remembering(kept):
            half(2.0)
    assert len(calls) == 5


def test_a_failure_is_not_remembered() -> None:
    with remembering():
        for _ in range(2):
            with pytest.raises(ValueError, match="negative"):
                half(-1.0)
    assert len(calls) == 2


@pytest.mark.parametrize("claim", [ft_1.CLAIM, ft_2.CLAIM, ml_7.CLAIM, ml_9.CLAIM], ids=lambda claim: claim.id)
def test_evidence_is_the_same_to_the_last_bit(claim: Claim) -> None:
    profile, instance = Profile("test", trials=40, starts=2), draw("generic", 8, 1, 3, 0)
    alone = examine(claim.check, instance, profile)
    with remembering():
        both = [examine(claim.check, draw("generic", 8, 1, 3, 0), profile) for _ in range(2)]
    assert [repr(found) for found in both] == 2 * [repr(alone)]
