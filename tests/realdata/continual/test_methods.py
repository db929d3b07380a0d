"""What each method does at a task's start, in training, and at its end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from realdata.continual.chain import METHOD_CLASSES
from realdata.continual.factors import ADAPTER, Layers, Pair, Pairs, attached, factors, merged, modules, put
from realdata.continual.methods import Method, Stage, State
from realdata.continual.settings import ContinualSettings
from realdata.peft_ml.seeding import torch_seeded
from tests.realdata.continual.small import ORDER, few, problem, quick

WIDTH, RANK = 32, 4


def pairs(seed: int) -> Pairs:
    generator = torch.Generator().manual_seed(seed)
    A = torch.randn(RANK, WIDTH, generator=generator) / WIDTH**0.5
    return {"map": Pair(A, torch.randn(WIDTH, RANK, generator=generator) / RANK**0.5)}


def outputs(name: str, settings: ContinualSettings, state: State) -> tuple[Tensor, Tensor]:
    """Return what the adapted map gives before a method prepares a task, and after it has."""
    tasks = problem()
    method = METHOD_CLASSES[name](settings, tasks, seed=0)  # type: ignore[index]  # a method's name
    x = tasks.tasks["first"].sentences["test"][:10]
    with attached(tasks.plain, Layers(("map",), settings.training), seed=1) as model, torch_seeded(0, "test"):
        if state.pairs and not method.accumulates:
            put(model, state.pairs[-1])
        frozen = state.pairs if method.accumulates else []
        with merged(model, frozen, scale=2.0), torch.no_grad():
            before = model.eval()(x)
            method.prepare(model, state)
            return before, model.eval()(x)


@pytest.mark.parametrize("kind", ["diagonal", "haar", "wiener"])
def test_deal_preserving_changes_nothing_at_a_tasks_start(kind: str) -> None:
    before, after = outputs("deal-preserving", quick(deal={"filter": kind}), State([pairs(1)]))
    assert torch.max(torch.abs(after - before)) <= 1e-5 * torch.max(torch.abs(before))
    assert not torch.equal(before, problem().tasks["first"].sentences["test"][:10])  # the adapter does act


@pytest.mark.parametrize("name", ["sequential", "incremental", "o-lora", "o-lora-exact", "replay", "ewc"])
def test_methods_without_a_network_change_nothing_either(name: str) -> None:
    before, after = outputs(name, quick(), State([pairs(1)]))
    assert torch.max(torch.abs(after - before)) <= 1e-5 * torch.max(torch.abs(before))


@pytest.mark.parametrize("name", ["deal-as-written", "deal-released"])
def test_a_fresh_network_changes_the_model_by_more_than_a_tenth(name: str) -> None:
    before, after = outputs(name, quick(), State([pairs(1)]))
    plain = problem().tasks["first"].sentences["test"][:10]
    assert torch.linalg.norm(after - before) > 0.1 * torch.linalg.norm(before - plain)


def test_without_the_quirk_the_released_network_starts_as_the_identity() -> None:
    before, after = outputs("deal-released", quick(deal={"quirks": ["freeze-b"]}), State([pairs(1)]))
    assert torch.max(torch.abs(after - before)) <= 1e-5 * torch.max(torch.abs(before))


def test_heat_is_refused_where_a_task_must_start_as_the_last_one_ended() -> None:
    with pytest.raises(ValueError, match="deal-preserving: the filter heat is not the identity"):
        outputs("deal-preserving", quick(deal={"filter": "heat"}), State([pairs(1)]))
    before, after = outputs("deal-as-written", quick(deal={"filter": "heat"}), State([pairs(1)]))
    assert before.shape == after.shape


def trained(name: str, settings: ContinualSettings, state: State, *, steps: int = 3) -> tuple[State, list[str], float]:
    """Take a few steps of a task; return the state, the names of what was trained, and the last penalty."""
    tasks = few()
    method: Method = METHOD_CLASSES[name](settings, tasks, seed=0)  # type: ignore[index]  # a method's name
    with attached(tasks.plain, Layers(("map",), settings.training), seed=1) as model, torch_seeded(0, "test"):
        if state.pairs and not (method.accumulates or method.fresh):
            put(model, state.pairs[-1])
        with merged(model, state.pairs if method.accumulates else [], scale=2.0):
            method.prepare(model, state)
            named = {key: x for key, x in model.named_parameters() if x.requires_grad}
            optimizer = torch.optim.SGD(named.values(), lr=0.01)
            penalty = 0.0
            for _ in range(steps):
                loss = tasks.loss(model.train().get_base_model(), {"second": np.arange(8)})
                extra = method.penalty(model, state)
                penalty = 0.0 if extra is None else extra.item()
                (loss if extra is None else loss + extra).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                optimizer.zero_grad()
            return method.ended(model, state, Stage(2, ("second",))), list(named), penalty


def test_the_released_lora_b_is_frozen_and_the_penalty_is_off_as_quirks_say() -> None:
    state, named, penalty = trained("deal-released", quick(), State([pairs(1)]))
    assert not [name for name in named if "lora_B" in name]
    assert torch.equal(state.pairs[-1]["map"].B, pairs(1)["map"].B)
    assert (penalty, state.kept) == (0.0, {})
    state, named, penalty = trained("deal-released", quick(deal={"quirks": []}), State([pairs(1)]))
    assert [name for name in named if "lora_B" in name]
    assert not torch.equal(state.pairs[-1]["map"].B, pairs(1)["map"].B)
    assert penalty > 0
    assert sorted(state.kept) == ["map.first.bias", "map.first.weight", "map.last.bias", "map.last.weight"]


def test_a_kept_network_goes_on_and_is_put_back_into_a_loaded_model() -> None:
    settings = quick(deal={"quirks": ["fresh-mlp"]})
    state, _, _ = trained("deal-released", settings, State([pairs(1)]))
    tasks = few()
    method = METHOD_CLASSES["deal-released"](settings, tasks, seed=0)
    with attached(tasks.plain, Layers(("map",), settings.training), seed=5) as model:
        put(model, state.pairs[-1])
        plain = model.eval()(tasks.tasks["first"].labels)
        method.equip(model, state)
        assert not torch.allclose(plain, model.eval()(tasks.tasks["first"].labels))
        network: Any = modules(model)["map"].lora_A[ADAPTER].get_submodule("network")
        assert torch.equal(network.first.weight, state.kept["map.first.weight"])


@pytest.mark.parametrize("name", ["deal-as-written", "deal-preserving"])
def test_filters_are_trained_and_merge_into_the_factors(name: str) -> None:
    settings = quick()
    tasks = few()
    method: Method = METHOD_CLASSES[name](settings, tasks, seed=0)  # type: ignore[index]  # a method's name
    x = tasks.tasks["first"].labels
    with attached(tasks.plain, Layers(("map",), settings.training), seed=1) as model, torch_seeded(0, "test"):
        put(model, pairs(1))
        state = State([pairs(1)])
        method.prepare(model, state)
        penalty = method.penalty(model, state)
        assert penalty is not None
        assert (penalty.item() == 0) == (name == "deal-preserving")
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.1)
            wanted = model.eval()(x)
        merged_factors = factors(model)
    with attached(tasks.plain, Layers(("map",), settings.training), seed=2) as model, torch.no_grad():
        put(model, merged_factors)
        assert torch.allclose(model.eval()(x), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("factor", ["down", "up"])
def test_the_exact_constraint_holds_at_the_end(factor: str) -> None:
    settings = quick(o_lora={"factor": factor})
    state, _, _ = trained("o-lora-exact", settings, State([pairs(1), pairs(2)]))
    assert len(state.pairs) == 3
    new = state.pairs[-1]["map"]
    for earlier in state.pairs[:2]:
        product = earlier["map"].A @ new.A.T if factor == "down" else earlier["map"].B.T @ new.B
        assert torch.max(torch.abs(product)) < 1e-5
    assert torch.linalg.norm(new.B) > 0


def test_without_room_the_exact_constraint_is_refused() -> None:
    full = [pairs(seed) for seed in range(8)]
    with pytest.raises(ValueError, match="o-lora-exact: map has 32 directions, 32 are taken, no room for 4 more"):
        outputs("o-lora-exact", quick(), State(full))


def test_the_penalty_keeps_new_factors_from_earlier_ones() -> None:
    sizes = []
    for weight in (0.0, 5.0):
        settings = quick(o_lora={"orthogonality": weight})
        state, _, _ = trained("o-lora", settings, State([pairs(1)]), steps=30)
        sizes.append(torch.abs(pairs(1)["map"].A @ state.pairs[-1]["map"].A.T).sum())
    assert sizes[1] < 0.5 * sizes[0]


def test_ewc_keeps_where_the_last_task_was_steep() -> None:
    first, _, penalty = trained("ewc", quick(), State([pairs(1)]))
    assert penalty == 0.0  # nothing to keep to before the first task has ended
    assert all(value.min() >= 0 for name, value in first.kept.items() if name.startswith("fisher."))
    free, _, _ = trained("ewc", replace_weight(0.0), first, steps=20)
    kept, _, penalty = trained("ewc", replace_weight(1.0), first, steps=20)
    fisher = first.kept["fisher.map.A"]
    moved = [(fisher * (state.pairs[0]["map"].A - first.pairs[0]["map"].A) ** 2).sum() for state in (free, kept)]
    assert moved[1] < moved[0]
    assert penalty > 0
    assert torch.all(kept.kept["fisher.map.A"] >= fisher)


def replace_weight(weight: float) -> ContinualSettings:
    settings = quick()
    return replace(settings, ewc=replace(settings.ewc, weight=weight))


def test_replay_trains_on_the_task_and_on_as_many_kept_rows_of_each_earlier_one() -> None:
    method = METHOD_CLASSES["replay"](quick(replay={"rows": 5}), few(), seed=3)
    rows = method.rows(Stage(3, ("third",)), ORDER)
    assert {task: len(own) for task, own in rows.items()} == {"first": 5, "second": 5, "third": 24}
    earlier = method.rows(Stage(2, ("second",)), ORDER)
    assert np.array_equal(earlier["first"], rows["first"])


def test_joint_trains_once_on_all_and_no_training_never() -> None:
    settings = quick()
    assert METHOD_CLASSES["joint"](settings, few(), seed=0).stages(ORDER) == [Stage(3, ORDER)]
    assert METHOD_CLASSES["no-training"](settings, few(), seed=0).stages(ORDER) == []
    sequential = METHOD_CLASSES["sequential"](settings, few(), seed=0).stages(ORDER)
    assert sequential == [Stage(1, ("first",)), Stage(2, ("second",)), Stage(3, ("third",))]
