"""The settings of `loraml retrain`, as in its TOML file; importing this loads nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

from loraml_theory.harness.errors import InputError
from realdata.experiments.grid import GridSettings
from realdata.experiments.profiles import TextExperimentSettings, profile_settings, profile_text

Kind: TypeAlias = Literal["classification", "causal-lm"]
Count: TypeAlias = int | Literal["all"]


@dataclass(frozen=True)
class DataSettings:
    """The table ``[data]``: which fields of a row are used, and how rows are split.

    Parameters
    ----------
    text, label
        Names of the field of the text, or of two texts, and of the label; the usual ones if not given.
    split
        Shares of the rows for training, for selecting the epoch, and for testing.
    training_rows, selection_rows, test_rows
        The most rows of a task to train on, to select the epoch on, and to test on.
    max_length
        Tokens of the longest text; longer ones lose their end.
    """

    text: tuple[str, ...] = ()
    label: str | None = None
    split: tuple[int, ...] = (70, 10, 20)
    training_rows: Count = "all"
    selection_rows: Count = "all"
    test_rows: Count = "all"
    max_length: int = 128

    def __post_init__(self) -> None:
        if len(self.text) > 2:
            raise ValueError(f"text: got {','.join(self.text)}, expected one field or two")
        if len(set(self.text)) < len(self.text):
            raise ValueError(f"text: got {','.join(self.text)}, expected two different fields")
        if len(self.split) != 3 or min(self.split) < 1:
            shares = ",".join(map(str, self.split))
            raise ValueError(f"split: got {shares}, expected three whole numbers >= 1, such as 70,10,20")
        for name in ("training_rows", "selection_rows", "test_rows", "max_length"):
            value = getattr(self, name)
            if value != "all" and value < 1:
                raise ValueError(f"{name}: got {value}, expected a whole number >= 1")

    @property
    def most(self) -> tuple[int | None, ...]:
        """The most rows of the parts in their order, None for all."""
        asked = (self.training_rows, self.selection_rows, self.test_rows)
        return tuple(None if number == "all" else number for number in asked)


@dataclass(frozen=True)
class ModelSettings:
    """The table ``[model]``.

    Parameters
    ----------
    kind
        ``classification``: a text, or two, and a label. ``causal-lm``: texts, prompts with completions, or dialogues.
    name
        A folder with a model and its tokenizer, a packaged model, or a name on a hub.
    rows_at_once
        Rows of a forward pass; rows of similar length are together.
    """

    kind: Kind
    name: str
    rows_at_once: int = 32

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ValueError("name: got '', expected a folder or a name; --model gives it as well")
        if self.rows_at_once < 1:
            raise ValueError(f"rows_at_once: got {self.rows_at_once}, expected a whole number >= 1")


@dataclass(frozen=True)
class TextSettings(TextExperimentSettings):
    """All tables of a settings file."""

    data: DataSettings
    model: ModelSettings

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.grid.rank) > 1:
            raise ValueError(f"grid.rank: got {list(self.grid.rank)}, expected one rank")


def check_grid(grid: GridSettings, kind: Kind) -> None:
    """Refuse what draws heads anew for a language model, which keeps its own.

    Raises
    ------
    InputError
        If the grid has such a method or kind of fine-tuning.
    """
    if kind == "causal-lm":
        asked = (("--methods", grid.methods, "last-layer-ml"), ("grid.finetune", grid.finetune, "last-layer"))
        for option, values, heads in asked:
            if heads in values:
                raise InputError(f"{option}: got {heads}, which draws heads anew, expected others for causal-lm")


example = partial(profile_text, "realdata.text", "retrain")
"""Return the text of the settings that a run starts from."""

settings = partial(profile_settings, TextSettings, "realdata.text", "retrain")
"""Return the settings with some keys replaced; see `realdata.experiments.profiles.profile_settings`."""
