from __future__ import annotations

import csv
from pathlib import Path

import pytest

from realdata.language.made import made_dialogues
from realdata.language.parlai import Dialogue, Turn
from realdata.language.personas import Persona, base_personas
from realdata.language.splits import HeldOut, Role, Roles, Side, assignments, choose_roles, sources_of_distractors
from realdata.language.tasks_file import COLUMNS, write_tasks


@pytest.fixture(scope="module")
def personas() -> tuple[Persona, ...]:
    return base_personas(made_dialogues(0, personas=9, dialogues=6))


def persona(name: str, *files: int) -> Persona:
    return Persona(name, tuple(Dialogue(at, ("x",), (Turn("a", "b"),), file=file) for at, file in enumerate(files)))


def names(personas: tuple[Persona, ...]) -> list[str]:
    return [one.name for one in personas]


def test_the_first_are_retrained_on_and_the_next_are_tested_on(personas: tuple[Persona, ...]) -> None:
    roles = choose_roles(personas, retraining=4, test=3)
    assert (roles.retraining, roles.test, roles.unused) == (personas[:4], personas[4:7], personas[7:])


def test_personas_can_be_named(personas: tuple[Persona, ...]) -> None:
    roles = choose_roles(personas, retraining=["persona-009", "persona-002"], test=2)
    assert names(roles.retraining) == ["persona-009", "persona-002"]
    assert names(roles.test) == ["persona-001", "persona-003"]
    assert len(roles.unused) == 5
    roles = choose_roles(personas, retraining=2, test=["persona-001", "persona-003"])
    assert names(roles.retraining) == ["persona-002", "persona-004"]
    assert names(roles.test) == ["persona-001", "persona-003"]


def test_with_several_files_tests_come_from_the_last() -> None:
    found = [persona("a", 0, 0), persona("b", 1, 1), persona("c", 0, 1), persona("d", 1), persona("e", 0)]
    roles = choose_roles(found, retraining=2, test=2)
    assert names(roles.retraining) == ["a", "e"]
    assert names(roles.test) == ["b", "d"]
    assert names(roles.unused) == ["c"]


def test_refused_roles(personas: tuple[Persona, ...]) -> None:
    with pytest.raises(ValueError, match="too few personas: 10 retraining personas requested, 9 left of the 9 found"):
        choose_roles(personas)
    with pytest.raises(ValueError, match="too few personas: 6 test personas requested, 5 left of the 9 found"):
        choose_roles(personas, retraining=4, test=6)
    with pytest.raises(ValueError, match="test personas: got 0; expected at least 1"):
        choose_roles(personas, retraining=1, test=0)
    with pytest.raises(ValueError, match="retraining personas: got 'x'; expected names among the 9 personas"):
        choose_roles(personas, retraining=["x"], test=1)
    with pytest.raises(ValueError, match="roles: got persona-002 more than once"):
        choose_roles(personas, retraining=["persona-002"], test=["persona-002"])
    with pytest.raises(ValueError, match="roles: got persona-001 more than once"):
        Roles(personas[:1], personas[:1], ())


def test_every_dialogue_has_one_use_and_the_last_ones_are_held_out(personas: tuple[Persona, ...]) -> None:
    uses = assignments(choose_roles(personas, retraining=4, test=3), retraining=HeldOut(2, 1), test=HeldOut(1, 2))
    assert sorted(use.dialogue.number for use in uses) == list(range(1, 55))
    for rank, one in enumerate(personas):
        own = [use for use in uses if use.task == one.name]
        assert [use.dialogue for use in own] == list(one.dialogues)
        expected = (["train"] * 3 + ["validation"] * 2 + ["test"], ["train"] * 3 + ["validation"] + ["test"] * 2)
        assert [use.part for use in own] == (expected[rank >= 4] if rank < 7 else [None] * 6)
        assert {use.role for use in own} == {"retraining" if rank < 4 else "test" if rank < 7 else "unused"}


def test_refused_parts(personas: tuple[Persona, ...]) -> None:
    roles = choose_roles(personas, retraining=4, test=3)
    with pytest.raises(
        ValueError, match="persona-001 has 6 dialogues and 6 are to be held out; expected at least 1 to"
    ):
        assignments(roles, retraining=HeldOut(3, 3))
    with pytest.raises(ValueError, match=r"dialogues held out: got \(1, 0\); expected at least 1"):
        assignments(roles, test=HeldOut(1, 0))


def test_distractors_of_evaluated_turns_never_come_from_what_is_trained_on(personas: tuple[Persona, ...]) -> None:
    uses = assignments(choose_roles(personas, retraining=3, test=2))
    sources = {key: {one.number for one in found} for key, found in sources_of_distractors(uses).items()}
    assert len(sources) == 4
    parts = {use.dialogue.number: (use.role, use.part) for use in uses}
    trained = {number for number, (_, part) in parts.items() if part == "train"}
    held_out = {number for number, (_, part) in parts.items() if part in ("validation", "test")}
    seen = sources["retraining", "trained on"] | sources["test", "trained on"] | trained
    roles: tuple[Role, Role] = ("retraining", "test")
    sides: tuple[Side, Side] = ("trained on", "evaluated")
    for role, other in (roles, roles[::-1]):
        evaluated = sources[role, "evaluated"]
        assert not evaluated & seen
        assert evaluated & held_out == {number for number in held_out if parts[number][0] == role}
        for side in sides:
            found = sources[role, side]
            assert not [number for number in found if parts[number][0] == other]
            assert [number for number in found if parts[number][0] == "unused"]


def test_tasks_file(personas: tuple[Persona, ...], tmp_path: Path) -> None:
    uses = assignments(choose_roles(personas, retraining=["persona-005"], test=["persona-002"]))
    path = tmp_path / "tasks.csv"
    write_tasks(path, uses)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["task"] for row in rows] == sorted(row["task"] for row in rows)
    assert sorted(int(row["dialogue"]) for row in rows) == list(range(1, 55))
    assert {row["turns"] for row in rows} == {"5"}
    assert {row["task"] for row in rows if row["role"] == "retraining"} == {"persona-005"}
    assert [row["part"] for row in rows if row["role"] == "test"] == ["train"] * 3 + ["validation"] + ["test"] * 2
    assert {row["part"] for row in rows if row["role"] == "unused"} == {""}
