"""The real validation split of ConvAI2, where the variable LORAML_CONVAI2 names its file."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from realdata.language.parlai import Dialogue, read_dialogues
from realdata.language.personas import base_personas, normalised
from realdata.language.settings import CANDIDATES
from realdata.language.splits import assignments, choose_roles
from realdata.language.tasks import part_choices

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif("LORAML_CONVAI2" not in os.environ, reason="realdata: LORAML_CONVAI2 names no file of ConvAI2"),
]


@pytest.fixture(scope="module")
def dialogues() -> tuple[Dialogue, ...]:
    return read_dialogues([os.environ["LORAML_CONVAI2"]])


def test_a_hundred_base_personas(dialogues: tuple[Dialogue, ...]) -> None:
    assert len(dialogues) == 1000
    assert sum(len(one.turns) for one in dialogues) == 7801
    personas = base_personas(dialogues)
    assert len(personas) == 100
    assert [persona.turns for persona in personas[:4]] == [139, 126, 124, 109]
    sizes = Counter(len(persona.dialogues) for persona in personas)
    assert (min(sizes), max(sizes)) == (5, 18)
    assert [len(base_personas(dialogues, shared=shared)) for shared in (2, 4)] == [
        100,
        100,
    ]  # no matter of the threshold


def test_candidates_of_ten_and_ten_personas(dialogues: tuple[Dialogue, ...]) -> None:
    uses = assignments(choose_roles(base_personas(dialogues)))
    persona_of = {use.dialogue.number: use.task for use in uses}
    replies = {(persona_of[one.number], normalised(turn.reply)) for one in dialogues for turn in one.turns}
    places: Counter[int] = Counter()
    for role in ("retraining", "test"):
        for name, parts in part_choices(uses, role=role, seed=0).items():
            for choice in (choice for part in parts.values() for choice in part):
                keys = [normalised(reply) for reply in choice.replies]
                assert len(set(keys)) == CANDIDATES
                assert (name, keys[choice.true]) in replies
                places[choice.true] += 1
    assert places.total() == sum(len(use.dialogue.turns) for use in uses if use.role != "unused")
    assert max(places.values()) < 1.5 * places.total() / CANDIDATES
