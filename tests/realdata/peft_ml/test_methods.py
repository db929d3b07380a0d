"""Steps of each method against the same steps written out by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad

from realdata.peft_ml.budget import Count
from realdata.peft_ml.data import Batch, Task
from realdata.peft_ml.methods import METHODS
from realdata.peft_ml.methods.inner_loop import loop_lengths
from realdata.peft_ml.optimisation import usable_accelerator
from realdata.peft_ml.settings import ADAPTED, MetaSettings, RetrainingSettings
from realdata.peft_ml.stream import TaskStream, shares
from realdata.peft_ml.training import Training
from realdata.peft_ml.training_setup import RetrainingSetup
from tests.realdata.peft_ml import toy

RATE = 0.3
PLAIN = RetrainingSettings(epochs=3, batch_size=12, learning_rate=RATE, optimizer="sgd", steps_per_epoch=1)
META = MetaSettings(inner_steps=3, inner_learning_rate=0.2, outer_optimizer="sgd", outer_learning_rate=RATE)
State = dict[str, Tensor]


def setup_of(settings: RetrainingSettings = PLAIN, *, number: int = 3, **options: Any) -> RetrainingSetup:
    return RetrainingSetup(
        model=toy.perceptron(dropout=0.0),
        tasks=tuple(toy.tasks(number)),
        problem=toy.TwoClasses(),
        settings=settings,
        head=toy.HEAD,
        seed=0,
        accelerator=usable_accelerator(None),
        **{"method": "lora-ml", **options},
    )


def train(method: Training, epoch: int = 1) -> Tensor:
    method.model.train()
    return method.train(epoch)


def parameters(model: nn.Module) -> State:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def batches(task: Task, counts: list[int], epoch: int = 1) -> Iterator[Batch]:
    stream = TaskStream(task, seed=0, epoch=epoch)
    return (stream.take(count) for count in counts)


def loss(state: Mapping[str, Tensor], batch: Batch) -> Tensor:
    outputs = functional_call(toy.perceptron(dropout=0.0), dict(state), (batch.inputs,))
    return nn.functional.cross_entropy(outputs, batch.targets)


def descended(state: State, batch: Batch, rate: float) -> State:
    gradient = grad(loss)(state, batch)
    return {name: value - rate * gradient[name] for name, value in state.items()}


def assert_close(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch_size", [12, 13])
def test_standard_descends_on_the_sum_of_the_tasks_mean_losses(batch_size: int) -> None:
    setup = setup_of(replace(PLAIN, batch_size=batch_size))
    counts = shares(batch_size, 3, step=0)
    parts = [next(batches(task, [count])) for task, count in zip(setup.tasks, counts, strict=True)]
    start = parameters(setup.model)

    def objective(state: State) -> Tensor:
        return torch.stack([loss(state, part) for part in parts]).sum()

    gradient = grad(objective)(start)
    method = METHODS["standard"](setup)
    reported = train(method)
    assert_close(parameters(method.base()), {name: start[name] - RATE * gradient[name] for name in start})
    torch.testing.assert_close(reported, objective(start) / 3)


def adapted(state: State, adapter: State) -> State:
    """Return the weights with the shift B A of a LoRA adapter whose factor is 1."""
    shifted = dict(state)
    for layer in ("body", "head"):
        A, B = (next(adapter[n] for n in adapter if layer in n and f"lora_{which}" in n) for which in "AB")
        shifted[f"{layer}.weight"] = state[f"{layer}.weight"] + B @ A
    return shifted


def lora_method(settings: RetrainingSettings) -> tuple[Training, RetrainingSetup]:
    """Return lora-ml whose second factors are not 0, so that every gradient counts."""
    setup = setup_of(settings)
    method = METHODS["lora-ml"](setup)
    assert method.meta_model is not None
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for adapter in method.meta_model.all_adapter_parameters().values():
            for parameter in adapter.values():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / 3)
    return method, setup


def adapters(method: Training) -> dict[str, State]:
    assert method.meta_model is not None
    found = method.meta_model.all_adapter_parameters()
    return {task: {name: p.detach().clone() for name, p in own.items()} for task, own in found.items()}


def test_lora_ml_descends_on_the_objective_jointly() -> None:
    method, setup = lora_method(replace(PLAIN, rank=2))
    base, own = parameters(method.base()), adapters(method)
    parts = {task.name: next(batches(task, [4])) for task in setup.tasks}

    def objective(theta: State, phi: dict[str, State]) -> Tensor:
        return torch.stack([loss(adapted(theta, phi[name]), part) for name, part in parts.items()]).sum()

    by_theta, by_phi = grad(objective, argnums=(0, 1))(base, own)
    reported = train(method)
    assert_close(parameters(method.base()), {name: base[name] - RATE * by_theta[name] for name in base})
    for name, after in adapters(method).items():
        assert_close(after, {key: own[name][key] - RATE * by_phi[name][key] for key in own[name]})
    torch.testing.assert_close(reported, objective(base, own) / 3)


def test_adapters_have_their_own_learning_rate() -> None:
    together, _ = lora_method(PLAIN)
    apart, _ = lora_method(replace(PLAIN, adapter_learning_rate=0.0))
    start = adapters(apart)
    train(together)
    train(apart)
    assert_close(parameters(apart.base()), parameters(together.base()))
    for name, after in adapters(apart).items():
        assert_close(after, start[name])


@pytest.mark.parametrize("name", ["lora-ml", "last-layer-ml", "lora-ml with IA3"])
def test_the_alternating_scheme_moves_either_the_adapters_or_the_base(name: str) -> None:
    from peft import IA3Config

    settings = replace(PLAIN, scheme="alternating", inner_steps=2, optimizer="adam", weight_decay=0.1)
    adapter = IA3Config(target_modules=["body"], feedforward_modules=[]) if "IA3" in name else None
    method = METHODS[name.removesuffix(" with IA3")](setup_of(settings, adapter=adapter))
    moved = []
    for epoch in range(1, 8):  # of one step each
        base, own = parameters(method.base()), adapters(method)
        train(method, epoch)
        moves_base = any(not torch.equal(p, base[name]) for name, p in parameters(method.base()).items())
        moves_own = any(
            not torch.equal(p, own[t][n]) for t, after in adapters(method).items() for n, p in after.items()
        )
        moved.append((moves_base, moves_own))
    assert moved == [(False, True), (False, True), (True, False)] * 2 + [(False, True)]
    assert method.steps_to_move == 3


def test_an_alternating_step_is_the_joint_steps_part() -> None:
    joint, _ = lora_method(PLAIN)
    alternating, _ = lora_method(replace(PLAIN, scheme="alternating"))
    base = parameters(alternating.base())
    train(joint)
    train(alternating)
    assert_close(parameters(alternating.base()), base)
    for name, after in adapters(alternating).items():
        assert_close(after, adapters(joint)[name])


def test_last_layer_ml_shares_the_body_and_not_the_head() -> None:
    setup = setup_of(replace(PLAIN, batch_size=6))
    method = METHODS["last-layer-ml"](setup)
    base, own = parameters(method.base()), adapters(method)
    parts = {task.name: next(batches(task, [2])) for task in setup.tasks}

    def objective(body: State, heads: dict[str, State]) -> Tensor:
        return torch.stack(
            [
                loss({**body, **{f"head.{n.rpartition('.')[2]}": p for n, p in heads[name].items()}}, part)
                for name, part in parts.items()
            ]
        ).sum()

    body = {name: value for name, value in base.items() if name.startswith("body")}
    by_body, by_heads = grad(objective, argnums=(0, 1))(body, own)
    train(method)
    after = parameters(method.base())
    assert_close({name: after[name] for name in body}, {name: body[name] - RATE * by_body[name] for name in body})
    for name, head in adapters(method).items():
        assert_close(head, {key: own[name][key] - RATE * by_heads[name][key] for key in own[name]})


def reptile_by_hand(setup: RetrainingSetup, start: State) -> tuple[Task, State]:
    """Return the task whose batches were taken and θ̃ after 3 inner steps on it, found by trying all tasks."""
    method = METHODS["reptile"](setup)
    train(method)
    candidates = []
    for task in setup.tasks:
        state = start
        for batch in batches(task, [12] * 3):
            state = descended(state, batch, META.inner_learning_rate)
        expected = {name: start[name] + RATE * (state[name] - start[name]) for name in start}
        found = parameters(method.base())
        if all(torch.allclose(found[name], expected[name], rtol=1e-5, atol=1e-6) for name in start):
            candidates.append((task, state))
    (one,) = candidates
    return one


@pytest.mark.parametrize("outer", ["sgd", "interpolate"])
def test_reptile_moves_towards_the_adapted_parameters(outer: Any) -> None:
    setup = setup_of(replace(PLAIN, steps_per_epoch=3, meta=replace(META, outer_optimizer=outer)))
    task, _ = reptile_by_hand(setup, parameters(setup.model))
    assert task in setup.tasks
    assert setup.budget.spent == Count(3, 36)


def test_the_other_sign_moves_away_as_far() -> None:
    settings = replace(PLAIN, steps_per_epoch=3, meta=META)
    quirk = replace(settings, meta=replace(META, reptile_sign=-1))
    found = {}
    for name, one in (("published", settings), ("quirk", quirk)):
        method = METHODS["reptile"](setup_of(one))
        start = parameters(method.base())
        train(method)
        found[name] = {key: value - start[key] for key, value in parameters(method.base()).items()}
    assert_close(found["quirk"], {name: -step for name, step in found["published"].items()})
    assert max(float(step.abs().max()) for step in found["published"].values()) > 1e-3


def test_reptile_gives_an_optimizer_the_difference_as_a_gradient() -> None:
    """Adam's first step is its learning rate times the sign of the gradient."""
    settings = replace(PLAIN, steps_per_epoch=3, meta=replace(META, outer_optimizer="adam", outer_learning_rate=0.01))
    method, plain = METHODS["reptile"](setup_of(settings)), METHODS["reptile"](setup_of(replace(settings, meta=META)))
    start = parameters(method.base())
    train(method)
    train(plain)
    direction = {name: torch.sign(value - start[name]) for name, value in parameters(plain.base()).items()}
    for name, value in parameters(method.base()).items():
        torch.testing.assert_close(value - start[name], 0.01 * direction[name], rtol=1e-2, atol=1e-5)


