from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
import torch
from peft import IA3Config, LoraConfig
from torch import nn

from realdata.peft_ml.meta_model import MetaPeftModel
from realdata.peft_ml.trained import UntrainedError, plain_trained
from tests.realdata.peft_ml.small_models import Convolution, Mlp, rows_of, seeded, tiny_bert

TASKS = ("a", "b", "c")
LORA = LoraConfig(r=2, target_modules="all-linear")
IA3 = IA3Config(target_modules="all-linear", feedforward_modules=[])


def made(adapter: Any = LORA, *, head: str | None = None, **more: Any) -> MetaPeftModel:
    return MetaPeftModel(seeded(0, Mlp), TASKS, adapter=adapter, head=head, seed=0, **more)


def one_pass(
    meta: MetaPeftModel,
    *,
    tasks: Sequence[str] = TASKS,
    parameters: Iterable[nn.Parameter] | None = None,
    **options: Any,
) -> None:
    """Take one step of AdamW on the rows of these tasks."""
    optimizer = torch.optim.AdamW(meta.parameters() if parameters is None else parameters, **{"lr": 0.01, **options})
    optimizer.zero_grad()
    meta(rows_of(seeded(0, Mlp), len(tasks)), list(tasks)).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("head", [None, "head"])
@pytest.mark.parametrize("adapter", [LORA, IA3, None], ids=["lora", "ia3", "none"])
def test_one_pass_over_all_tasks_is_enough(adapter: Any, head: str | None) -> None:
    meta = made(adapter, head=head or ("head" if adapter is None else None))
    trained = meta.trained()
    one_pass(meta)
    trained.check()


def test_one_step_leaves_a_factor_of_lora_still_and_two_do_not() -> None:
    meta = made()
    trained = meta.trained()
    assert set(trained.still()) == {"base", *(f"adapter of {task}" for task in TASKS)}
    one_pass(meta)
    assert all("lora_A" in name for names in trained.still().values() for name in names)
    assert set(trained.still()) == {f"adapter of {task}" for task in TASKS}
    one_pass(meta)
    assert trained.still() == {}


def test_a_task_left_out_is_named() -> None:
    meta = made()
    trained = meta.trained()
    one_pass(meta, tasks=("a", "c"))
    with pytest.raises(UntrainedError) as caught:
        trained.check()
    assert str(caught.value) == "not trained after a pass over all tasks: adapter of b (no gradient reaches it)"


def test_weight_decay_alone_is_no_training() -> None:
    """With gradients of zero instead of none, decay moves every adapter; only b has never had a gradient."""
    meta = made()
    trained = meta.trained()
    start = {name: p.detach().clone() for name, p in meta.adapter_parameters("b").items()}
    optimizer = torch.optim.AdamW(meta.parameters(), lr=0.01, weight_decay=0.1)
    for parameter in meta.parameters():
        parameter.grad = torch.zeros_like(parameter)
    meta(rows_of(seeded(0, Mlp), 2), ["a", "c"]).square().sum().backward()
    optimizer.step()
    assert any(not torch.equal(p, start[name]) for name, p in meta.adapter_parameters("b").items())
    with pytest.raises(
        UntrainedError, match=r"adapter of b \(no gradient reaches it, so weight decay alone moves it\)$"
    ):
        trained.check()


def test_what_the_optimizer_does_not_hold_is_named() -> None:
    meta = made()
    trained = meta.trained()
    one_pass(meta, parameters=meta.base_parameters().values())
    with pytest.raises(UntrainedError) as caught:
        trained.check()
    for task in TASKS:
        assert f"adapter of {task} (gradients reach it, but no step moves it: is it in the optimizer?)" in str(
            caught.value
        )
    assert "base" not in str(caught.value)


def test_a_base_that_is_not_trained_is_named() -> None:
    meta = made()
    trained = meta.trained()
    one_pass(meta, parameters=[p for own in meta.all_adapter_parameters().values() for p in own.values()])
    with pytest.raises(UntrainedError, match=r"tasks: base \(gradients reach it, but no step moves it"):
        trained.check()


def test_a_learning_rate_of_zero_is_no_training() -> None:
    meta = made()
    trained = meta.trained()
    one_pass(meta, lr=0.0)
    with pytest.raises(
        UntrainedError, match=r"base \(gradients reach .* adapter of a .* adapter of b .* adapter of c "
    ):
        trained.check()


