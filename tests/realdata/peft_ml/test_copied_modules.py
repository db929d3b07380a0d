"""Heads and other modules of which each task has a copy: each alone, whatever the names of other modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm

from loraml_theory.harness.errors import InputError
from realdata.peft_ml.bundle import load, save
from realdata.peft_ml.meta_model import MetaPeftModel
from tests.realdata.peft_ml.small_models import disturb, gradients, gradients_by_task, rows_of, seeded

LORA = LoraConfig(r=2, target_modules="all-linear")
TASKS = ("x", "y")
ROWS = ["y", "x", "x", "y"]


class Named(nn.Module):
    """A body and a head of any name."""

    def __init__(self, head: str = "head") -> None:
        super().__init__()
        self.body = nn.Linear(6, 8)
        setattr(self, head, nn.Linear(8, 2))
        self.name = head

    def forward(self, x: Tensor) -> Tensor:
        return self.get_submodule(self.name)(torch.tanh(self.body(x)))


class Alike(nn.Module):
    """Modules whose names end alike."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.ModuleDict({"head": nn.Linear(6, 8)})
        self.pre_head, self.head = nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.pre_head(torch.tanh(self.block["head"](x)))))


class Twice(nn.Module):
    """Calls one module under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.head = self.again = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.again(torch.tanh(self.head(x)))


def copied(meta: MetaPeftModel) -> list[str]:
    names = [name.removeprefix("base_model.model.") for name in meta.adapter_parameters("x")]
    return [name.partition(".modules_to_save")[0] for name in names if name.endswith("modules_to_save.weight")]


def assert_right(meta: MetaPeftModel) -> None:
    """Rows of several tasks share a forward, and all that is trained has the gradient of one task after another."""
    disturb(meta)
    inputs = rows_of(nn.Linear(1, 1), len(ROWS))
    outputs, found = gradients(meta, inputs, ROWS)
    expected, by_task = gradients_by_task(meta, inputs, ROWS)
    torch.testing.assert_close(outputs, expected)
    assert meta.mixed_rows.possible
    assert found.keys() == by_task.keys() == {name for name, p in meta.named_parameters() if p.requires_grad}
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, by_task[name])


@pytest.mark.parametrize("adapter", [LORA, None], ids=["lora", "none"])
@pytest.mark.parametrize("head", ["last", "out", "A", "B", "dropout", "layer", "default", "modules_to_save", "weight"])
def test_heads_named_like_the_ends_of_names_inside_peft(head: str, adapter: Any) -> None:
    meta = MetaPeftModel(seeded(0, Named, head=head), TASKS, adapter=adapter, head=head, seed=0)
    assert len(meta.adapter_parameters("x")) == (2 if adapter is None else 4)
    assert_right(meta)


@pytest.mark.parametrize(
    ("head", "modules_to_save", "expected"),
    [
        ("head", None, ["head"]),
        ("block.head", None, ["block.head"]),
        ("head", ["pre_head"], ["pre_head", "head"]),
        (None, ["head"], ["head"]),
        (None, ["_head"], ["pre_head"]),
        (None, ["k.head", "pre_head"], ["block.head", "pre_head"]),
    ],
)
def test_modules_whose_names_end_alike(
    head: str | None, modules_to_save: list[str] | None, expected: list[str], tmp_path: Path
) -> None:
    adapter = LoraConfig(r=2, target_modules="all-linear", modules_to_save=modules_to_save)
    model = seeded(0, Alike)
    meta = MetaPeftModel(model, TASKS, adapter=adapter, head=head, seed=0)
    assert copied(meta) == expected
    assert_right(meta)
    save(meta, tmp_path / "bundle")
    again = load(model, tmp_path / "bundle")
    assert copied(again) == expected
    inputs = rows_of(nn.Linear(1, 1), len(ROWS))
    assert torch.equal(again(inputs, ROWS), meta(inputs, ROWS))


def test_distilbert_has_heads_of_its_own() -> None:
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    sizes: dict[str, Any] = {"dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 16, "vocab_size": 20}
    model = DistilBertForSequenceClassification(DistilBertConfig(**sizes))
    for adapter in (LORA, None):
        meta = MetaPeftModel(model, TASKS, adapter=adapter, head="classifier", seed=0)
        assert copied(meta) == ["classifier"]
        assert "pre_classifier.weight" in meta.base_parameters()


@pytest.mark.parametrize("targets", [["body", "head"], r"body|he.d", r".*"])
def test_an_adapter_leaves_out_what_is_copied(targets: Any) -> None:
    adapter = LoraConfig(r=2, target_modules=targets, exclude_modules=["nothing"])
    meta = MetaPeftModel(seeded(0, Named), TASKS, adapter=adapter, head="head", seed=0)
    assert len(meta.adapter_parameters("x")) == 4
    assert_right(meta)


def test_what_one_is_told_to_leave_out_stays_out() -> None:
    adapter = LoraConfig(r=2, target_modules=["pre_head", "head"], exclude_modules=["pre_head"])
    meta = MetaPeftModel(seeded(0, Alike), TASKS, adapter=adapter, head="head", seed=0)
    names = {name.split(".lora_")[0] for name in meta.adapter_parameters("x") if "lora_" in name}
    assert names == {"base_model.model.block.head"}


def test_stock_peft_loads_a_head_that_it_can_tell_apart(tmp_path: Path) -> None:
    meta = MetaPeftModel(seeded(0, Alike), TASKS, adapter=LORA, head="block.head", seed=0)
    assert_right(meta)
    save(meta, tmp_path / "bundle")
    model = seeded(1, Alike)
    model.load_state_dict(load_file(tmp_path / "bundle" / "base.safetensors"))
    stock = PeftModel.from_pretrained(model, str(tmp_path / "bundle" / "adapters" / "x"))
    inputs = rows_of(nn.Linear(1, 1), 3)
    torch.testing.assert_close(stock(inputs), meta(inputs, "x"))


def test_a_module_of_two_names_is_copied_under_both() -> None:
    meta = MetaPeftModel(seeded(0, Twice), TASKS, adapter=None, head="head", seed=0)
    assert len(meta.adapter_parameters("x")) == 2
    assert not meta.base_parameters()
    assert_right(meta)


# layers whose weight is computed from other parameters


def hooked(layer: nn.Module) -> nn.Module:
    return nn.utils.weight_norm(layer)


WEIGHTS: dict[str, Any] = {
    "hook": hooked,
    "weight norm": parametrizations.weight_norm,
    "orthogonal": parametrizations.orthogonal,
}


def computed(kind: str, place: str) -> nn.Module:
    model = seeded(0, Named)
    WEIGHTS[kind](model.get_submodule(place))
    return model


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.parametrize("kind", WEIGHTS)
def test_adapters_of_layers_with_a_computed_weight(kind: str, tmp_path: Path) -> None:
    model = computed(kind, "body")
    meta = MetaPeftModel(model, TASKS, adapter=LORA, seed=0)
    assert_right(meta)
    inputs = rows_of(nn.Linear(1, 1), len(ROWS))
    torch.testing.assert_close(meta.base()(inputs), model(inputs))
    save(meta, tmp_path / "bundle")
    torch.testing.assert_close(load(model, tmp_path / "bundle")(inputs, ROWS), meta(inputs, ROWS))


@pytest.mark.parametrize("kind", ["weight norm", "orthogonal"])
def test_heads_with_a_computed_weight_are_drawn_anew(kind: str) -> None:
    model = computed(kind, "head")
    meta = MetaPeftModel(model, TASKS, adapter=None, head="head", seed=0)
    drawn = [model.get_submodule("head").weight, *(meta.head_of(task).weight for task in TASKS)]
    for at, one in enumerate(drawn):
        assert not any(torch.allclose(one, other) for other in drawn[:at])  # type: ignore[arg-type]
    assert_right(meta)


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.parametrize(("norm", "name"), [(hooked, "WeightNorm"), (spectral_norm, "SpectralNorm")])
def test_heads_whose_weight_a_hook_computes_are_refused(norm: Any, name: str) -> None:
    model = seeded(0, Named)
    norm(model.get_submodule("head"))
    with pytest.raises(
        InputError, match=f"^head: head has {name} by a hook, expected it from torch.nn.utils.parametri"
    ):
        MetaPeftModel(model, TASKS, adapter=LORA, head="head", seed=0)


def test_a_model_that_cannot_be_copied_is_one_line() -> None:
    model: Any = seeded(0, Named)
    model.kept = [model.body.weight * 2]
    with pytest.raises(InputError, match=r"^model: Named cannot be copied: Only Tensors created explicitly"):
        MetaPeftModel(model, TASKS, adapter=LORA, seed=0)
