"""Turns as examples: every turn is one example with one row per candidate reply."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from loraml_theory.harness.seeds import generator
from realdata.language.distractors import Choice
from realdata.language.encoding import Ids, PairFormat, token_ids
from realdata.peft_ml.data import Batch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TurnExamples:
    """Turns whose context and candidates are tokenised once, and paired for each batch.

    The context of a turn is all utterances so far, joined by a separator. A batch has the rows of one turn together: in
    evaluation all candidates in order, in training the true reply and distractors drawn from the turn's, in random
    order. The target of a turn is the index of its true reply.

    Training turns are evaluated with as many candidates as in training, drawn once, so that their loss before the first
    step can be compared with later ones.

    Parameters
    ----------
    turns
        Each with the same number of candidates.
    tokenizer, pairs
        Tokenizer, and its format of pairs; see `encoding.pair_format`.
    training_candidates
        Candidates of a turn in training, with the true one, from 2 to the number of candidates.
    separator
        Between the utterances of a context; the tokenizer's own between two texts if None.
    trained_on
        The seed of that draw for training turns; None for other turns.

    Raises
    ------
    ValueError
        If there are no turns, their numbers of candidates differ, `training_candidates` is out of range, or no
        separator is given and the tokenizer has none.
    """

    def __init__(
        self,
        turns: Sequence[Choice],
        tokenizer: PreTrainedTokenizerBase,
        *,
        pairs: PairFormat,
        training_candidates: int,
        separator: str | None = None,
        trained_on: int | None = None,
    ) -> None:
        numbers = {len(turn.replies) for turn in turns}
        if len(numbers) != 1:
            raise ValueError(f"turns: got {sorted(numbers)} candidates; expected turns with one number of them")
        self.candidates = numbers.pop()
        if not 2 <= training_candidates <= self.candidates:
            raise ValueError(f"training_candidates: got {training_candidates}; expected 2 to {self.candidates}")
        separator = tokenizer.sep_token if separator is None else separator
        if separator is None:
            raise ValueError("separator: the tokenizer has none between two texts; expected one in the settings")
        self.training_candidates = training_candidates
        self.trained_on = trained_on
        self.pairs = pairs
        self.true = np.array([turn.true for turn in turns], dtype=np.int64)
        self._contexts = tuple(
            context[-pairs.room :] for context in token_ids(tokenizer, [separator.join(turn.history) for turn in turns])
        )
        replies = tuple(dict.fromkeys(reply for turn in turns for reply in turn.replies))
        tokens = dict(zip(replies, token_ids(tokenizer, replies), strict=True))
        self._replies = tuple(tuple(tokens[reply] for reply in turn.replies) for turn in turns)
        self.row_lengths = np.array(
            [
                [pairs.length(len(context), len(reply)) for reply in own]
                for context, own in zip(self._contexts, self._replies, strict=True)
            ],
            dtype=np.int64,
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all rows, of the true replies' indices, and of the number of candidates in training."""
        digest = hashlib.sha256(
            repr((len(self), self.candidates, self.training_candidates, self.trained_on, self.pairs)).encode()
        )
        digest.update(self.true.astype("<i8").tobytes())
        for context, replies in zip(self._contexts, self._replies, strict=True):
            for ids in (context, *replies):
                digest.update(np.int64(len(ids)).tobytes() + ids.astype("<i4").tobytes())
        return digest.hexdigest()

    @cached_property
    def shown(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The candidates shown without a generator, and the index of the true one, as in `shown_candidates`."""
        if self.trained_on is None:
            return np.tile(np.arange(self.candidates), (len(self), 1)), self.true
        rng = generator(self.trained_on, "shown candidates")
        return shown_candidates(self, np.arange(len(self)), rng)

    def __len__(self) -> int:
        return len(self._contexts)

    def batch(self, indices: NDArray[np.int64], rng: np.random.Generator | None = None) -> Batch:
        """Return turns as rows, padded to the longest of them.

        Returns
        -------
        Batch
            Inputs have the rows of the first turn, then of the second, and so on; targets are the indices of the true
            replies, ``(turns,)``.
        """
        shown, targets = shown_candidates(self, indices, rng)
        chosen = [
            self.pair(int(turn), int(candidate)) for turn, row in zip(indices, shown, strict=True) for candidate in row
        ]
        return Batch(self.pairs.rows(chosen), torch.from_numpy(targets))

    def pair(self, turn: int, candidate: int) -> tuple[Ids, Ids]:
        """Return the tokens of a turn's context and of one of its candidates."""
        return self._contexts[turn], self._replies[turn][candidate]


def shown_candidates(
    examples: TurnExamples, indices: NDArray[np.int64], rng: np.random.Generator | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the shown candidates of each turn in order, and the index of the true one among them.

    Returns
    -------
    tuple
        ``(turns, candidates)`` and ``(turns,)``. Without a generator those of `TurnExamples.shown`; with one the true
        and ``training_candidates - 1`` others, drawn for each turn.
    """
    if rng is None:
        shown, places = examples.shown
        return shown[indices], places[indices]
    true = examples.true[indices]
    keys = rng.random((len(indices), examples.candidates))
    turns = np.arange(len(indices))
    keys[turns, true] = -1.0  # below all others: always among the first
    drawn = np.argsort(keys, axis=1)[:, : examples.training_candidates]
    shown = rng.permuted(drawn, axis=1)
    return shown, np.argmax(shown == true[:, None], axis=1).astype(np.int64)