def test_frozen_by_hand_is_named() -> None:
    meta = made()
    for parameter in meta.base_parameters().values():
        parameter.requires_grad_(False)
    trained = meta.trained()
    assert not any(parameter.requires_grad for parameter in meta.base_parameters().values())  # the watch keeps flags
    one_pass(meta)
    with pytest.raises(UntrainedError, match=r"tasks: base \(it requires no gradient\)$"):
        trained.check()


def test_an_update_whose_entries_sum_to_zero_counts() -> None:
    """As that of a softmax layer's bias does: a sum of the values would miss it."""
    model = nn.Linear(1, 2, bias=True).double()
    trained = plain_trained(model)
    torch.autograd.backward(nn.functional.cross_entropy(model(torch.zeros(1, 1).double()), torch.tensor([0])))
    assert model.bias.grad is not None
    assert abs(float(model.bias.grad.sum())) < 1e-15
    with torch.no_grad():
        model.bias.sub_(model.bias.grad)
    trained.check()
    assert trained.still() == {"model": ["weight"]}


def test_frozen_base_is_no_part_and_stays_unchecked() -> None:
    meta = made(train_base=False)
    trained = meta.trained()
    one_pass(meta)
    trained.check()


def test_hooks_go_once_all_is_well() -> None:
    meta = made()
    trained = meta.trained()
    one_pass(meta)
    trained.check()
    assert not any(parameter._post_accumulate_grad_hooks for parameter in meta.parameters())


def test_half_precision_and_nan() -> None:
    model = nn.Linear(2, 1).bfloat16()
    with torch.no_grad():
        model.weight.fill_(float("nan"))
    trained = plain_trained(model)
    model(torch.ones(1, 2).bfloat16()).sum().backward()
    with pytest.raises(UntrainedError, match="no step moves it"):  # NaN differs from itself, but not its bits
        trained.check()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    trained.check()


def test_table_counts_and_says_why() -> None:
    meta = made(head="head", train_base=False)
    lines = str(meta.trained()).splitlines()
    assert [line.split() for line in lines[:-1]] == [
        ["trained", "adapter", "of", "each", "of", "3", "tasks", "2", "tensors", "28", "numbers"],  # 2 × 6 and 8 × 2
        ["trained", "copied", "head", "of", "each", "of", "3", "tasks", "2", "tensors", "18", "numbers"],
        ["frozen", "base", "2", "tensors", "56", "numbers", "train_base", "is", "off"],
        [
            "frozen",
            "the",
            "base's",
            "own",
            "head",
            "2",
            "tensors",
            "18",
            "numbers",
            "each",
            "task",
            "has",
            "a",
            "copy",
            "of",
            "its",
            "own",
        ],
    ]
    assert lines[-1].startswith("rows of several tasks: one forward (to be compared")


def test_table_of_a_whole_model() -> None:
    meta = MetaPeftModel(tiny_bert(), ["a", "b"], adapter=IA3, seed=0)
    row, _, note = str(meta.trained()).splitlines()
    assert f"{sum(p.numel() for p in tiny_bert().parameters()):,} numbers" in row
    _, own = str(MetaPeftModel(tiny_bert(), ["only"], adapter=IA3, seed=0).trained()).splitlines()
    assert "adapter of only " in own
    assert "one forward per task (" in note
    assert "has adapters other than LoRA on a linear layer: peft.tuners.ia3.layer.Linear" in note


def test_table_of_a_plain_model() -> None:
    model = seeded(0, Mlp)
    model.get_parameter("body.weight").requires_grad_(False)
    trained = plain_trained(model)
    assert [tuple(row) for row in trained.rows] == [
        ("trained", "model", 3, 26, ""),
        ("frozen", "model", 1, 48, "requires_grad is off"),
    ]
    with pytest.raises(UntrainedError, match=r"tasks: model \(no gradient reaches it\)$"):
        trained.check()


def test_a_plain_model_without_parameters_to_train() -> None:
    model = seeded(0, Convolution).requires_grad_(False)
    with pytest.raises(UntrainedError, match=r"model \(it has no parameters\)"):
        plain_trained(model).check()
