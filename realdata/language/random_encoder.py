"""A small random encoder for runs without a download; its vocabulary is that of the dialogues."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from realdata.language.encoders import Encoder
from realdata.language.parlai import Dialogue
from realdata.language.settings import OUTPUTS, Head
from realdata.peft_ml.seeding import torch_seeded

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LABEL = "a small random encoder"
"""Label of its results."""

LONGEST = 128  # tokens
SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}


def random_encoder(dialogues: Sequence[Dialogue], *, head: Head, seed: int) -> Encoder:
    """Return a BERT of two layers of width 32 with random weights, and a tokenizer of the dialogues' words.

    Parameters
    ----------
    dialogues
        Their words, as spaces separate them, are the vocabulary.
    head
        ``two-label`` or ``one-score``.
    seed
        Seed of all weights.
    """
    from transformers import BertConfig, BertForSequenceClassification

    tokenizer = word_tokenizer(text for one in dialogues for turn in one.turns for text in (turn.utterance, turn.reply))
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=LONGEST,
        pad_token_id=tokenizer.pad_token_id,
    )
    config.num_labels = OUTPUTS[head]
    with torch_seeded(seed, "random encoder"):
        return Encoder(BertForSequenceClassification(config), tokenizer, "classifier")


def word_tokenizer(texts: Iterable[str], *, longest: int = LONGEST) -> PreTrainedTokenizerBase:
    """Return a tokenizer of whole words that writes pairs as BERT does: ``[CLS] a [SEP] b [SEP]``, with types.

    Parameters
    ----------
    texts
        Their words, as spaces separate them, are the vocabulary.
    longest
        Tokens of a row.
    """
    import transformers
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.processors import TemplateProcessing

    words = sorted({word for text in texts for word in text.split()} | {"a", "b"})
    vocabulary = {word: number for number, word in enumerate((*SPECIAL.values(), *words))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=SPECIAL["unk_token"]))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    wrapper: Any = transformers.PreTrainedTokenizerFast
    found: PreTrainedTokenizerBase = wrapper(
        tokenizer_object=tokenizer,
        model_max_length=longest,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **SPECIAL,
    )
    return found
