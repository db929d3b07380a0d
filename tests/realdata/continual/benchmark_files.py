"""A benchmark on disk of a few made-up sentences, and tiny models that read or write."""

from __future__ import annotations

import copy
import gzip
import json
from pathlib import Path
from typing import Any

from realdata.language.encoders import quiet
from realdata.peft_ml.seeding import torch_seeded
from tests.realdata.language.tiny import bert_tokenizer, tiny_bert

WORDS = ("a", "b", "c", "d", "e", "f", "g")
LABELS = {"letters": ["a", "b", "c"], "others": ["d", "e"]}


def rows(task: str, count: int, *, first: int = 0) -> list[dict[str, str]]:
    """Return sentences that hold their label among words that say nothing."""
    labels = LABELS[task]
    return [
        {"sentence": f"{'f g ' * (at % 3)}{labels[at % len(labels)]} f{' g' * at}", "label": labels[at % len(labels)]}
        for at in range(first, first + count)
    ]


def benchmark(folder: Path) -> Path:
    """Write two tasks: one with parts, zipped, and one as JSON Lines without any."""
    one, other = folder / "letters", folder / "others"
    for task in (one, other):
        task.mkdir(parents=True)
        (task / "labels.json").write_text(json.dumps(LABELS[task.name]))
    for part, found in (("train", rows("letters", 18)), ("test", rows("letters", 9, first=18))):
        (one / f"{part}.json.gz").write_bytes(gzip.compress(json.dumps(found).encode()))
    (other / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows("others", 30)))
    return folder


def encoder(folder: Path) -> Path:
    """Write a random BERT of width 16 without a head."""
    tokenizer = bert_tokenizer(WORDS)
    model: Any = tiny_bert(tokenizer)
    with quiet():
        model.bert.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def writer(folder: Path, kind: str) -> Path:
    """Write a random T5 or LLaMA of width 16."""
    from transformers import LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

    tokenizer = copy.deepcopy(bert_tokenizer((*WORDS, "Option", "Answer", "Task", "Dataset")))
    tokenizer.eos_token = tokenizer.sep_token
    sizes: dict[str, Any] = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    sizes |= {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.cls_token_id}
    with torch_seeded(0, "tiny"), quiet():
        if kind == "seq2seq":
            more: dict[str, Any] = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
            more["decoder_start_token_id"] = tokenizer.pad_token_id
            T5ForConditionalGeneration(T5Config(**sizes, **more)).save_pretrained(folder)
        else:
            more = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
            LlamaForCausalLM(LlamaConfig(**sizes, **more, max_position_embeddings=128)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
