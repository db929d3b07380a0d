"""Causal language models: tokens with a loss, scores, and bases and adapters as stock libraries read them."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from loraml_theory.harness.errors import InputError
from realdata.experiments.grid import RetrainingKey, Work
from realdata.experiments.records import read_records
from realdata.experiments.report import findings, markdown
from realdata.experiments.report import write as write_report
from realdata.experiments.retrained import load
from realdata.experiments.runner import run
from realdata.language.encoders import quiet
from realdata.peft_ml.seeding import torch_seeded
from realdata.text.causal_problem import CausalProblem
from realdata.text.experiment import TextSpec
from realdata.text.export import export
from realdata.text.files import Source, read_source
from realdata.text.passages import IGNORED, Passage, passages, targets
from realdata.text.settings import check_grid
from tests.realdata.language.tiny import bert_tokenizer
from tests.realdata.text.made import request, tiny, write

TEMPLATE = (
    "{% for m in messages %}{{ 'a' if m.role == 'user' else 'b' }} {{ m.content }} {% endfor %}"
    "{% if add_generation_prompt %}b {% endif %}"
)


def tokenizer() -> Any:
    """Return a tokenizer of words without special tokens around a text, and with one for its end."""
    from tokenizers.processors import TemplateProcessing

    found = copy.deepcopy(bert_tokenizer())
    found.backend_tokenizer.post_processor = TemplateProcessing(single="$A")
    found.eos_token = "[SEP]"
    found.chat_template = TEMPLATE
    return found


def ids(text: str) -> list[int]:
    found: list[int] = tokenizer()(text)["input_ids"]
    return found


def read(path: Path, *fields: str, longest: int = 32) -> list[Passage]:
    (rows,) = read_source(Source("x", (path,))).values()
    return passages(rows, tokenizer(), fields=fields, max_length=longest)


def test_a_text_is_learned_whole_and_a_completion_after_its_prompt(tmp_path: Path) -> None:
    (text,) = read(write(tmp_path / "a.jsonl", [{"text": "a b c"}]))
    assert (text.given, list(text.tokens)) == (0, ids("a b c [SEP]"))
    (pair,) = read(write(tmp_path / "b.jsonl", [{"prompt": "a b", "completion": "c d"}]))
    assert (pair.given, list(pair.tokens)) == (2, ids("a b c d [SEP]"))
    assert list(targets([pair], 6)) == [[IGNORED, IGNORED, *ids("c d [SEP]"), IGNORED]]
    (cut,) = read(tmp_path / "b.jsonl", longest=3)
    assert list(cut.tokens) == ids("a b c")


def test_of_a_dialogue_the_last_answer_is_learned(tmp_path: Path) -> None:
    said = [("user", "c"), ("assistant", "d"), ("user", "e"), ("assistant", "f g")]
    messages = [{"role": role, "content": content} for role, content in said]
    (one,) = read(write(tmp_path / "x.jsonl", [{"messages": messages}]))
    assert list(one.tokens) == ids("a c b d a e b f g")
    assert one.given == len(ids("a c b d a e b"))


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"text": " "}, "row 1: its text is ' ', expected a text that is not empty"),
        ({"body": "a"}, "--text: is needed, expected fields of "),
        ({"prompt": "a b c d e", "completion": "f"}, "row 1: its first 4 tokens leave none to learn"),
        ({"messages": [{"role": "user", "content": "a"}]}, "row 1: its messages have the roles ['user'], expected"),
    ],
)
def test_what_cannot_be_learned_is_one_line(tmp_path: Path, row: dict[str, Any], text: str) -> None:
    path = write(tmp_path / "x.jsonl", [row])
    with pytest.raises(InputError) as caught:
        read(path, longest=4)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_loss_is_the_mean_over_the_tokens_that_are_learned() -> None:
    torch.manual_seed(0)
    outputs = torch.randn(2, 4, 7, dtype=torch.float64)
    wanted = torch.tensor([[IGNORED, IGNORED, 3, 4, IGNORED], [0, 1, IGNORED, IGNORED, IGNORED]])
    problem = CausalProblem({})
    expected = torch.stack(
        [
            functional.cross_entropy(outputs[0, 1:3], wanted[0, 2:4]),
            functional.cross_entropy(outputs[1, :1], wanted[1, 1:2]),
        ]
    )
    torch.testing.assert_close(problem.losses(outputs, wanted), expected)
    torch.testing.assert_close(problem.scores(outputs, wanted)[:, 0], -expected)
    assert problem.derived({"log_likelihood": -math.log(7)})["perplexity"] == pytest.approx(7)


def test_heads_of_tasks_are_not_for_language_models() -> None:
    from realdata.experiments.grid import GridSettings

    grid = GridSettings(methods=("last-layer-ml",), finetune=("lora",), seeds=(0,))
    with pytest.raises(InputError, match="--methods: got last-layer-ml, which draws heads anew"):
        check_grid(grid, "causal-lm")
    check_grid(grid, "classification")


def spec(folder: Path) -> TextSpec:
    """Write a random GPT-2 of width 16 and three tasks, each with a word of its own after the same."""
    from transformers import GPT2Config, GPT2LMHeadModel

    made = tokenizer()
    sizes: dict[str, Any] = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32}
    config = GPT2Config(vocab_size=len(made), **sizes, bos_token_id=None, eos_token_id=made.eos_token_id)
    with torch_seeded(0, "tiny"), quiet():
        GPT2LMHeadModel(config).save_pretrained(folder / "model")
    made.save_pretrained(folder / "model")
    rng = np.random.default_rng(0)
    sources = []
    for name, word in (("one", "a"), ("two", "b"), ("three", "c")):
        rows = [{"prompt": " ".join(rng.choice(["f", "g"], 4)) + f" {at % 7}", "completion": word} for at in range(60)]
        sources.append(Source(name, (write(folder / f"{name}.jsonl", rows),)))
    asked = tiny(folder / "model", model={"name": str(folder / "model"), "kind": "causal-lm"})
    return TextSpec(asked, tuple(sources[:2]), (sources[2],))


@pytest.mark.filterwarnings(
    "ignore:.*is_gradient_checkpointing", "ignore:.*tie_word_embeddings", "ignore:fan_in_fan_out"
)
@pytest.mark.long
def test_from_files_to_bases_adapters_and_a_report(tmp_path: Path) -> None:
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM

    asked = request(spec(tmp_path), "no-retraining", "standard", "lora-ml")
    out = tmp_path / "out"
    assert run(asked, out).failures == ()
    records = read_records(out)
    assert len(records) == 3
    for record in records:
        assert record.last["log_likelihood"] == pytest.approx(np.mean([float(score) for score in record.correct]))
        assert record.last["perplexity"] == pytest.approx(math.exp(record.last["loss"]))
        assert record.last["loss"] < record.before["loss"]
    write_report(out, switches={})
    text = markdown(findings(out))
    assert "**log-likelihood of a token, minus the loss, fine-tuning by lora" in text
    assert "**perplexity, fine-tuning by lora" in text
    experiment: Any = asked.spec.open()
    key = RetrainingKey("lora-ml", 0, (), 2)
    (name,) = experiment.tests
    work = Work(key, "lora", (), 2, None, name)
    export(out, experiment, [key], fine_tunings=[work], results=text, command="loraml retrain …")
    tuned = AutoPeftModelForCausalLM.from_pretrained(out / "adapters" / name).eval()
    batch = experiment.test_tasks[name].test.batch(np.arange(len(experiment.test_tasks[name].test)))
    with torch.no_grad():
        scores = experiment.problem.scores(tuned(**batch.inputs).logits, batch.targets)[:, 0]
    (record,) = (record for record in records if record.key.method == "lora-ml")
    assert scores.tolist() == pytest.approx(record.correct, abs=1e-5)
    meta = load(out / "retraining" / key.id, key, experiment.retraining(key).model).meta_model
    assert meta is not None
    inputs = experiment.retraining_tasks[0].test.batch(np.arange(3)).inputs
    adapted = AutoPeftModelForCausalLM.from_pretrained(out / "adapters/one").eval()
    base: Any = AutoModelForCausalLM.from_pretrained(out / "base")
    with torch.no_grad():
        torch.testing.assert_close(adapted(**inputs).logits, meta.eval()(inputs, "one"))
        torch.testing.assert_close(base.eval()(**inputs).logits, meta.base().eval()(**inputs).logits)
    assert not (out / "standard").exists()
