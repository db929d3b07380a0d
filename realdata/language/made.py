"""Made-up dialogues from templates, to run the experiment without a download; results say nothing about language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from loraml_theory.harness.seeds import generator
from realdata.language.parlai import Dialogue, Turn

LABEL = "made-up dialogues (templates, not ConvAI2)"
"""Label of results on them."""


class _Trait(NamedTuple):
    """A trait: sentences of the profile, of the partner and of the persona; ``{}`` stands for the persona's word."""

    words: str
    sentences: tuple[str, ...]
    questions: tuple[str, ...]
    replies: tuple[str, ...]


_TRAITS = (
    _Trait(
        "dog cat parrot horse rabbit turtle snake goat hamster lizard donkey goose ferret pony lamb duck "
        "pigeon gecko mouse crab frog hen owl llama",
        ("i have a {}.", "i've a {}."),
        ("do you like animals ?", "is anybody at home with you ?", "do you have pets ?"),
        ("yes , my {} sleeps on my bed .", "i feed my {} every morning .", "just my {} , it's lovely ."),
    ),
    _Trait(
        "nurse baker pilot farmer lawyer tailor painter barber sailor miner clerk judge plumber waiter "
        "actor dentist soldier printer potter welder porter surgeon grocer librarian",
        ("i am a {}.", "i'm a {}."),
        ("what do you do for work ?", "do you have a job ?", "how was work today ?"),
        ("i work as a {} .", "long day , being a {} is hard .", "i'm a {} , it pays well ."),
    ),
    _Trait(
        "pizza rice soup pasta curry salad bread cheese beans noodles pancakes waffles tacos sushi steak "
        "chicken salmon apples oranges cake pie cookies popcorn porridge",
        ("i do not eat anything but {}.", "i don't eat anything but {}!"),
        ("what do you like to eat ?", "are you hungry ?", "what is for dinner ?"),
        ("there is {} on my table tonight .", "always {} for me .", "i could eat {} all day ."),
    ),
    _Trait(
        "tennis chess golf hiking fishing sewing dancing sailing boxing skiing surfing rowing cycling "
        "swimming singing knitting gardening climbing hunting bowling running yoga karate poetry",
        ("i will always love {}.", "i'll always love {}."),
        ("what do you do for fun ?", "any plans for the weekend ?", "do you have hobbies ?"),
        ("mostly {} , when i can .", "i am into {} these days .", "{} with friends , what about you ?"),
    ),
    _Trait(
        "paris london berlin madrid rome vienna oslo dublin lisbon prague athens warsaw boston chicago "
        "denver dallas seattle austin tokyo delhi cairo lima sydney toronto",
        ("my home is {}.", "my home is: {}!"),
        ("where do you live ?", "where are you from ?", "how is the weather there ?"),
        ("i live in {} , near the river .", "it rains a lot in {} .", "{} , i was born here ."),
    ),
)
MOST = 24
"""Largest number of personas, the number of words of each trait: no two share a word, so no two share a sentence."""


def made_dialogues(seed: int, *, personas: int = 24, dialogues: int = 6) -> tuple[Dialogue, ...]:
    """Make up dialogues in which the replies identify the persona.

    A persona has one word for each of five traits. A dialogue shows four or five sentences of it, differing in
    contractions and punctuation, and has one turn on each trait, in random order: the reply fits the question and has
    the persona's word. So a reply can be chosen by the question, which all personas share, and by the words, which they
    do not. The dialogues of different personas alternate.

    Parameters
    ----------
    seed
        Seed of all draws.
        personas
        Number of personas, from 1 to `MOST`.
        dialogues
        Dialogues of each persona, at least 1.

    Raises
    ------
    ValueError
        If a number is out of range.
    """
    if not 1 <= personas <= MOST or dialogues < 1:
        raise ValueError(
            f"personas, dialogues: got {personas}, {dialogues}; expected 1 to {MOST} personas and at least 1 dialogue"
        )
    rng = generator(seed, "made dialogues")
    words = {trait: rng.permutation(trait.words.split())[:personas] for trait in _TRAITS}
    found = []
    for round_ in range(dialogues):
        for persona in range(personas):
            own = {trait: str(of_all[persona]) for trait, of_all in words.items()}
            found.append(_dialogue(rng, own, number=round_ * personas + persona + 1))
    return tuple(found)


def _dialogue(rng: np.random.Generator, own: Mapping[_Trait, str], *, number: int) -> Dialogue:
    """Return one dialogue of a persona, given its word for each trait."""

    def one(templates: tuple[str, ...], word: str) -> str:
        return templates[rng.integers(len(templates))].format(word)

    shown = [_TRAITS[place] for place in rng.permutation(len(_TRAITS))][: 4 + rng.integers(2)]
    asked = [_TRAITS[place] for place in rng.permutation(len(_TRAITS))]
    return Dialogue(
        number=number,
        persona=tuple(one(trait.sentences, own[trait]) for trait in shown),
        turns=tuple(Turn(one(trait.questions, own[trait]), one(trait.replies, own[trait])) for trait in asked),
    )
