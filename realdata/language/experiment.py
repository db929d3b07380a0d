"""The language experiment for `realdata.experiments`."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraml_theory.harness.errors import InputError
from realdata.experiments.experiment import FORWARD_AND_BACKWARD, Cost, FineTuningPlan, RetrainingPlan, Score, Spec
from realdata.experiments.grid import RetrainingKey, Work
from realdata.language.settings import CANDIDATES, OUTPUTS, LanguageSettings
from realdata.peft_ml.settings import ADAPTED

if TYPE_CHECKING:
    from torch import Tensor, nn

    from realdata.language.encoders import Encoder
    from realdata.language.parlai import Dialogue
    from realdata.language.splits import Assignment
    from realdata.language.tasks import PersonaTask
    from realdata.peft_ml.data import Problem, Task

RANDOM = "tiny-random"
"""The name, in the settings, of the random encoder of `realdata.language.random_encoder`."""

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class LanguageSpec(Spec):
    """A language experiment on the dialogues in some files; none for made-up ones."""

    name = "language"
    reference = "standard"

    settings: LanguageSettings
    files: tuple[Path, ...] = ()

    @property
    def inputs(self) -> Sequence[Path]:
        """The files of dialogues, and the encoder where it is a folder."""
        return [*self.files, Path(self.settings.model.name)]

    def open(self) -> LanguageExperiment:
        """Read the dialogues and the encoder.

        Raises
        ------
        InputError
            If they cannot be used.
        """
        return LanguageExperiment(self.settings, self.files)


class LanguageExperiment:
    """The tasks of personas, some to retrain on, others to adapt to, one at a time.

    Parameters
    ----------
    settings
        Settings of the experiment.
    files
        Files of dialogues; none for made-up ones.

    Raises
    ------
    InputError
        If they cannot be used: damaged, too few personas, an encoder without a tokenizer.
    """

    unit = "persona"

    def __init__(self, settings: LanguageSettings, files: Sequence[Path]) -> None:
        from realdata.language.encoders import check_forward
        from realdata.language.problem import CandidateProblem, chance_level

        self.settings = settings
        self._files = tuple(files)
        try:
            self._dialogues, self._uses = _dialogues_and_uses(settings, self._files)
            encoder = self._encoder(0)
            self._retraining = self._tasks("retraining", encoder)
            self._test = {task.name: task for task in self._tasks("test", encoder)}
            check_forward(encoder, self._longest_rows(), name=settings.model.name)
        except ValueError as problem:
            raise InputError(str(problem)) from problem
        padding = encoder.tokenizer.pad_token_id, encoder.tokenizer.pad_token_type_id
        self.problem: Problem = CandidateProblem(settings.model.head, padding)
        self.head = encoder.head
        self.tests: tuple[str, ...] = tuple(self._test)
        hits, reciprocal_rank = chance_level(CANDIDATES)
        self.scores: Mapping[str, Score] = {
            "accuracy": Score(f"accuracy (hits@1 of {CANDIDATES})", hits),
            "reciprocal_rank": Score("mean reciprocal rank", reciprocal_rank),
        }

    def data(self) -> dict[str, Any]:
        """Return files, encoder and tasks: roles, dialogues, and hashes of all turns with their candidates."""
        from realdata.language.made import LABEL
        from realdata.language.parlai import content_digest
        from realdata.peft_ml.checkpoint import model_digest

        by_file = [[one for one in self._dialogues if one.file == number] for number in range(len(self._files))]
        return {
            "source": ", ".join(path.name for path in self._files) or LABEL,
            "files": [{"dialogues": len(own), "content": content_digest(own)} for own in by_file],
            "turns": sum(len(one.turns) for one in self._dialogues),
            "personas": len({use.task for use in self._uses}),
            "encoder": model_digest(self._encoder(0).model)[:16],
            "tasks": {
                task.name: {"role": role, **self._parts(task)}
                for role, tasks in (("retraining", self._retraining), ("test", self._test.values()))
                for task in tasks
            },
            "notes": self._notes(),
        }

    def retraining(self, key: RetrainingKey) -> RetrainingPlan:
        """Return the plan of a retraining; in lora-ml, as in the paper, every task has its own head."""
        meta = self.settings.fomaml if key.method == "fomaml" else self.settings.reptile
        return RetrainingPlan(
            copy.deepcopy(self._encoder(key.seed).model),
            self._retraining,
            replace(self.settings.retraining, rank=max(1, key.rank), meta=meta),
            "validation",
            head_per_task=key.method in ADAPTED,
            rows_at_once=self.settings.model.rows_at_once,
        )

    def fine_tuning(self, work: Work, base: nn.Module) -> FineTuningPlan:
        """Return the plan of a fine-tuning, by LoRA with a new head, as in the paper."""
        settings = replace(self.settings.fine_tuning, rank=max(1, work.rank))
        model: nn.Module = base
        note = ""
        task: Task = self._test[work.task]
        if work.finetune == "last-layer":
            settings = replace(settings, learning_rate=self.settings.last_layer.learning_rate)
            if self.settings.model.frozen_features:
                model, task = self._of_features(base, self._test[work.task])
                note = "features of the frozen encoder, computed once, without its dropout"
        return FineTuningPlan(
            model,
            task,
            settings,
            "validation",
            warm=False,
            fresh_head=work.finetune == "lora",
            rows_at_once=self.settings.model.rows_at_once,
            note=note,
        )

    def cost(self, work: Work | None) -> Cost:
        """Return the epochs of a job, and the rows of each, a training row counted three times."""
        shown = FORWARD_AND_BACKWARD * self.settings.turns.training_candidates
        if work is None:
            sizes = [shown * len(task.train) + CANDIDATES * len(task.validation) for task in self._retraining]
            return Cost(self.settings.retraining.epochs, sum(sizes))
        task, epochs = self._test[work.task], self.settings.fine_tuning.epochs
        evaluated = CANDIDATES * (len(task.validation) + len(task.test))
        if work.finetune == "last-layer" and self.settings.model.frozen_features:
            return Cost(epochs, (self.settings.turns.training_pool * len(task.train) + evaluated) / max(1, epochs))
        return Cost(epochs, shown * len(task.train) + evaluated)

    def _of_features(self, base: nn.Module, task: PersonaTask) -> tuple[nn.Module, Task]:
        """Return the last layer alone, and the task with its inputs."""
        from realdata.language.features import frozen_features, head_only
        from realdata.peft_ml.data import Task

        train, validation, test = (
            frozen_features(base, getattr(task, part), head=self.head, rows=self.settings.model.rows_at_once)
            for part in PARTS
        )
        return head_only(base, head=self.head), Task(task.name, train, validation, test)

    def _tasks(self, role: Any, encoder: Encoder) -> tuple[PersonaTask, ...]:
        from realdata.language.tasks import language_tasks

        return language_tasks(self._uses, encoder.tokenizer, role=role, settings=self.settings.turns)

    def _longest_rows(self) -> Mapping[str, Tensor]:
        """Return the longest row, and another of the same turn."""
        parts = [getattr(task, part) for task in (*self._retraining, *self._test.values()) for part in PARTS]
        turns = max(parts, key=lambda turns: int(turns.row_lengths.max()))
        turn, longest = divmod(int(turns.row_lengths.argmax()), turns.candidates)
        shortest = int(turns.row_lengths[turn].argmin())
        rows: Mapping[str, Tensor] = turns.pairs.rows([turns.pair(turn, longest), turns.pair(turn, shortest)])
        return rows

    def _parts(self, task: PersonaTask) -> dict[str, Any]:
        """Return the dialogues, the number of turns, and their hash for each part of a task."""
        numbers = {
            part: [use.dialogue.number for use in self._uses if (use.task, use.part) == (task.name, part)]
            for part in PARTS
        }
        parts = {part: getattr(task, part) for part in PARTS}
        return {part: [numbers[part], len(turns), turns.fingerprint[:16]] for part, turns in parts.items()}

    def _notes(self) -> list[str]:
        from realdata.language import made, random_encoder

        named = [made.LABEL] if not self._files else []
        named += [random_encoder.LABEL] if self.settings.model.name == RANDOM else []
        return [f"On {' and '.join(named)}: these numbers say nothing of language"] if named else []

    @lru_cache(maxsize=2)  # noqa: B019  (an experiment lives as long as its process)
    def _encoder(self, seed: int) -> Encoder:
        from realdata.language.encoders import load_encoder
        from realdata.language.random_encoder import random_encoder

        settings = self.settings.model
        if settings.name == RANDOM:
            return random_encoder(self._dialogues, head=settings.head, seed=seed)
        return load_encoder(settings.name, labels=OUTPUTS[settings.head], seed=seed)


def assigned(settings: LanguageSettings, dialogues: Sequence[Dialogue]) -> tuple[Assignment, ...]:
    """Return the use of every dialogue: its persona, the persona's role, and the part of the task.

    Raises
    ------
    ValueError
        If there are too few personas, or one has too few dialogues.
    """
    from realdata.language.personas import base_personas
    from realdata.language.splits import HeldOut, assignments, choose_roles

    asked = settings.tasks
    roles = choose_roles(
        base_personas(dialogues, shared=asked.shared_sentences),
        retraining=asked.retraining_named or asked.retraining,
        test=asked.test_named or asked.test,
    )
    return assignments(
        roles,
        retraining=HeldOut(asked.retraining_validation, asked.retraining_test),
        test=HeldOut(asked.test_validation, asked.test_test),
    )


def _dialogues_and_uses(
    settings: LanguageSettings, files: Sequence[Path]
) -> tuple[tuple[Dialogue, ...], tuple[Assignment, ...]]:
    from realdata.language.made import made_dialogues
    from realdata.language.parlai import read_dialogues

    dialogues = read_dialogues(files) if files else made_dialogues(settings.turns.seed)
    return dialogues, assigned(settings, dialogues)
