"""The settings of the language experiment, as in its TOML files; importing this loads nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal, TypeAlias

from loraml_theory.harness.input_files import toml_document
from loraml_theory.harness.settings import Table, from_table, overlaid
from realdata.experiments.grid import GridSettings
from realdata.experiments.options import AxesSettings
from realdata.experiments.profiles import refuse, tables
from realdata.peft_ml.settings import FineTuningSettings, MetaSettings, RetrainingSettings

Head: TypeAlias = Literal["two-label", "one-score"]

OUTPUTS: Mapping[Head, int] = {"two-label": 2, "one-score": 1}
"""Outputs of each head."""

PROFILES = ("cpu", "paper")
CANDIDATES = 20
"""Candidates in every evaluation, the true reply and 19 distractors, as in ConvAI2."""

NOT_KEYS = {
    ("retraining", "rank"): "the rank is an axis, see grid.rank",
    ("fine_tuning", "rank"): "the rank is an axis, see grid.rank",
    ("retraining", "meta"): "see the tables [reptile] and [fomaml]",
    ("reptile", "reptile_sign"): "the sign is the published one",
    ("fomaml", "reptile_sign"): "FOMAML has none",
}
"""Settings of `realdata.peft_ml.settings` that the experiment sets itself: in a file they would be ignored."""


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
class LastLayerSettings:
    """The table ``[last_layer]``: where fine-tuning the last layer alone differs from ``[fine_tuning]``."""

    learning_rate: float

    def __post_init__(self) -> None:
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate: got {self.learning_rate}, expected a number > 0")


@dataclass(frozen=True)
class LanguageSettings:
    """All tables of a settings file."""

    tasks: TaskSettings
    turns: TurnSettings
    model: ModelSettings
    retraining: RetrainingSettings
    reptile: MetaSettings
    fomaml: MetaSettings
    fine_tuning: FineTuningSettings
    last_layer: LastLayerSettings
    grid: GridSettings
    axes: AxesSettings

    def __post_init__(self) -> None:
        if self.grid.quirks:
            raise ValueError(f"grid.quirks: got {list(self.grid.quirks)}, but this experiment has no switches")
        if self.grid.n != ("all",) or self.axes.n:
            raise ValueError("grid.n, axes.n: are not keys, since personas differ in the number of their turns")
        if self.fomaml.outer_optimizer == "interpolate":
            raise ValueError(
                "fomaml.outer_optimizer: got 'interpolate', which is for reptile, expected another optimizer"
            )
        personas = len(self.tasks.retraining_named) or self.tasks.retraining
        if self.retraining.batch_size < personas:
            raise ValueError(
                f"retraining.batch_size: got {self.retraining.batch_size}, expected at least {personas}, a turn of "
                "each persona to retrain on"
            )

    def document(self) -> dict[str, Any]:
        """Return everything that results depend on in JSON's types: the tables except the grid and its axes."""
        return tables(self, left_out=NOT_KEYS)


def example(profile: str = "cpu") -> str:
    """Return the text of a profile's file: ``cpu``, ``paper`` or ``made``."""
    return files("realdata.language").joinpath(f"{profile}.toml").read_text("utf-8")


def settings(profile: str, changes: Table | None = None) -> LanguageSettings:
    """Return the settings of a profile, with some keys replaced.

    Parameters
    ----------
    profile
        ``cpu``, ``paper`` or ``made``.
    changes
        A document with some of the profile's keys.

    Raises
    ------
    SettingsError
        If a key is unknown, or its value is invalid.
    """
    table = overlaid(toml_document(f"{profile}.toml", example(profile)), changes or {})
    refuse(table, NOT_KEYS)
    return from_table(LanguageSettings, table)
