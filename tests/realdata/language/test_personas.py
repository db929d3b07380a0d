from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realdata.language.made import made_dialogues
from realdata.language.parlai import Dialogue, Turn
from realdata.language.personas import Persona, base_personas, normalised


def dialogue(number: int, *persona: str, turns: int = 1) -> Dialogue:
    return Dialogue(number, persona, tuple(Turn("hi", f"reply {turn}") for turn in range(turns)))


def numbers(personas: tuple[Persona, ...]) -> list[list[int]]:
    return [[one.number for one in persona.dialogues] for persona in personas]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("I'm a nurse!", "i am a nurse."),
        ("i\N{RIGHT SINGLE QUOTATION MARK}ve two dogs ;", "i have two dogs"),
        ("i don't, won't and can't", "i do not will not and cannot"),
        ("they're here, she'll come, he'd go", "they are here she will come he would go"),
        ("it's my mom's", "it is my mom is"),
    ],
)
def test_spellings_of_one_text_are_the_same(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


def test_normalising_keeps_words_apart() -> None:
    assert normalised("i can") != normalised("i can't")
    assert normalised("my fiancé") == "my fiancé"
    assert normalised("the cat's") != normalised("the cats")


def test_profiles_that_share_three_sentences_are_linked_through_others() -> None:
    found = base_personas(
        [
            dialogue(1, "a", "b", "c", "d"),
            dialogue(2, "v", "w", "x", "y", turns=5),
            dialogue(3, "b", "c", "d", "e"),
            dialogue(4, "c.", "D!", "e", "f"),  # three with 3, two with 1
            dialogue(5, "e", "f", "x", "y"),  # two with 2 and two with 4
        ]
    )
    assert numbers(found) == [[2], [1, 3, 4], [5]]
    assert [persona.name for persona in found] == ["persona-001", "persona-002", "persona-003"]
    assert [persona.turns for persona in found] == [5, 3, 1]


def test_short_profiles_are_linked_if_they_are_the_same() -> None:
    found = base_personas([dialogue(1, "a", "b"), dialogue(2, "b.", "a"), dialogue(3, "a"), dialogue(4, "a", "b", "c")])
    assert numbers(found) == [[1, 2], [3], [4]]


def test_equal_numbers_of_turns_are_ordered_by_the_first_dialogue() -> None:
    found = base_personas([dialogue(1, "a"), dialogue(2, "b", turns=2), dialogue(3, "c", turns=2), dialogue(4, "a")])
    assert numbers(found) == [[1, 4], [2], [3]]


def test_refusals() -> None:
    with pytest.raises(ValueError, match="dialogue 2 has no persona"):
        base_personas([dialogue(1, "a"), dialogue(2)])
    with pytest.raises(ValueError, match="dialogue 1 has no persona"):
        base_personas([dialogue(1, "!")])
    with pytest.raises(ValueError, match="shared: got 0; expected at least 1"):
        base_personas([dialogue(1, "a")], shared=0)


def plain_components(dialogues: list[Dialogue], shared: int) -> set[frozenset[int]]:
    """Return components by comparing all pairs until nothing changes."""
    label = {one.number: one.number for one in dialogues}
    linked = [
        (a.number, b.number)
        for a, b in combinations(dialogues, 2)
        if len(set(a.persona) & set(b.persona)) >= shared or set(a.persona) == set(b.persona)
    ]
    for _ in dialogues:
        for a, b in linked:
            label[a] = label[b] = min(label[a], label[b])
    return {frozenset(n for n in label if label[n] == root) for root in set(label.values())}


@given(seed=st.integers(0, 2**32), count=st.integers(1, 25), shared=st.integers(1, 4), words=st.integers(4, 14))
def test_agrees_with_comparing_all_pairs(seed: int, count: int, shared: int, words: int) -> None:
    rng = np.random.default_rng(seed)
    dialogues = [
        dialogue(number, *(f"word{word}" for word in rng.choice(words, size=rng.integers(1, 5), replace=False)))
        for number in range(1, count + 1)
    ]
    found = base_personas(dialogues, shared=shared)
    assert {frozenset(of_one) for of_one in numbers(found)} == plain_components(dialogues, shared)
    sizes = [persona.turns for persona in found]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(("personas", "dialogues"), [(24, 6), (5, 3), (1, 1)])
def test_finds_the_personas_that_dialogues_were_made_from(personas: int, dialogues: int) -> None:
    made = made_dialogues(3, personas=personas, dialogues=dialogues)
    found = base_personas(made)
    assert len(found) == personas
    for persona in found:
        assert len({(one.number - 1) % personas for one in persona.dialogues}) == 1
    if dialogues > 3:  # spellings vary, so that without normalising there would be more
        assert len({one.persona for one in made}) > personas
