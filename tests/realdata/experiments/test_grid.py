"""The runs of a grid, and which of them are the same work."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realdata.experiments.grid import (
    FINETUNES,
    NO_RETRAINING,
    WAYS,
    GridSettings,
    RetrainingKey,
    keys,
    quirk_axis,
    work_of,
)
from realdata.experiments.records import RunKey, run_id
from realdata.peft_ml.methods import METHODS
from realdata.peft_ml.settings import ADAPTED
from realdata.vision.quirks import NAMES, Relevance
from tests.realdata.experiments.made import key

EVERY = GridSettings(
    methods=WAYS,
    finetune=("lora", "last-layer", "full"),
    seeds=(0, 1),
    n=(5, 10, "all"),
    rank=(1, 2),
)
GRID = GridSettings(methods=("standard", "lora-ml"), finetune=("lora", "last-layer"), seeds=(0, 1), n=(5, "all"))
RELEVANCE = Relevance(augmented=True)


def test_methods_are_those_that_there_are() -> None:
    assert sorted(WAYS) == sorted([*METHODS, NO_RETRAINING])


def test_a_grid_is_the_product_of_its_axes() -> None:
    found = list(keys(GRID, tasks=["a", "b"]))
    axes = product((0, 1), ("standard", "lora-ml"), ("lora", "last-layer"), (5, None), ("a", "b"))
    assert found == [RunKey(method, seed, (), finetune, 1, n, task) for seed, method, finetune, n, task in axes]


def test_the_axis_of_switches_is_none_each_and_all() -> None:
    assert quirk_axis(["a", "b"]) == [(), ("a",), ("b",), ("a", "b")]
    found = keys(GRID, quirks=quirk_axis(["b", "a"]), tasks=["a"])
    assert {one.quirks for one in found} == {(), ("a",), ("b",), ("a", "b")}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"seeds": ()}, "seeds: got an empty list, expected one value or more"),
        ({"seeds": (3, 3)}, "seeds: got 3 twice, expected every value once"),
        ({"seeds": (-1,)}, "seeds: got -1, expected a whole number in 0..999999999999999999"),
        ({"n": (0,)}, "n: got 0, expected a whole number in 1..1000000"),
        ({"rank": (0,)}, "rank: got 0, expected a whole number in 1..1000000"),
        ({"seeds": tuple(range(1001))}, "seeds: got 1001 of them, expected at most 1000"),
    ],
)
def test_a_value_that_makes_no_sense_is_named(changes: dict[str, tuple[int, ...]], text: str) -> None:
    with pytest.raises(ValueError, match=text.replace("(", r"\(")):
        GridSettings(methods=("standard",), finetune=("lora",), **{"seeds": (0,), **changes})  # type: ignore[arg-type]


def test_a_rank_without_adapters_is_the_same_work() -> None:
    assert len({work_of(key(finetune="last-layer", rank=rank), RELEVANCE) for rank in (1, 4)}) == 1
    assert len({work_of(key(finetune="lora", rank=rank), RELEVANCE) for rank in (1, 4)}) == 2
    assert len({work_of(key(rank=rank), RELEVANCE).retraining for rank in (1, 4)}) == 1
    assert len({work_of(key(method="lora-ml", rank=rank), RELEVANCE).retraining for rank in (1, 4)}) == 2


def test_one_retraining_serves_all_its_fine_tunings() -> None:
    assert EVERY.finetune == FINETUNES
    works = {work_of(one, RELEVANCE) for one in keys(EVERY, tasks=["a"])}
    assert len({work.retraining for work in works}) == 2 * (len(WAYS) + len(ADAPTED))  # theirs for each of two ranks


def test_a_switch_that_has_no_effect_changes_no_work() -> None:
    away = ("reptile-away",)
    assert work_of(key(quirks=away), RELEVANCE) == work_of(key(), RELEVANCE)
    reptile = key(method="reptile", quirks=away)
    assert work_of(reptile, RELEVANCE).retraining.quirks == away
    ignored = ("rank-ignored",)
    assert work_of(key(method="lora-ml", quirks=ignored), RELEVANCE) == work_of(key(method="lora-ml"), RELEVANCE)
    assert work_of(key(method="lora-ml", rank=2, quirks=ignored), RELEVANCE).retraining.quirks == ignored


work_keys = st.builds(
    key,
    method=st.sampled_from(WAYS),
    seed=st.integers(0, 2),
    finetune=st.sampled_from(FINETUNES),
    rank=st.sampled_from([1, 2]),
    n=st.sampled_from([None, 5]),
    quirks=st.sets(st.sampled_from(NAMES)).map(lambda on: tuple(sorted(on))),
)


@given(work_keys, work_keys)
def test_different_work_has_different_names(one: RunKey, other: RunKey) -> None:
    a, b = work_of(one, RELEVANCE), work_of(other, RELEVANCE)
    assert (a.id == b.id) == (a == b)
    assert (a.retraining.id == b.retraining.id) == (a.retraining == b.retraining)
    assert len(a.id) < 240  # with .checkpoint behind it a file's name
    assert len(run_id(one)) < 240


def test_names_of_retrainings_can_be_read() -> None:
    assert RetrainingKey("lora-ml", 7, ("bias-dropped",), 4).id == "lora-ml.rank-4.seed-7.bias-dropped"


def test_all_switches_are_sorted_and_known_once() -> None:
    assert all(a < b for a, b in pairwise(NAMES))
