"""Arguments, rows and outputs that make no sense give one line."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import AdaLoraConfig, IA3Config, LoraConfig, PromptTuningConfig, VeraConfig, get_peft_model
from torch import Tensor, nn

from realdata.peft_ml.meta_model import MetaPeftModel
from tests.realdata.peft_ml.small_models import (
    Convolution,
    Mlp,
    seeded,
)

LORA = LoraConfig(r=2, target_modules="all-linear")
IA3 = IA3Config(target_modules="all-linear", feedforward_modules=[])


def make(
    tasks: tuple[str, ...] = ("a", "b"), *, adapter: Any = LORA, head: str | None = None, **more: Any
) -> MetaPeftModel:
    return MetaPeftModel(more.pop("model", None) or seeded(0, Mlp), tasks, adapter=adapter, head=head, seed=0, **more)


def lora(**settings: Any) -> LoraConfig:
    return LoraConfig(**{"target_modules": ["body"], **settings})


BAD_ARGUMENTS: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "tasks: got [], expected names, at least one": ({"tasks": ()}, ValueError),
    "tasks: got ['a', 'a'], expected names, at least one, none empty, none twice": ({"tasks": ("a", "a")}, ValueError),
    "tasks: got ['a', ''], expected names, at least one, none empty": ({"tasks": ("a", "")}, ValueError),
    "tasks: got 'ab', expected a sequence of names": ({"tasks": "ab"}, TypeError),
    "tasks: got ('a', 1), expected a sequence of names": ({"tasks": ("a", 1)}, TypeError),
    "adapter and head: both are None": ({"adapter": None}, ValueError),
    "adapter: got dict, expected settings of peft": ({"adapter": {"r": 1}}, TypeError),
    "adapter: PromptTuningConfig learns prompts": (
        {"adapter": PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)},
        ValueError,
    ),
    "head: got 'tail', expected a module of Mlp: body, norm, dropout, head": ({"head": "tail"}, ValueError),
    "head: 'dropout' has no parameters": ({"head": "dropout"}, ValueError),
    "Target modules {'nothing'} not found in the base": ({"adapter": lora(target_modules=["nothing"])}, ValueError),
    "Target modules none.* not found in the base": ({"adapter": lora(target_modules="none.*")}, ValueError),
    "Target module Dropout(p=0.0, inplace=False) is not": ({"adapter": lora(target_modules=["dropout"])}, ValueError),
    "adapter: its start changes the base (body.weight), which all tasks share": (
        {"model": Mlp(), "adapter": lora(init_lora_weights="pissa")},
        ValueError,
    ),
    "adapter: bias='all' trains biases of the base": ({"adapter": lora(bias="all"), "tasks": ["a"]}, ValueError),
    "AdaLoraModel supports only 1 trainable adapter": (
        {"adapter": AdaLoraConfig(target_modules=["body"], total_step=10)},
        ValueError,
    ),
    "model: got str, expected a torch module": ({"model": "bert"}, TypeError),
    "'all-linear' matches nothing in Convolution, which has no linear layer": (
        {"model": seeded(0, Convolution)},
        ValueError,
    ),
    "'all-linear' matches nothing in Linear": ({"model": nn.Linear(2, 2)}, ValueError),
    "no linear layer outside its head '0'": ({"model": nn.Sequential(nn.Linear(2, 2)), "head": "0"}, ValueError),
    "modules_to_save: got 'tail', expected modules of Mlp: body, norm, dropout, head": (
        {"adapter": lora(modules_to_save=["tail"])},
        ValueError,
    ),
    "head: '0' is a ModuleList, which a model never calls as a whole": (
        {"model": nn.Sequential(nn.ModuleList([nn.Linear(2, 2)]), nn.Linear(2, 2)), "head": "0"},
        ValueError,
    ),
    "'0.0' is part of '0', of which tasks get copies too": (
        {
            "model": nn.Sequential(nn.Sequential(nn.Linear(2, 2)), nn.Linear(2, 2)),
            "head": "0",
            "adapter": lora(target_modules=["1"], modules_to_save=["0.0"]),
        },
        ValueError,
    ),
    "adapter: ensure_weight_tying is for one adapter": (
        {"adapter": lora(ensure_weight_tying=True), "head": "head"},
        ValueError,
    ),
    "which reach head, of which each task gets a copy": (
        {"adapter": VeraConfig(target_modules=["body", "head"]), "head": "head"},
        ValueError,
    ),
    "target_modules: self_attn.out_proj is part of torch's own attention, which never calls it": (
        {"model": nn.TransformerEncoderLayer(8, 2, 16), "adapter": lora(target_modules=["out_proj"])},
        ValueError,
    ),
    "target_modules: self_attn is torch's own attention, whose adapter keeps the base untrained": (
        {"model": nn.TransformerEncoderLayer(8, 2, 16), "adapter": lora(target_modules=["self_attn"])},
        ValueError,
    ),
    "model: its parameter body.weight has no values, expected": ({"model": Mlp().to("meta")}, ValueError),
    "model: its parameter weight has no values, expected": ({"model": nn.LazyLinear(2)}, ValueError),
    "model: has an adapter of peft at base_model.model.body, expected a model without": (
        {"model": get_peft_model(Mlp(), lora(target_modules=["body"]))},
        ValueError,
    ),
    "seed: got 'x', expected an integer": ({"seed": "x"}, TypeError),
}


@pytest.mark.parametrize("text", BAD_ARGUMENTS)
def test_wrong_arguments_give_one_clear_line(text: str) -> None:
    changed, kind = BAD_ARGUMENTS[text]
    arguments: dict[str, Any] = {"model": seeded(0, Mlp), "tasks": ("a", "b"), "adapter": LORA, "seed": 0, **changed}
    with pytest.raises(kind) as caught:
        MetaPeftModel(arguments.pop("model"), arguments.pop("tasks"), **arguments)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


class Odd(Mlp):
    """Returns a tuple."""

    def forward(self, x: Tensor) -> Any:
        return (super().forward(x),)


class Summed(Mlp):
    """Returns one number for the whole batch."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).sum(0)