def test_fomaml_takes_the_gradient_at_the_adapted_parameters() -> None:
    setup = setup_of(replace(PLAIN, steps_per_epoch=4, meta=META))
    start = parameters(setup.model)
    reptile_setup = setup_of(replace(PLAIN, steps_per_epoch=3, meta=META))
    task, adapted_state = reptile_by_hand(reptile_setup, start)  # the same task first, and the same support batches
    *_, query = batches(task, [12] * 4)
    gradient = grad(loss)(adapted_state, query)
    method = METHODS["fomaml"](setup)
    train(method)
    assert_close(parameters(method.base()), {name: start[name] - RATE * gradient[name] for name in start})
    assert setup.budget.spent == Count(4, 48)


@pytest.mark.parametrize("name", ["reptile", "fomaml"])
def test_tasks_take_turns(name: str) -> None:
    seen: list[str] = []
    setup = setup_of(
        replace(PLAIN, steps_per_epoch=8, meta=replace(META, inner_steps=4 - (name == "fomaml"))), number=4
    )
    watched = tuple(
        replace(task, train=replace(task.train, seen=lambda _, name=task.name: seen.append(name)))  # type: ignore[type-var]
        for task in setup.tasks
    )
    method = METHODS[name](replace(setup, tasks=watched))
    for epoch in (1, 2, 3, 4):  # two loops of four steps each
        train(method, epoch)
    assert all(len(set(seen[start : start + 4])) == 1 for start in range(0, 32, 4))
    rounds = [seen[start : start + 16 : 4] for start in (0, 16)]
    assert [sorted(one) for one in rounds] == [["a", "b", "c", "d"]] * 2


