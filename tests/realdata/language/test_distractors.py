from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realdata.language.distractors import Choice, ReplyPool, choices
from realdata.language.made import made_dialogues
from realdata.language.parlai import Dialogue, Turn
from realdata.language.personas import normalised
from realdata.language.settings import CANDIDATES

MADE = made_dialogues(1, personas=12, dialogues=3)


def with_replies(number: int, *replies: str) -> Dialogue:
    return Dialogue(number, (), tuple(Turn("hi", reply) for reply in replies))


def distractors(choice: Choice) -> list[str]:
    return [reply for place, reply in enumerate(choice.replies) if place != choice.true]


@given(seed=st.integers(0, 2**32), at=st.integers(0, len(MADE) - 1))
def test_candidates_are_different_replies_of_other_dialogues(seed: int, at: int) -> None:
    dialogue = MADE[at]
    others = {turn.reply for one in MADE if one.number not in (dialogue.number, 5) for turn in one.turns}
    for turn, choice in zip(dialogue.turns, choices(dialogue, ReplyPool(MADE), seed=seed, apart_from={5}), strict=True):
        assert len(choice.replies) == CANDIDATES
        assert choice.replies[choice.true] == turn.reply
        assert len({normalised(reply) for reply in choice.replies}) == CANDIDATES
        assert others.issuperset(distractors(choice))
        assert choice.drawn == CANDIDATES - 1


def test_a_draw_depends_on_seed_dialogue_and_turn_and_on_nothing_else() -> None:
    pool = ReplyPool(MADE)
    forward = {one.number: choices(one, pool, seed=3) for one in MADE}
    backward = {one.number: choices(one, pool, seed=3) for one in reversed(MADE)}
    assert forward == backward
    assert choices(MADE[0], ReplyPool(MADE), seed=4) != forward[1]
    # the same dialogue under another number
    assert choices(replace(MADE[0], number=99), ReplyPool(MADE[1:]), seed=3) != forward[1]
    first, second, *_ = forward[1]
    assert first.replies != second.replies


def test_a_text_that_is_the_same_but_for_spelling_is_no_distractor() -> None:
    pool = ReplyPool([with_replies(2, "I'm fine!", "no .", "No", "it is late", "it's late ."), with_replies(3, "yes")])
    (choice,) = choices(with_replies(1, "i am fine"), pool, seed=0, candidates=4)
    assert {normalised(reply) for reply in choice.replies} == {"i am fine", "no", "it is late", "yes"}
    message = "too few replies of other dialogues: 4 distractors to draw, 3 different ones found among 6 replies"
    with pytest.raises(ValueError, match=message):
        choices(with_replies(1, "i am fine"), pool, seed=0, candidates=5)


def test_replies_are_drawn_as_often_as_they_were_said() -> None:
    pool = ReplyPool([with_replies(2, "often", "rare"), with_replies(3, "often"), with_replies(4, "often")])
    drawn = Counter(choices(with_replies(1, "true"), pool, seed=seed, candidates=2)[0].replies for seed in range(2000))
    often = sum(count for replies, count in drawn.items() if "often" in replies)
    assert abs(often - 1500) < 5 * np.sqrt(2000 * 0.75 * 0.25)  # by chance once in 1.7 million


def test_the_place_of_the_true_reply_is_uniform() -> None:
    pool = ReplyPool(MADE)
    places = Counter(choice.true for seed in range(60) for one in MADE for choice in choices(one, pool, seed=seed))
    count = places.total()
    expected = count / CANDIDATES
    statistic = sum((places[place] - expected) ** 2 / expected for place in range(CANDIDATES))
    assert statistic < 59  # chi-squared with 19 degrees of freedom: by chance once in 200 000


def test_the_history_is_what_was_said_so_far() -> None:
    dialogue = Dialogue(1, (), (Turn("", "hello"), Turn("how are you", "fine"), Turn("bye", "bye !")))
    found = choices(dialogue, ReplyPool(MADE), seed=0)
    assert [one.history for one in found] == [
        (),
        ("hello", "how are you"),
        ("hello", "how are you", "fine", "bye"),
    ]


def test_given_candidates_are_kept_and_shuffled() -> None:
    given_ones = (*(f"reply {number}" for number in range(19)), "true")
    turns = tuple(Turn("hi", "true", given_ones) for _ in range(40))
    found = choices(Dialogue(1, (), turns), ReplyPool([]), seed=0)
    assert all(set(one.replies) == set(given_ones) and one.drawn == 0 for one in found)
    assert all(one.replies[one.true] == "true" for one in found)
    assert len({one.true for one in found}) > 10  # in the file it is always last


def test_given_candidates_that_are_the_same_are_replaced() -> None:
    turn = Turn("hi", "i am", ("I'm !", "yes", "Yes .", "i am"))
    (found,) = choices(
        Dialogue(1, (), (turn,)), ReplyPool([with_replies(2, "yes", "no", "maybe")]), seed=0, candidates=4
    )
    assert set(found.replies) == {"i am", "yes", "no", "maybe"}
    assert found.drawn == 2


def test_surplus_candidates_are_left_out() -> None:
    turn = Turn("hi", "z", ("a", "b", "c", "z"))
    (found,) = choices(Dialogue(1, (), (turn,)), ReplyPool([]), seed=0, candidates=3)
    assert set(found.replies) == {"a", "b", "z"}


def test_one_candidate_is_no_choice() -> None:
    with pytest.raises(ValueError, match="candidates: got 1; expected at least 2"):
        choices(MADE[0], ReplyPool(MADE), seed=0, candidates=1)
