"""Tokenizers and models small enough to be made within a test."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

from realdata.language.made import made_dialogues
from realdata.language.random_encoder import word_tokenizer
from realdata.peft_ml.seeding import torch_seeded

if TYPE_CHECKING:
    from torch import nn

def words_of(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({word for text in texts for word in text.split()}))


@cache
def made_words() -> tuple[str, ...]:
    """Return every word of made-up dialogues."""
    dialogues = made_dialogues(0, dialogues=40)
    return words_of(text for one in dialogues for turn in one.turns for text in (turn.utterance, turn.reply))


@cache
def bert_tokenizer(words: tuple[str, ...] = ("a", "b", "c", "d", "e", "f", "g")) -> Any:
    """Return a tokenizer of whole words, of rows of up to 64 tokens."""
    return word_tokenizer(words, longest=64)


@cache
def roberta_tokenizer() -> Any:
    """Return a tokenizer of bytes that writes pairs as RoBERTa does: ``<s> a </s></s> b </s>``, without types."""
    import transformers
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.processors import RobertaProcessing

    pieces = ("<s>", "<pad>", "</s>", "<unk>", *sorted(ByteLevel.alphabet()))
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(BPE(vocabulary, []))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0))
    named = {"pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<s>", "sep_token": "</s>"}
    wrapper: Any = transformers.PreTrainedTokenizerFast
    return wrapper(
        tokenizer_object=tokenizer,
        model_max_length=128,
        model_input_names=["input_ids", "attention_mask"],
        **named,
    )


def tiny_bert(tokenizer: Any, *, labels: int = 2, seed: int = 0, dropout: float = 0.0) -> nn.Module:
    """Return a random BERT with a head."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(**_sizes(tokenizer, labels=labels, dropout=dropout), max_position_embeddings=64)
    with torch_seeded(seed, "tiny"):
        model: nn.Module = BertForSequenceClassification(config)
    return model.train(False)


def tiny_roberta(tokenizer: Any, *, labels: int = 2, seed: int = 0) -> nn.Module:
    """Return a random RoBERTa, whose head takes the first token itself."""
    from transformers import RobertaConfig, RobertaForSequenceClassification

    config = RobertaConfig(**_sizes(tokenizer, labels=labels), max_position_embeddings=130, type_vocab_size=1)
    with torch_seeded(seed, "tiny"):
        model: nn.Module = RobertaForSequenceClassification(config)
    return model.train(False)


def _sizes(tokenizer: Any, *, labels: int, dropout: float = 0.0) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "num_labels": labels,
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
        "pad_token_id": tokenizer.pad_token_id,
    }
