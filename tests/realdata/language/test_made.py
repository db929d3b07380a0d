from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from realdata.language.distractors import Choice
from realdata.language.made import LABEL, MOST, made_dialogues
from realdata.language.parlai import read_dialogues
from realdata.language.personas import base_personas
from realdata.language.splits import assignments, choose_roles
from realdata.language.tasks import part_choices
from tests.realdata.language.dialogue_files import write_dialogues


def test_depends_on_the_seed_alone() -> None:
    assert made_dialogues(5) == made_dialogues(5)
    assert made_dialogues(5) != made_dialogues(6)


def test_sizes() -> None:
    made = made_dialogues(0, personas=7, dialogues=4)
    assert [one.number for one in made] == list(range(1, 29))
    assert {len(one.turns) for one in made} == {5}
    assert {len(one.persona) for one in made} == {4, 5}
    assert LABEL.startswith("made-up")


def test_no_two_personas_share_a_sentence() -> None:
    of_persona = [set[str]() for _ in range(MOST)]
    for one in made_dialogues(2, dialogues=12):
        of_persona[(one.number - 1) % MOST].update(one.persona)
    counts = Counter(sentence for sentences in of_persona for sentence in sentences)
    assert set(counts.values()) == {1}


@pytest.mark.parametrize(("personas", "dialogues"), [(0, 1), (MOST + 1, 1), (1, 0)])
def test_refused_numbers(personas: int, dialogues: int) -> None:
    with pytest.raises(ValueError, match=f"personas, dialogues: got {personas}, {dialogues}; expected 1 to {MOST}"):
        made_dialogues(0, personas=personas, dialogues=dialogues)


def test_can_be_written_and_read(tmp_path: Path) -> None:
    made = made_dialogues(0, personas=4)
    write_dialogues(tmp_path / "made.txt.gz", made)
    assert read_dialogues([tmp_path / "made.txt.gz"]) == made


def test_replies_can_be_told_by_the_words_of_the_persona() -> None:
    parts = part_choices(assignments(choose_roles(base_personas(made_dialogues(0)))), role="test", seed=0)
    said = {
        name: Counter({word for choice in of["train"] for word in choice.replies[choice.true].split()})
        for name, of in parts.items()
    }
    by_all = sum(said.values(), Counter[str]())
    own_words = {name: {word for word in words if by_all[word] == 1} for name, words in said.items()}

    def share_right(words: set[str], turns: Sequence[Choice]) -> float:
        counts = [[len(words.intersection(reply.split())) for reply in turn.replies] for turn in turns]
        return float(np.mean([np.argmax(row) == turn.true for row, turn in zip(counts, turns, strict=True)]))

    names = [*parts]
    own = [share_right(own_words[name], parts[name]["test"]) for name in names]
    others = [share_right(own_words[names[at - 1]], parts[name]["test"]) for at, name in enumerate(names)]
    assert np.mean(own) > 0.9
    assert np.mean(others) < 0.15  # 0.05 by chance; 5 standard errors of 100 turns are 0.11
