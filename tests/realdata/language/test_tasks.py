from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from realdata.language.examples import TurnExamples
from realdata.language.made import made_dialogues
from realdata.language.parlai import Dialogue
from realdata.language.personas import base_personas
from realdata.language.settings import CANDIDATES, TurnSettings
from realdata.language.splits import Assignment, assignments, choose_roles
from realdata.language.tasks import PersonaTask, language_tasks, part_choices
from tests.realdata.language.tiny import bert_tokenizer, made_words


@pytest.fixture(scope="module")
def uses() -> tuple[Assignment, ...]:
    return assignments(choose_roles(base_personas(made_dialogues(0, personas=12)), retraining=4, test=3))


@pytest.fixture(scope="module")
def tasks(uses: tuple[Assignment, ...]) -> tuple[PersonaTask, ...]:
    settings = TurnSettings(max_length=40, training_candidates=4)
    return language_tasks(uses, bert_tokenizer(made_words()), role="retraining", settings=settings)


def test_one_task_a_persona_with_parts_of_whole_dialogues(tasks: tuple[PersonaTask, ...]) -> None:
    assert [task.name for task in tasks] == [f"persona-00{rank}" for rank in (1, 2, 3, 4)]
    for task in tasks:
        assert [len(part) for part in (task.train, task.validation, task.test)] == [15, 10, 5]


def rows_of(turns: TurnExamples, rng: np.random.Generator | None) -> list[list[int]]:
    """Return the rows of the first two turns as lists of tokens."""
    inputs, targets = turns.batch(np.arange(2), rng)
    assert isinstance(inputs, dict)
    assert len(targets) == 2
    rows: list[list[int]] = inputs["input_ids"].tolist()
    return rows


def test_batches_have_four_candidates_in_training_and_twenty_in_evaluation(tasks: tuple[PersonaTask, ...]) -> None:
    train, validation = tasks[0].train, tasks[0].validation
    assert len(rows_of(train, np.random.default_rng(0))) == 8
    assert len(rows_of(validation, None)) == 2 * CANDIDATES


def test_turns_to_train_on_are_evaluated_on_as_many_candidates_always_the_same(tasks: tuple[PersonaTask, ...]) -> None:
    train = tasks[0].train
    once = rows_of(train, None)
    assert len(once) == 8
    assert once == rows_of(train, None)
    both = train.batch(np.array([4, 1])).targets.tolist(), train.batch(np.array([1])).targets.tolist()
    assert both[0][1:] == both[1]  # whatever else is in the batch
    drawn = [rows_of(train, np.random.default_rng(seed)) for seed in (0, 1)]
    assert drawn[0] != drawn[1]


def test_training_draws_from_a_pool(uses: tuple[Assignment, ...]) -> None:
    settings = TurnSettings(max_length=40, training_candidates=4, training_pool=5)
    made = language_tasks(uses, bert_tokenizer(made_words()), role="test", settings=settings)
    assert [(task.train.candidates, task.validation.candidates, task.test.candidates) for task in made] == [
        (5, CANDIDATES, CANDIDATES)
    ] * 3


def test_tokenizer_knows_the_made_words(tasks: tuple[PersonaTask, ...]) -> None:
    unknown = bert_tokenizer(made_words()).unk_token_id
    inputs = tasks[0].test.batch(np.arange(5)).inputs
    assert isinstance(inputs, dict)
    assert not (inputs["input_ids"] == unknown).any()


def tagged(dialogue: Dialogue) -> Dialogue:
    """Return a dialogue whose replies say which dialogue they come from."""
    turns = tuple(replace(turn, reply=f"{turn.reply} {dialogue.number}") for turn in dialogue.turns)
    return replace(dialogue, turns=turns)


def test_nothing_evaluated_is_seen_in_training_and_no_distractor_is_of_the_persona() -> None:
    dialogues = [tagged(one) for one in made_dialogues(0, personas=12)]
    uses = assignments(choose_roles(base_personas(dialogues), retraining=4, test=3))
    persona_of = {use.dialogue.number: use.task for use in uses}
    seen: dict[str, set[str]] = {"train": set(), "validation": set(), "test": set()}
    roles: tuple[Literal["retraining", "test"], ...] = ("retraining", "test")
    for role in roles:
        for name, parts in part_choices(uses, role=role, seed=0).items():
            for part, choices in parts.items():
                for choice in choices:
                    seen[part].update(choice.replies)
                    of_persona = [persona_of[int(reply.split()[-1])] == name for reply in choice.replies]
                    assert of_persona == [place == choice.true for place in range(CANDIDATES)]
    assert not seen["train"] & (seen["validation"] | seen["test"])
    assert len(seen["train"]) > 100


def test_candidates_do_not_depend_on_the_order_of_tasks(uses: tuple[Assignment, ...]) -> None:
    forward = part_choices(uses, role="test", seed=2)
    retraining = [use for use in uses if use.role == "retraining"]
    others = [use for use in uses if use.role != "retraining"]
    assert part_choices([*others, *retraining], role="test", seed=2) == forward
    assert part_choices(uses, role="test", seed=3) != forward


def test_too_few_replies_to_draw_from() -> None:
    few = assignments(choose_roles(base_personas(made_dialogues(0, personas=2)), retraining=1, test=1))
    with pytest.raises(ValueError, match="too few replies of other dialogues: 19 distractors to draw"):
        part_choices(few, role="retraining", seed=0)
