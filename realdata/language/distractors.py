"""The replies to choose from at a turn: the true one among distractors, in an order that says nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from realdata.language.parlai import Dialogue
from realdata.language.personas import normalised
from realdata.language.settings import CANDIDATES
from realdata.peft_ml.seeding import generator


@dataclass(frozen=True)
class Choice:
    """A turn with the replies to choose from.

    Parameters
    ----------
    history
        The utterances so far, of both, the last of the partner; none is empty.
    replies
        The candidates, no two the same when normalised.
    true
        Where the true reply is among them.
    drawn
        How many distractors were drawn; the file gave the others.
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
    """The replies that distractors are drawn from, every one as often as it was said.

    Parameters
    ----------
    dialogues
        Where they come from.
    """

    def __init__(self, dialogues: Sequence[Dialogue]) -> None:
        """Normalise each reply once."""
        self._replies = tuple(
            _Reply(dialogue.number, turn.reply, normalised(turn.reply))
            for dialogue in dialogues
            for turn in dialogue.turns
        )

    def draw(
        self, rng: np.random.Generator, *, count: int, apart_from: Collection[int], unlike: Collection[str]
    ) -> tuple[str, ...]:
        """Draw replies, no two the same when normalised.

        Parameters
        ----------
        count
            How many.
        apart_from
            Numbers of dialogues none of them comes from.
        unlike
            Texts none of them is the same as, when normalised.

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
    """Return the turns of a dialogue with the replies to choose from.

    Distractors that the file gives are kept, except those that are the same as the true reply or as one before when
    normalised; the missing ones are drawn. What is drawn for a turn, the place of the true reply too, depends on the
    seed, the dialogue's number, the turn and the pool, and on nothing else.

    Parameters
    ----------
    dialogue
        Nothing is drawn from it.
    apart_from
        Numbers of further dialogues that nothing is drawn from, such as those of the same persona.
    candidates
        How many replies to choose from, at least 2.

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
    """Return the texts without those that are, when normalised, the same as `unlike` or as one before."""
    seen = {normalised(unlike)}
    found = []
    for text in texts:
        key = normalised(text)
        if key not in seen:
            seen.add(key)
            found.append(text)
    return tuple(found)
