"""What is frozen in the model given, by its architecture or its user, stays so and is named."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig
from torch import nn

from loraml_theory.harness.errors import InputError
from realdata.peft_ml.meta_model import MetaPeftModel
from realdata.peft_ml.methods import METHODS
from realdata.peft_ml.trained import UntrainedError, frozen_note, plain_trained
from tests.realdata.peft_ml import toy
from tests.realdata.peft_ml.runs import FINETUNES, fine_tuned, retrained, tensors
from tests.realdata.peft_ml.small_models import Mlp, rows_of, seeded, tiny_bert

LORA = LoraConfig(r=2, target_modules="all-linear")
ROWS = ["a", "b", "b", "a"]


def frozen(*names: str, model: nn.Module | None = None) -> nn.Module:
    model = seeded(0, Mlp) if model is None else model
    for name in names:
        model.get_parameter(name).requires_grad_(False)
    return model


def made(*names: str, **options: Any) -> MetaPeftModel:
    return MetaPeftModel(frozen(*names), ("a", "b"), **{"adapter": LORA, "seed": 0, **options})


def steps(meta: MetaPeftModel, number: int = 2) -> None:
    optimizer = torch.optim.AdamW(meta.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(number):
        torch.autograd.backward(meta(rows_of(seeded(0, Mlp), 4), ROWS).square().sum())
        optimizer.step()
        optimizer.zero_grad()


def test_the_base_keeps_what_is_frozen_and_says_so() -> None:
    meta = made("body.weight")
    trained = meta.trained()
    steps(meta)
    trained.check()
    assert trained.still() == {}
    assert ("frozen", "base", 1, 48, "requires_grad is off") in trained.rows
    assert "\nrequires_grad is off: body.weight\n" in str(trained)
    base, given = meta.base(), seeded(0, Mlp)
    assert torch.equal(base.get_parameter("body.weight"), given.get_parameter("body.weight"))
    assert not torch.equal(base.get_parameter("body.bias"), given.get_parameter("body.bias"))
    assert [name for name, p in base.named_parameters() if not p.requires_grad] == ["body.weight"]


def test_an_architecture_that_freezes_its_positions() -> None:
    from transformers import WhisperConfig, WhisperForAudioClassification

    sizes: dict[str, Any] = {"d_model": 8, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8, "vocab_size": 20}
    layers: dict[str, Any] = {
        f"{part}_{what}": 1 for part in ("encoder", "decoder") for what in ("layers", "attention_heads")
    }
    tokens: dict[str, Any] = {f"{name}_token_id": 0 for name in ("pad", "bos", "eos", "decoder_start")}
    model = WhisperForAudioClassification(WhisperConfig(max_source_positions=10, **sizes, **layers, **tokens))
    name = "encoder.embed_positions.weight"
    assert not model.get_parameter(name).requires_grad
    meta = MetaPeftModel(model, ("a", "b"), adapter=LORA, seed=0)
    assert f"requires_grad is off: {name}" in str(meta.trained())
    assert not meta.base_parameters()[name].requires_grad


def test_a_wholly_frozen_base_is_none_to_train() -> None:
    meta = made("body.weight", "body.bias", "head.weight", "head.bias")
    trained = meta.trained()
    assert [row.part for row in trained.rows] == ["adapter of each of 2 tasks", "base"]
    steps(meta)
    trained.check()


def test_frozen_later_by_hand_is_missed_and_unfrozen_is_trained() -> None:
    meta = made("body.weight")
    for name, parameter in meta.base_parameters().items():
        parameter.requires_grad_(name == "body.weight")
    trained = meta.trained()
    assert trained.rows[0] == ("trained", "base", 1, 48, "")
    for parameter in meta.base_parameters().values():
        parameter.requires_grad_(False)
    trained = meta.trained()
    steps(meta)
    with pytest.raises(UntrainedError, match=r"base \(it requires no gradient\)"):
        trained.check()


def test_part_of_a_head_that_is_frozen_is_the_same_in_every_copy() -> None:
    meta = made("head.bias", head="head")
    trained = meta.trained()
    steps(meta)
    trained.check()
    given = seeded(0, Mlp).get_parameter("head.bias")
    assert all(torch.equal(meta.head_of(task).get_parameter("bias"), given) for task in "ab")
    assert not torch.equal(*(meta.head_of(task).get_parameter("weight") for task in "ab"))
    assert ("frozen", "each task's own", 1, 2, "requires_grad is off") in trained.rows
    assert ("trained", "copied head of each of 2 tasks", 1, 16, "") in trained.rows
    assert "requires_grad is off: head.bias" in str(trained)


@pytest.mark.parametrize("field", ["head", "modules_to_save"])
def test_a_copy_of_which_nothing_can_be_trained_is_refused(field: str) -> None:
    copied = LoraConfig(r=2, target_modules=["body"], modules_to_save=["head"])
    options: dict[str, Any] = {"head": "head"} if field == "head" else {"adapter": copied}
    with pytest.raises(InputError, match=f"^{field}: 'head' has requires_grad off, so no task could train its copy$"):
        made("head.weight", "head.bias", **options)


def test_what_peft_keeps_of_an_adapter_stays_frozen() -> None:
    """MiCA trains one factor of LoRA."""
    config = LoraConfig(r=2, target_modules=["body"], init_lora_weights="mica")
    meta = MetaPeftModel(seeded(0, Mlp).float(), ("a", "b"), adapter=config, seed=0).double()
    (name,) = [name for name, p in meta.adapter_parameters("b").items() if not p.requires_grad]
    assert name.endswith("body.lora_B.weight")
    trained = meta.trained()
    before = meta.adapter_parameters("a")[name].clone()
    steps(meta)
    trained.check()
    assert torch.equal(meta.adapter_parameters("a")[name], before)
    assert f"requires_grad is off: {name.removeprefix('base_model.model.')}" in str(trained)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_retraining_keeps_what_is_frozen(method: str) -> None:
    said: list[str] = []
    model = frozen("body.weight", "norm.bias", model=toy.perceptron(normed=True))
    found = retrained(method, model=model, changes={"epochs": 2}, say=said.append)
    before = tensors(model)
    for base in (found.base, found.last_base):
        after = tensors(base)
        assert [name for name in ("body.weight", "norm.bias") if not torch.equal(after[name], before[name])] == []
        assert not torch.equal(after["head.weight"], before["head.weight"]) or method == "last-layer-ml"
        assert not torch.equal(after["norm.weight"], before["norm.weight"])
        assert [n for n, p in base.named_parameters() if not p.requires_grad] == ["body.weight", "norm.bias"]
    assert "requires_grad is off: body.weight, norm.bias" in said[0]


@pytest.mark.parametrize("method", METHODS)
def test_nothing_to_retrain_is_one_line(method: str) -> None:
    model = toy.perceptron().requires_grad_(False)
    changes: dict[str, Any] = {"epochs": 1, "scheme": "alternating"}
    with pytest.raises(ValueError, match=r"has no parameters to train|has requires_grad off") as caught:
        retrained(method, model=model, changes=changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("finetune", FINETUNES)
def test_fine_tuning_keeps_what_is_frozen(finetune: str) -> None:
    base = frozen("body.weight", model=toy.perceptron(normed=True))
    model = fine_tuned(finetune, base=base, changes={"epochs": 2}).model
    plain = model.base() if isinstance(model, MetaPeftModel) else model
    assert torch.equal(plain.get_parameter("body.weight"), base.get_parameter("body.weight"))
    assert not plain.get_parameter("body.weight").requires_grad


def test_names_of_a_module_that_is_frozen_as_a_whole() -> None:
    model: Any = tiny_bert()
    assert frozen_note(dict(model.named_parameters())) == []
    model.bert.requires_grad_(False)
    model.bert.pooler.dense.bias.requires_grad_(True)
    (note,) = plain_trained(model)._notes
    assert note == "requires_grad is off: bert.embeddings.*, bert.encoder.*, bert.pooler.dense.weight"