class Drawless(nn.Module):
    """Has parameters and no way to draw them."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))


def test_a_head_that_cannot_be_drawn() -> None:
    model = nn.ModuleDict({"body": nn.Linear(2, 2), "head": Drawless()})
    with pytest.raises(ValueError, match="Drawless without reset_parameters"):
        make(model=model, adapter=None, head="head")


@pytest.mark.parametrize(
    ("inputs", "task", "kind", "text"),
    [
        (torch.ones(2, 6), "c", ValueError, "task: got 'c', expected one of 'a', 'b'"),
        (torch.ones(2, 6), ["a", "c"], ValueError, "task: got 'c', expected one of 'a', 'b'"),
        (torch.ones(2, 6), ["a"], ValueError, "task: got 1 names, expected one for each of 2 rows"),
        (torch.ones(0, 6), [], ValueError, "inputs: got no rows"),
        ({}, ["a"], ValueError, "inputs: got no tensors"),
        (torch.tensor(1.0), ["a"], ValueError, "inputs has no axis"),
        ([[1.0]], ["a"], TypeError, "is list, expected a tensor or a mapping of tensors"),
        ({"x": torch.ones(2, 6), "n": 3}, ["a", "b"], TypeError, "inputs: n is int"),
        ({"x": torch.ones(2, 6), "y": torch.ones(3)}, ["a", "b"], ValueError, "inputs: got rows {'x': 2, 'y': 3}"),
    ],
)
def test_wrong_rows_give_one_clear_line(inputs: Any, task: Any, kind: type[Exception], text: str) -> None:
    meta = make(model=Mlp())
    with pytest.raises(kind) as caught:
        meta(inputs, task)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("model", "text"),
    [(Odd(), "model: returned tuple"), (Summed(), "model: got outputs of shape (2,), expected 1 rows first")],
)
def test_outputs_that_are_no_rows(model: nn.Module, text: str) -> None:
    meta = make(model=model, adapter=IA3)
    with pytest.raises((TypeError, ValueError)) as caught:
        meta(torch.ones(2, 6), ["a", "b"])
    assert text in str(caught.value)
