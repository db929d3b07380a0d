"""The personas for retraining and testing, and their held-out dialogues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from realdata.language.parlai import Dialogue
from realdata.language.personas import Persona

Role: TypeAlias = Literal["retraining", "test", "unused"]
Part: TypeAlias = Literal["train", "validation", "test"]
Side: TypeAlias = Literal["trained on", "evaluated"]


class HeldOut(NamedTuple):
    """Numbers of a persona's last dialogues that are held out: first for validation, then for testing."""

    validation: int
    test: int


RETRAINING_HELD_OUT = HeldOut(validation=2, test=1)
"""Three in total, as in the public reference code, which selects epochs on the dialogues that it reports."""

TEST_HELD_OUT = HeldOut(validation=1, test=2)
"""The last two are for testing, as in the public reference code; one more is for validation."""


@dataclass(frozen=True)
class Roles:
    """The personas by role; no persona has two."""

    retraining: tuple[Persona, ...]
    test: tuple[Persona, ...]
    unused: tuple[Persona, ...]

    def __post_init__(self) -> None:
        names = [persona.name for persona in (*self.retraining, *self.test, *self.unused)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"roles: got {', '.join(twice)} more than once; expected one role for each persona")


class Assignment(NamedTuple):
    """The use of one dialogue: the task of its persona, the persona's role, and the part of the task it is in."""

    task: str
    dialogue: Dialogue
    role: Role
    part: Part | None


def choose_roles(
    personas: Sequence[Persona], *, retraining: int | Sequence[str] = 10, test: int | Sequence[str] = 10
) -> Roles:
    """Choose the personas for retraining and for testing.

    Parameters
    ----------
    personas
        The base personas, by decreasing number of turns.
    retraining, test
        The names of personas, or their number: then the first `retraining` are for retraining and the next `test` for
        testing, without those named for the other role. If the dialogues are from several files, test personas are
        those whose dialogues are all in the last file, retraining personas those with none in it, as the paper takes
        them from the two splits of ConvAI2; a persona in both is not used.

    Raises
    ------
    ValueError
        If there are too few personas, a name is unknown, or a persona would have both roles.
    """
    last = max((dialogue.file for persona in personas for dialogue in persona.dialogues), default=0)
    retrainable, testable = list(personas), list(personas)
    if last > 0:
        retrainable = [one for one in personas if all(dialogue.file < last for dialogue in one.dialogues)]
        testable = [one for one in personas if all(dialogue.file == last for dialogue in one.dialogues)]
    named = set() if isinstance(test, int) else set(test)
    among = [one for one in retrainable if one.name not in named]
    chosen = _chosen("retraining", retraining, among=among, known=personas)
    taken = {persona.name for persona in chosen}
    tested = _chosen("test", test, among=[one for one in testable if one.name not in taken], known=personas)
    taken |= {persona.name for persona in tested}
    return Roles(chosen, tested, tuple(persona for persona in personas if persona.name not in taken))


def _chosen(
    role: Role, asked: int | Sequence[str], *, among: Sequence[Persona], known: Sequence[Persona]
) -> tuple[Persona, ...]:
    """Return the personas of one role."""
    if isinstance(asked, int):
        if asked < 1:
            raise ValueError(f"{role} personas: got {asked}; expected at least 1")
        if len(among) < asked:
            raise ValueError(
                f"too few personas: {asked} {role} personas requested, {len(among)} left of the {len(known)} found"
            )
        return tuple(among[:asked])
    by_name = {persona.name: persona for persona in known}
    for name in asked:
        if name not in by_name:
            raise ValueError(f"{role} personas: got {name!r}; expected names among the {len(known)} personas found")
    return tuple(by_name[name] for name in asked)


def assignments(
    roles: Roles, *, retraining: HeldOut = RETRAINING_HELD_OUT, test: HeldOut = TEST_HELD_OUT
) -> tuple[Assignment, ...]:
    """Return the use of every dialogue, by role, then task, in file order.

    The last dialogues of a persona, as many as in `retraining` or `test`, are held out; the others are for training.

    Raises
    ------
    ValueError
        If a number is below 1, or no dialogue of a persona is left to train on.
    """
    found: list[Assignment] = []
    chosen: tuple[tuple[Role, tuple[Persona, ...], HeldOut], ...] = (
        ("retraining", roles.retraining, retraining),
        ("test", roles.test, test),
    )
    for role, personas, held_out in chosen:
        for persona in personas:
            parts = _parts(persona, held_out)
            found += [
                Assignment(persona.name, one, role, part) for one, part in zip(persona.dialogues, parts, strict=True)
            ]
    return (
        *found,
        *(Assignment(persona.name, one, "unused", None) for persona in roles.unused for one in persona.dialogues),
    )


def _parts(persona: Persona, held_out: HeldOut) -> tuple[Part, ...]:
    """Return the part of each dialogue of a persona."""
    if min(held_out) < 1:
        raise ValueError(
            f"dialogues held out: got {tuple(held_out)}; expected at least 1 of each persona for each part"
        )
    train = len(persona.dialogues) - sum(held_out)
    if train < 1:
        raise ValueError(
            f"{persona.name} has {len(persona.dialogues)} dialogues and {sum(held_out)} are to be held out; "
            "expected at least 1 to train on"
        )
    counts: dict[Part, int] = {"train": train, "validation": held_out.validation, "test": held_out.test}
    return tuple(part for part, count in counts.items() for _ in range(count))


def sources_of_distractors(uses: Sequence[Assignment]) -> Mapping[tuple[Role, Side], tuple[Dialogue, ...]]:
    """Return the sources of distractors for each role and part.

    Training turns take them from the training dialogues of the same role and from every other unused persona; evaluated
    turns from the held-out dialogues of the same role and from the other unused personas. So no candidate of an
    evaluated turn, true or not, comes from a dialogue of training, and having been seen in training does not reveal the
    true one. Nor does retraining take any from the test personas.
    """
    found: dict[tuple[Role, Side], list[Dialogue]] = {}
    sides: tuple[Side, Side] = ("trained on", "evaluated")
    unused: dict[str, Side] = {}
    for use in uses:
        if use.role != "unused":
            found.setdefault((use.role, sides[use.part != "train"]), []).append(use.dialogue)
            continue
        side = unused.setdefault(use.task, sides[len(unused) % 2])
        for role in ("retraining", "test"):
            found.setdefault((role, side), []).append(use.dialogue)
    return {key: tuple(sorted(dialogues, key=lambda one: one.number)) for key, dialogues in found.items()}
