"""Small random models for texts with labels, of the architectures that people retrain, with a tokenizer of words."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from realdata.language.encoders import quiet
from realdata.peft_ml.seeding import torch_seeded
from tests.realdata.language.tiny import bert_tokenizer

WORDS = 16  # more than the tokenizer's, since that of Qwen2 adds one
PAD, START, END = 0, 2, 3
ENCODER: Mapping[str, Any] = {
    "vocab_size": WORDS,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "pad_token_id": PAD,
}
DECODER: Mapping[str, Any] = {**ENCODER, "num_key_value_heads": 1, "bos_token_id": START, "eos_token_id": END}
GPT2: Mapping[str, Any] = {
    **{"vocab_size": WORDS, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64},
    **{"bos_token_id": START, "eos_token_id": END},
}


class Kind(NamedTuple):
    """A family of transformers, its settings, and the name of its last layer."""

    family: str
    settings: Mapping[str, Any]
    head: str
    padded: bool = True  # whether its tokenizer has a token to pad with


KINDS: Mapping[str, Kind] = {
    "BERT": Kind("Bert", ENCODER, "classifier"),
    "RoBERTa": Kind("Roberta", {**ENCODER, "max_position_embeddings": 80}, "classifier"),
    "DistilBERT": Kind(
        "DistilBert",
        {"vocab_size": WORDS, "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 24, "max_position_embeddings": 64},
        "classifier",
    ),
    "DeBERTa": Kind("DebertaV2", ENCODER, "classifier"),
    "ModernBERT": Kind("ModernBert", {**ENCODER, "cls_token_id": START, "sep_token_id": END, **DECODER}, "classifier"),
    "GPT-2": Kind("GPT2", GPT2, "score", padded=False),
    "Llama": Kind("Llama", DECODER, "score", padded=False),
    "Qwen2": Kind("Qwen2", DECODER, "score"),
    "T5": Kind(
        "T5",
        {"vocab_size": WORDS, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2}
        | {"decoder_start_token_id": PAD, "pad_token_id": PAD, "eos_token_id": END},
        "classification_head",
    ),
}


def saved(kind: str, folder: Path) -> Path:
    """Draw a model, and write it with its tokenizer."""
    import transformers

    family, settings, _, padded = KINDS[kind]
    with torch_seeded(0, kind), quiet():
        config = getattr(transformers, f"{family}Config")(**settings)
        getattr(transformers, f"{family}ForSequenceClassification")(config).save_pretrained(folder)
    tokenizer: Any = copy.deepcopy(bert_tokenizer())
    tokenizer.eos_token = "[SEP]"
    if not padded:
        tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    return folder
