"""Base personas, each with the dialogues whose profiles are variants of one another."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from realdata.language.parlai import Dialogue

SHARED = 3
"""Sentences that two profiles must share to be linked: most of the four or five that a profile of ConvAI2 has."""

_CONTRACTIONS = (
    (re.compile(r"\bcan't\b|\bcannot\b"), "can not"),
    (re.compile(r"\bwon't\b"), "will not"),
    (re.compile(r"n't\b"), " not"),
    (re.compile(r"'m\b"), " am"),
    (re.compile(r"'ve\b"), " have"),
    (re.compile(r"'re\b"), " are"),
    (re.compile(r"'ll\b"), " will"),
    (re.compile(r"'d\b"), " would"),
    (re.compile(r"'s\b"), " is"),  # also a possessive, consistently in every profile
)
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Persona:
    """A base persona and its dialogues, in file order."""

    name: str
    dialogues: tuple[Dialogue, ...]

    @property
    def turns(self) -> int:
        """Return the number of turns of all its dialogues."""
        return sum(len(dialogue.turns) for dialogue in self.dialogues)


def normalised(text: str) -> str:
    """Return a text in lower case, with contractions expanded and words only, separated by single spaces.

    Examples
    --------
    >>> normalised("I'm a nurse;  i don't drive!")
    'i am a nurse i do not drive'
    """
    text = text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    for contraction, words in _CONTRACTIONS:
        text = contraction.sub(words, text)
    return " ".join(_WORD.findall(text))


def base_personas(dialogues: Sequence[Dialogue], *, shared: int = SHARED) -> tuple[Persona, ...]:
    """Return the base personas, by decreasing number of turns.

    Two profiles are linked if they have `shared` normalised sentences in common, or the same sentences; a base persona
    is a connected component. Equal numbers of turns are ordered by the first dialogue. The names are
    ``persona-001`` and so on, in this order.

    Raises
    ------
    ValueError
        If `shared` is below 1, or a dialogue has no persona.
    """
    if shared < 1:
        raise ValueError(f"shared: got {shared}; expected at least 1 sentence")
    components: dict[int, list[Dialogue]] = {}
    for dialogue, root in zip(dialogues, _roots([_profile(one) for one in dialogues], shared=shared), strict=True):
        components.setdefault(root, []).append(dialogue)
    unnamed = [Persona("", tuple(members)) for members in components.values()]
    unnamed.sort(key=lambda persona: (-persona.turns, persona.dialogues[0].number))
    digits = max(3, len(str(len(unnamed))))
    return tuple(
        Persona(f"persona-{rank:0{digits}}", persona.dialogues) for rank, persona in enumerate(unnamed, start=1)
    )


def _profile(dialogue: Dialogue) -> tuple[str, ...]:
    """Return the distinct normalised sentences of a profile, sorted."""
    sentences = {normalised(sentence) for sentence in dialogue.persona} - {""}
    if not sentences:
        raise ValueError(
            f"dialogue {dialogue.number} has no persona; tasks by persona need `your persona:` lines in every dialogue"
        )
    return tuple(sorted(sentences))


def _roots(profiles: Sequence[tuple[str, ...]], *, shared: int) -> list[int]:
    """Return for each profile a representative of its component.

    Profiles with `shared` common sentences have a common combination of that size: this needs one look-up for each
    combination, while comparing all pairs is quadratic in the number of dialogues.
    """
    parent = list(range(len(profiles)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first_with: dict[tuple[str, ...], int] = {}
    for index, profile in enumerate(profiles):
        for key in (profile, *combinations(profile, shared)):
            parent[root(index)] = root(first_with.setdefault(key, index))
    return [root(index) for index in range(len(profiles))]
