"""The candidate replies of a turn: the true one among distractors, in a random order."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from loraml_theory.harness.seeds import generator
from realdata.language.parlai import Dialogue
from realdata.language.personas import normalised
from realdata.language.settings import CANDIDATES


@dataclass(frozen=True)
class Choice:
    """A turn with its candidate replies.

    Parameters
    ----------
    history
        The utterances of both so far, the last one the partner's; none is empty.
    replies
        The candidates, all different when normalised.
    true
        Index of the true reply.
    drawn
        Number of drawn distractors; the others are from the file.
    """

    history: tuple[str, ...]
    replies: tuple[str, ...]
    true: int
    drawn: int


class _Reply(NamedTuple):
    dialogue: int
    text: str
    key: str


class ReplyPool:
    """The pool of replies for distractors, each as often as it occurs.

    Parameters
    ----------
    dialogues
        Source of the replies.
    """

    def __init__(self, dialogues: Sequence[Dialogue]) -> None:
        self._replies = tuple(
            _Reply(dialogue.number, turn.reply, normalised(turn.reply))
            for dialogue in dialogues
            for turn in dialogue.turns
        )

    def draw(
        self, rng: np.random.Generator, *, count: int, apart_from: Collection[int], unlike: Collection[str]
    ) -> tuple[str, ...]:
        """Draw replies that differ when normalised.

        Parameters
        ----------
        count
            Number of replies.
        apart_from
            Numbers of dialogues to exclude.
        unlike
            Texts to exclude, when normalised.

        Raises
        ------
        ValueError
            If there are too few such replies.
        """
        seen = {normalised(text) for text in unlike}
        found: list[str] = []
        for index in rng.permutation(len(self._replies)) if count else ():
            reply = self._replies[index]
            if reply.dialogue in apart_from or reply.key in seen:
                continue
            seen.add(reply.key)
            found.append(reply.text)
            if len(found) == count:
                return tuple(found)
        if count:
            raise ValueError(
                f"too few replies of other dialogues: {count} distractors to draw, "
                f"{len(found)} different ones found among {len(self._replies)} replies"
            )
        return ()


def choices(
    dialogue: Dialogue, pool: ReplyPool, *, seed: int, apart_from: Collection[int] = (), candidates: int = CANDIDATES
) -> tuple[Choice, ...]:
    """Return the turns of a dialogue with their candidate replies.

    Distractors in the file are kept, except those equal to the true reply or to an earlier one when normalised; the
    missing ones are drawn. The draws for a turn, the index of the true reply included, depend only on the seed, the
    dialogue's number, the turn and the pool.

    Parameters
    ----------
    dialogue
        The dialogue, which is excluded from the draws.
    apart_from
        Numbers of further excluded dialogues, such as those of the same persona.
    candidates
        Number of candidates, at least 2.

    Raises
    ------
    ValueError
        If `candidates` is below 2, or the pool has too few other replies.
    """
    if candidates < 2:
        raise ValueError(f"candidates: got {candidates}; expected at least 2")
    others = {dialogue.number, *apart_from}
    history: list[str] = []
    found: list[Choice] = []
    for number, turn in enumerate(dialogue.turns):
        history.append(turn.utterance)
        rng = generator(seed, "candidates", dialogue.number, number)
        given = _different(turn.candidates, unlike=turn.reply)[: candidates - 1]
        drawn = pool.draw(rng, count=candidates - 1 - len(given), apart_from=others, unlike=(turn.reply, *given))
        unordered = (turn.reply, *given, *drawn)
        order = rng.permutation(candidates)
        found.append(
            Choice(
                history=tuple(text for text in history if text),
                replies=tuple(unordered[place] for place in order),
                true=int(np.flatnonzero(order == 0)[0]),
                drawn=len(drawn),
            )
        )
        history.append(turn.reply)
    return tuple(found)


def _different(texts: Sequence[str], *, unlike: str) -> tuple[str, ...]:
    """Return the texts without those equal to `unlike` or to an earlier one when normalised."""
    seen = {normalised(unlike)}
    found = []
    for text in texts:
        key = normalised(text)
        if key not in seen:
            seen.add(key)
            found.append(text)
    return tuple(found)
