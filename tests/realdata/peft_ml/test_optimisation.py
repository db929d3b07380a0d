from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from realdata.peft_ml.by_length import outputs_of
from realdata.peft_ml.data import Batch
from realdata.peft_ml.methods import METHODS
from realdata.peft_ml.optimisation import (
    Descent,
    Group,
    Schedule,
    on_device,
    trained_copy,
    usable_accelerator,
)
from tests.realdata.peft_ml import toy
from tests.realdata.peft_ml.runs import FINETUNES, fine_tuned, retrained, same_fine_tuned, same_retrained

NAMES = ("constant", "linear", "cosine")


@pytest.fixture
def fresh_state() -> Iterator[None]:
    """Let accelerate forget the settings of this process, before and after."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@given(name=st.sampled_from(NAMES), steps=st.integers(1, 300), warmup=st.floats(0, 0.99))
def test_rates_rise_over_the_warmup_then_never_and_stay_positive(name: Any, steps: int, warmup: float) -> None:
    schedule = Schedule(name, steps=steps, warmup=warmup)
    factors = [schedule.factor(step) for step in range(steps)]
    rise = math.ceil(warmup * steps)
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[:rise] == pytest.approx([(step + 1) / rise for step in range(rise)])
    assert all(later <= earlier for earlier, later in zip(factors[rise:], factors[rise + 1 :], strict=False))


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_rates_fall_from_the_whole_to_nothing(name: Any) -> None:
    schedule = Schedule(name, steps=100)
    assert (schedule.factor(0), schedule.factor(50), schedule.factor(100)) == pytest.approx((1, 0.5, 0))
    assert schedule.factor(25) == pytest.approx({"linear": 0.75, "cosine": (2 + math.sqrt(2)) / 4}[name])


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_descends_as_torchs_own_optimizer_and_scheduler(optimizer: Any) -> None:
    plain, ours = toy.perceptron(), toy.perceptron()
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[optimizer]
    expected = kind(plain.parameters(), lr=0.1, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(expected, 10)
    descent = Descent(
        [Group(list(ours.parameters()), 0.1)],
        optimizer=optimizer,
        weight_decay=0.01,
        schedule=Schedule("cosine", steps=10),
        accelerator=usable_accelerator(None),
    )
    x = torch.linspace(-1, 1, 4 * toy.DIMENSION).reshape(4, -1)
    for step in range(10):
        for model in (plain, ours):
            model.eval()(x).square().sum().backward()
        expected.step()
        expected.zero_grad()
        scheduler.step()
        descent.step(step)
    for one, other in zip(plain.parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
        assert other.grad is None


def scaling(scale: float) -> Any:
    """Return an accelerator with a gradient scaler, which accelerate itself makes on a GPU only."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=7)
    return accelerator


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_gradient_scaler_changes_nothing_in_retraining(method: str) -> None:
    """Powers of 2 scale without rounding, and the factor is back out of every step, the outer ones of reptile too."""
    assert same_retrained(retrained(method, accelerator=scaling(2.0**10)), retrained(method))


@pytest.mark.parametrize("finetune", FINETUNES)
def test_a_gradient_scaler_changes_nothing_in_fine_tuning(finetune: str) -> None:
    assert same_fine_tuned(fine_tuned(finetune, accelerator=scaling(2.0**10)), fine_tuned(finetune))


def test_steps_that_overflow_are_skipped_and_the_scaler_resumes(tmp_path: Any) -> None:
    """At 2¹²⁶ every gradient overflows; the scaler halves its factor and skips until they fit."""

    class Interrupted(Exception):
        pass

    def stop(now: Any) -> None:
        if now.epoch == 2:
            raise Interrupted

    changes = {"epochs": 4, "steps_per_epoch": 40}
    whole = retrained("standard", accelerator=scaling(2.0**126), changes=changes)
    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(Interrupted):
        retrained("standard", accelerator=scaling(2.0**126), changes=changes, checkpoint=checkpoint, progress=stop)
    assert same_retrained(
        retrained("standard", accelerator=scaling(2.0**126), changes=changes, checkpoint=checkpoint), whole
    )
    assert not same_retrained(whole, retrained("standard", changes=changes))


@pytest.mark.usefixtures("fresh_state")
def test_mixed_precision_learns_in_float32_weights() -> None:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True, mixed_precision="bf16")
    seen: list[torch.dtype] = []
    model = toy.perceptron()
    model.head.register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    found = retrained("standard", model=model, accelerator=accelerator)
    assert set(seen) == {torch.bfloat16}
    assert {parameter.dtype for parameter in found.base.parameters()} == {torch.float32}
    assert found.curve["validation_accuracy"][-1] > 0.75
    tuned = fine_tuned("lora", base=found.base, accelerator=accelerator)
    assert tuned.last["accuracy"] > 0.75


@pytest.mark.usefixtures("fresh_state")
def test_another_device_must_be_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate import Accelerator

    monkeypatch.setenv("ACCELERATE_TORCH_DEVICE", "meta")  # a device that is not the CPU and is always there
    Accelerator()
    with pytest.raises(
        ValueError, match="has already made an Accelerator that is not on the CPU: pass it as accelerator="
    ):
        usable_accelerator(None)


def test_the_default_is_the_cpu_whatever_was_made_before() -> None:
    assert usable_accelerator(None).device.type == "cpu"
    assert usable_accelerator(None).device.type == "cpu"


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate import Accelerator

    monkeypatch.setattr(Accelerator, "num_processes", 2)
    with pytest.raises(ValueError, match="training runs in one process, got an Accelerator of 2"):
        usable_accelerator(None)


def test_named_inputs_go_to_the_device_and_logits_come_back() -> None:
    class Named(nn.Module):
        def forward(self, *, ids: torch.Tensor) -> Any:
            from transformers.modeling_outputs import SequenceClassifierOutput

            return SequenceClassifierOutput(logits=ids.float())

    batch = Batch({"ids": torch.ones(2, 3, dtype=torch.int64)}, torch.zeros(2))
    inputs, targets = on_device(batch, torch.device("meta"))
    assert not isinstance(inputs, torch.Tensor)
    assert inputs["ids"].device.type == targets.device.type == "meta"
    assert torch.equal(outputs_of(Named(), batch.inputs), torch.ones(2, 3))


def test_a_copy_to_train_keeps_what_is_frozen_and_no_gradient() -> None:
    model = toy.perceptron()
    model.body.requires_grad_(False)
    model(torch.ones(1, toy.DIMENSION)).sum().backward()
    copied = trained_copy(model, torch.device("cpu"))
    assert [p.requires_grad for p in copied.parameters()] == [False, False, True, True]
    assert all(parameter.grad is None for parameter in copied.parameters())
    assert not model.body.weight.requires_grad
    assert model.head.weight.grad is not None
