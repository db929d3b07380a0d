"""The tasks of the experiment, one per persona, with its parts as examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from realdata.language.distractors import Choice, ReplyPool, choices
from realdata.language.encoding import pair_format
from realdata.language.examples import TurnExamples
from realdata.language.settings import CANDIDATES, TurnSettings
from realdata.language.splits import Assignment, Part, Side, sources_of_distractors
from realdata.peft_ml.data import Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class PersonaTask(Task):
    """The task of a persona; its parts are turns of different dialogues."""

    train: TurnExamples
    validation: TurnExamples
    test: TurnExamples


def part_choices(
    uses: Sequence[Assignment], *, role: Literal["retraining", "test"], seed: int, training_pool: int = CANDIDATES
) -> dict[str, dict[Part, tuple[Choice, ...]]]:
    """Return the turns with their candidates for each task of a role and each of its parts.

    Distractors that the file does not give come from dialogues of other personas, as
    `splits.sources_of_distractors` says. Training turns have `training_pool` candidates, the others 20.
    """
    sources = sources_of_distractors(uses)
    pools: dict[Side, ReplyPool] = {
        side: ReplyPool(sources.get((role, side), ())) for side in ("trained on", "evaluated")
    }
    of_task: dict[str, list[int]] = {}
    for use in uses:
        of_task.setdefault(use.task, []).append(use.dialogue.number)
    found: dict[str, dict[Part, tuple[Choice, ...]]] = {}
    for use in uses:
        if use.role == role and use.part is not None:
            trained_on = use.part == "train"
            pool = pools["trained on" if trained_on else "evaluated"]
            number = training_pool if trained_on else CANDIDATES
            parts = found.setdefault(use.task, {})
            turns = choices(use.dialogue, pool, seed=seed, apart_from=of_task[use.task], candidates=number)
            parts[use.part] = (*parts.get(use.part, ()), *turns)
    return found


def language_tasks(
    uses: Sequence[Assignment],
    tokenizer: PreTrainedTokenizerBase,
    *,
    role: Literal["retraining", "test"],
    settings: TurnSettings,
) -> tuple[PersonaTask, ...]:
    """Return the tasks of a role, in the order of `uses`, tokenised.

    Raises
    ------
    ValueError
        If the tokenizer or the settings are unsuitable, or there are too few replies for distractors.
    """
    pairs = pair_format(tokenizer, max_length=settings.max_length)

    def examples(turns: Sequence[Choice], trained_on: int | None = None) -> TurnExamples:
        return TurnExamples(
            turns,
            tokenizer,
            pairs=pairs,
            training_candidates=settings.training_candidates,
            separator=settings.separator,
            trained_on=trained_on,
        )

    return tuple(
        PersonaTask(
            name, examples(parts["train"], settings.seed), examples(parts["validation"]), examples(parts["test"])
        )
        for name, parts in part_choices(
            uses, role=role, seed=settings.seed, training_pool=settings.training_pool
        ).items()
    )
