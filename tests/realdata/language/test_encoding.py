from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realdata.language.encoding import pair_format, token_ids
from tests.realdata.language.tiny import bert_tokenizer, roberta_tokenizer

TOKENIZERS = {"bert": bert_tokenizer, "roberta": roberta_tokenizer}
LETTERS = st.text("abcdefg", max_size=30).map(" ".join)


def written_by(tokenizer: Any, pairs: list[tuple[str, str]], *, max_length: int) -> Any:
    tokenizer.truncation_side = "left"
    return tokenizer(
        [context for context, _ in pairs],
        [reply for _, reply in pairs],
        truncation="only_first",
        max_length=max_length,
        padding=True,
        return_tensors="pt",
    )


@pytest.mark.parametrize("name", TOKENIZERS)
@given(data=st.data(), max_length=st.integers(12, 60))
def test_rows_are_what_the_tokenizer_writes(name: str, data: st.DataObject, max_length: int) -> None:
    tokenizer = TOKENIZERS[name]()
    pairs = pair_format(tokenizer, max_length=max_length)
    short = st.lists(st.sampled_from("abcdefg"), max_size=pairs.reply_room)
    # a word is a token of the one and, but for the space before it, a byte of the other
    replies = short.map(" ".join if name == "bert" else "".join)
    texts = data.draw(st.lists(st.tuples(LETTERS, replies), min_size=1, max_size=4))
    ids = [token_ids(tokenizer, texts_of_one) for texts_of_one in texts]
    rows = pairs.rows([(context, reply) for context, reply in ids])
    expected = written_by(tokenizer, texts, max_length=max_length)
    assert set(rows) == set(expected)
    for key, tensor in rows.items():
        assert tensor.dtype == expected[key].dtype
        assert tensor.tolist() == expected[key].tolist()
    lengths = [pairs.length(len(context), len(reply)) for context, reply in ids]
    assert lengths == rows["attention_mask"].sum(dim=1).tolist()


def test_a_long_reply_keeps_its_beginning_and_the_context_its_end() -> None:
    tokenizer = bert_tokenizer()
    pairs = pair_format(tokenizer, max_length=9)  # 3 special tokens, 6 for the texts, 3 of them for the reply
    (ids,) = [token_ids(tokenizer, ["a b c d e", "b c d e f g"])]
    rows = pairs.rows([(ids[0], ids[1])])
    assert tokenizer.convert_ids_to_tokens(rows["input_ids"][0]) == ["[CLS]", *"cde", "[SEP]", *"bcd", "[SEP]"]
    assert rows["token_type_ids"].tolist() == [[0, 0, 0, 0, 0, 1, 1, 1, 1]]


def test_rows_can_be_filled_up_to_a_given_width() -> None:
    pairs = pair_format(bert_tokenizer(), max_length=20)
    row = np.array([4], dtype=np.int32), np.array([5], dtype=np.int32)
    assert pairs.rows([row], width=11)["attention_mask"].tolist() == [[1] * 5 + [0] * 6]


@pytest.mark.parametrize("max_length", [4, 65])
def test_refused_length(max_length: int) -> None:
    with pytest.raises(ValueError, match=f"max_length: got {max_length} tokens; expected 5 to 64"):
        pair_format(bert_tokenizer(), max_length=max_length)


def test_refused_tokenizers() -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import BPE, WordLevel
    from transformers import BertTokenizer, PreTrainedTokenizerFast

    fast: Any = PreTrainedTokenizerFast
    with pytest.raises(ValueError, match="BertTokenizer knows special tokens only; expected the files of a tokenizer"):
        pair_format(BertTokenizer(), max_length=20)
    words = Tokenizer(WordLevel({"a": 0, "b": 1, "[UNK]": 2}, unk_token="[UNK]"))
    with pytest.raises(ValueError, match="is slow or has no padding token"):
        pair_format(fast(tokenizer_object=words, unk_token="[UNK]"), max_length=20)
    silent = Tokenizer(BPE({"x": 0, "[PAD]": 1}, []))  # says nothing of what it does not know
    with pytest.raises(ValueError, match="makes no tokens of the words 'a' and 'b'"):
        pair_format(fast(tokenizer_object=silent, pad_token="[PAD]"), max_length=20)


def test_no_texts_have_no_tokens() -> None:
    assert token_ids(bert_tokenizer(), []) == ()
