"""Pairs of a context and a reply as rows of token ids, from texts that are tokenised once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class PairFormat:
    """A tokenizer's format of a pair: special tokens before, between and after the two, and token types.

    Parameters
    ----------
    before, between, after
        The special tokens with their types.
    types
        Types of the tokens of the first text and of the second.
    padding
        Token and type for padding on the right.
    typed
        Whether the model takes token types.
    max_length
        Tokens of the longest row, with special ones.
    """

    before: tuple[tuple[int, int], ...]
    between: tuple[tuple[int, int], ...]
    after: tuple[tuple[int, int], ...]
    types: tuple[int, int]
    padding: tuple[int, int]
    typed: bool
    max_length: int

    @property
    def room(self) -> int:
        """Return the number of tokens for both texts of a row."""
        return self.max_length - len(self.before) - len(self.between) - len(self.after)

    @property
    def reply_room(self) -> int:
        """Return the number of leading tokens of a reply that are kept, at most half of the room."""
        return self.room // 2

    def length(self, context: int, reply: int) -> int:
        """Return the tokens of a row, from those of its context and of its reply."""
        return min(context + min(reply, self.reply_room), self.room) + self.max_length - self.room

    def rows(self, pairs: Sequence[tuple[Ids, Ids]], *, width: int | None = None) -> Mapping[str, Tensor]:
        """Return a model's inputs for rows, padded to the longest of them, or to `width`.

        A context that is too long loses its first tokens. For replies of at most `reply_room` tokens a row is the
        tokenizer's with ``truncation="only_first"`` and ``truncation_side="left"``.
        """
        width = width or max(self.length(len(context), len(reply)) for context, reply in pairs)
        ids = np.full((len(pairs), width), self.padding[0], dtype=np.int64)
        types = np.full((len(pairs), width), self.padding[1], dtype=np.int64)
        mask = np.zeros((len(pairs), width), dtype=np.int64)
        before, between, after = (np.array(part, dtype=np.int64).reshape(-1, 2).T for part in self._special)
        for row, (context, whole_reply) in enumerate(pairs):
            reply = whole_reply[: self.reply_room]
            kept = context[max(0, len(context) + len(reply) - self.room) :]
            end = self.length(len(context), len(whole_reply))
            np.concatenate([before[0], kept, between[0], reply, after[0]], out=ids[row, :end])
            mask[row, :end] = 1
            if self.typed:
                own = np.full(len(kept), self.types[0]), np.full(len(reply), self.types[1])
                np.concatenate([before[1], own[0], between[1], own[1], after[1]], out=types[row, :end])
        inputs = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        return {**inputs, "token_type_ids": torch.from_numpy(types)} if self.typed else inputs

    @property
    def _special(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        return self.before, self.between, self.after


def pair_format(tokenizer: PreTrainedTokenizerBase, *, max_length: int) -> PairFormat:
    """Find a tokenizer's format of pairs from an example.

    Raises
    ------
    ValueError
        If the tokenizer has no words or no padding token, or cannot assign tokens to texts, or `max_length` leaves no
        room or is more than it allows.
    """
    name = type(tokenizer).__name__
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        raise ValueError(
            f"tokenizer: {name} knows special tokens only; expected the files of a tokenizer with the model"
        )
    if not tokenizer.is_fast or tokenizer.pad_token_id is None:
        raise ValueError(f"tokenizer: {name} is slow or has no padding token; expected a fast tokenizer with one")
    written = tokenizer("a", "b")
    sources = written.sequence_ids()
    if 0 not in sources or 1 not in sources:
        raise ValueError(f"tokenizer: {name} makes no tokens of the words 'a' and 'b'")
    typed = "token_type_ids" in tokenizer.model_input_names
    types = written["token_type_ids"] if typed else [0] * len(sources)
    tokens = list(zip(written["input_ids"], types, strict=True))
    first, second = sources.index(0), sources.index(1)
    first_end, second_end = first + sources.count(0), second + sources.count(1)
    found = PairFormat(
        before=tuple(tokens[:first]),
        between=tuple(tokens[first_end:second]),
        after=tuple(tokens[second_end:]),
        types=(types[first], types[second]),
        padding=(tokenizer.pad_token_id, tokenizer.pad_token_type_id),
        typed=typed,
        max_length=max_length,
    )
    if found.room < 2 or max_length > tokenizer.model_max_length:
        least = max_length - found.room + 2
        raise ValueError(
            f"max_length: got {max_length} tokens; expected {least} to {tokenizer.model_max_length} for {name}"
        )
    return found


def token_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> tuple[Ids, ...]:
    """Return the tokens of each text, without special ones around it."""
    if not texts:
        return ()
    written = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)
    return tuple(np.array(ids, dtype=np.int32) for ids in written["input_ids"])
