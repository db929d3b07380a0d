"""The settings of the language experiment, as in its TOML files; importing this loads nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

from realdata.experiments.options import AxesSettings
from realdata.experiments.profiles import TextExperimentSettings, profile_settings, profile_text

Head: TypeAlias = Literal["two-label", "one-score"]

OUTPUTS: Mapping[Head, int] = {"two-label": 2, "one-score": 1}
"""Outputs of each head."""

PROFILES = ("cpu", "paper")
CANDIDATES = 20
"""Candidates in every evaluation, the true reply and 19 distractors, as in ConvAI2."""


@dataclass(frozen=True)
class TaskSettings:
    """The table ``[tasks]``: the personas, and their held-out dialogues.

    Parameters
    ----------
    retraining, test
        Numbers of personas for retraining and for testing.
    retraining_named, test_named
        Their names instead, such as ``persona-003``.
    shared_sentences
        Number of sentences that profiles of one persona share.
    retraining_validation, retraining_test
        Last dialogues of each retraining persona: for validation, and unused.
    test_validation, test_test
        Last dialogues of each test persona: for validation, and for testing.
    """

    retraining: int
    test: int
    retraining_named: tuple[str, ...] = ()
    test_named: tuple[str, ...] = ()
    shared_sentences: int = 3
    retraining_validation: int = 2
    retraining_test: int = 1
    test_validation: int = 1
    test_test: int = 2

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, int) and value < 1:
                raise ValueError(f"{name}: got {value}, expected a whole number >= 1")
        if self.test < 2:
            raise ValueError(f"test: got {self.test}, expected at least 2, since results are compared over them")
        if len(self.test_named) == 1:
            raise ValueError("test_named: got 1, expected none or at least 2, since results are compared over them")


@dataclass(frozen=True)
class TurnSettings:
    """The table ``[turns]``: how turns become rows of tokens.

    Parameters
    ----------
    max_length
        Tokens of the longest row.
    training_candidates
        Candidates of a turn in training, drawn anew each time; in evaluation always 20.
    training_pool
        Replies from which those are drawn, with the true one.
    separator
        Between the utterances of a context; the tokenizer's own between two texts if None.
    seed
        Seed of the distractors and of the order of the candidates, the same for every seed of the experiment.
    """

    max_length: int = 64
    training_candidates: int = 4
    training_pool: int = CANDIDATES
    separator: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_length < 1 or self.seed < 0:
            raise ValueError(f"max_length, seed: got {self.max_length}, {self.seed}, expected >= 1 and >= 0")
        if not 2 <= self.training_candidates <= self.training_pool <= CANDIDATES:
            raise ValueError(
                f"training_candidates, training_pool: got {self.training_candidates}, {self.training_pool}, expected "
                f"2 or more, the second at least the first and at most {CANDIDATES}"
            )


@dataclass(frozen=True)
class ModelSettings:
    """The table ``[model]``.

    Parameters
    ----------
    name
        The encoder, see `realdata.language.encoders.load_encoder`.
    head
        Head of every task: two labels for each pair of a context and a reply, or one score.
    frozen_features
        Whether the features of the encoder are computed once, without its dropout, where only the last layer is
        fine-tuned.
    rows_at_once
        Rows of a forward pass; rows of similar length are together.
    """

    name: str
    head: Head
    frozen_features: bool
    rows_at_once: int

    def __post_init__(self) -> None:
        if self.rows_at_once < 1:
            raise ValueError(f"rows_at_once: got {self.rows_at_once}, expected a whole number >= 1")


@dataclass(frozen=True)
class LanguageSettings(TextExperimentSettings):
    """All tables of a settings file."""

    tasks: TaskSettings
    turns: TurnSettings
    model: ModelSettings
    axes: AxesSettings

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.axes.n:
            raise ValueError("axes.n: is not a key here, since tasks differ in the number of their rows")
        personas = len(self.tasks.retraining_named) or self.tasks.retraining
        if self.retraining.batch_size < personas:
            raise ValueError(
                f"retraining.batch_size: got {self.retraining.batch_size}, expected at least {personas}, a turn of "
                "each persona to retrain on"
            )


example = partial(profile_text, "realdata.language")
"""Return the text of the file of a profile: ``cpu``, ``paper`` or ``made``."""

settings = partial(profile_settings, LanguageSettings, "realdata.language")
"""Return the settings of a profile; see `realdata.experiments.profiles.profile_settings`."""