@pytest.mark.parametrize("name", ["reptile", "fomaml"])
def test_adaptation_for_evaluation_leaves_no_trace(name: str) -> None:
    setup = replace(setup_of(replace(PLAIN, meta=META, steps_per_epoch=4)), model=toy.perceptron(normed=True))
    method = METHODS[name](setup)
    train(method)
    before = {key: value.clone() for key, value in method.model.state_dict().items()}
    spent, random = setup.budget.spent, torch.get_rng_state()
    inputs = setup.tasks[0].test.batch(torch.arange(20).numpy()).inputs
    outputs = []
    for _ in range(2):
        with method.used_by(setup.tasks[0]) as forward:
            method.model.eval()
            outputs.append(forward(inputs).detach())
            method.model.train()
    assert torch.equal(outputs[0], outputs[1])
    method.model.eval()
    assert not torch.allclose(outputs[0], method.model(inputs))
    assert all(torch.equal(value, before[key]) for key, value in method.model.state_dict().items())
    assert setup.budget.spent == spent
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize(
    ("steps", "length", "least", "expected"),
    [(80, 20, 1, [20] * 4), (50, 20, 1, [17, 17, 16]), (5, 20, 1, [5]), (3, 2, 2, [3]), (21, 20, 1, [21])],
)
def test_an_epoch_is_split_into_loops(steps: int, length: int, least: int, expected: list[int]) -> None:
    assert loop_lengths(steps, length=length, least=least) == expected


def test_fomaml_needs_two_steps_and_no_interpolation() -> None:
    with pytest.raises(ValueError, match="an epoch must have at least 2 gradient steps for this method, got 1"):
        METHODS["fomaml"](setup_of(replace(PLAIN, meta=META)))
    settings = replace(PLAIN, steps_per_epoch=4, meta=replace(META, outer_optimizer="interpolate"))
    with pytest.raises(ValueError, match="interpolate is for reptile"):
        METHODS["fomaml"](setup_of(settings))


@pytest.mark.parametrize("name", ["standard", "lora-ml", "last-layer-ml"])
def test_a_mixed_batch_holds_an_example_of_each_task(name: str) -> None:
    with pytest.raises(ValueError, match="batch_size must be at least 3, the number of tasks"):
        METHODS[name](setup_of(replace(PLAIN, batch_size=2)))


@pytest.mark.parametrize("name", sorted(METHODS.keys() - set(ADAPTED)))
def test_adapters_are_for_methods_that_depend_on_them(name: str) -> None:
    with pytest.raises(ValueError, match=f"adapter is for {', '.join(ADAPTED)}, got it with {name}"):
        setup_of(method=name, adapter=PLAIN.lora())
    with pytest.raises(ValueError, match=f"head_per_task is for {', '.join(ADAPTED)}, got it with {name}"):
        setup_of(method=name, head_per_task=True)
