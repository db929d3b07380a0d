"""What the settings of experiments have in common: tables, a profile's file, and keys that a file must not have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any, ClassVar, TypeVar

from loraml_theory.harness.input_files import toml_document
from loraml_theory.harness.settings import SettingsError, Table, from_table, overlaid
from realdata.experiments.grid import GridSettings
from realdata.peft_ml.settings import FineTuningSettings, MetaSettings, RetrainingSettings

NotKeys = Mapping[tuple[str, str], str]


@dataclass(frozen=True)
class ExperimentSettings:
    """The tables that every experiment has.

    Attributes
    ----------
    not_keys
        Fields of a table that the experiment sets by itself, and why: in a file they would be ignored.
    """

    not_keys: ClassVar[NotKeys] = {
        ("retraining", "rank"): "the rank is an axis, see grid.rank",
        ("fine_tuning", "rank"): "the rank is an axis, see grid.rank",
        ("retraining", "meta"): "see the tables [reptile] and [fomaml]",
        ("reptile", "reptile_sign"): "the sign is the published one",
        ("fomaml", "reptile_sign"): "FOMAML has none",
    }

    retraining: RetrainingSettings
    reptile: MetaSettings
    fomaml: MetaSettings
    fine_tuning: FineTuningSettings
    grid: GridSettings

    def __post_init__(self) -> None:
        if self.fomaml.outer_optimizer == "interpolate":
            raise ValueError(
                "fomaml.outer_optimizer: got 'interpolate', which is for reptile, expected another optimizer"
            )

    def document(self) -> dict[str, Any]:
        """Return everything that results depend on in JSON's types: the tables except the grid and its axes."""
        plain = {name: table for name, table in asdict(self).items() if name not in ("grid", "axes")}
        for table, key in self.not_keys:
            del plain[table][key]
        return plain


@dataclass(frozen=True)
class LastLayerSettings:
    """The table ``[last_layer]``: where fine-tuning the last layer alone differs from ``[fine_tuning]``."""

    learning_rate: float

    def __post_init__(self) -> None:
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate: got {self.learning_rate}, expected a number > 0")


@dataclass(frozen=True)
class TextExperimentSettings(ExperimentSettings):
    """The tables of an experiment on texts, which has no switches and uses all rows of a task."""

    last_layer: LastLayerSettings

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.grid.quirks:
            raise ValueError(f"grid.quirks: got {list(self.grid.quirks)}, but this experiment has no switches")
        if self.grid.n != ("all",):
            raise ValueError("grid.n: is not a key here, since tasks differ in the number of their rows")


S = TypeVar("S", bound=ExperimentSettings)


def profile_text(package: str, profile: str) -> str:
    """Return the text of a profile's file, which its package holds."""
    return files(package).joinpath(f"{profile}.toml").read_text("utf-8")


def profile_settings(kind: type[S], package: str, profile: str, changes: Table | None = None) -> S:
    """Return the settings of a profile, with some keys replaced.

    Parameters
    ----------
    kind
        The class of the settings.
    package, profile
        The package that holds the profile's file, and the file's name without its ending.
    changes
        A document with some of the profile's keys.

    Raises
    ------
    SettingsError
        If a key is unknown, or its value is invalid, or the experiment sets it by itself.
    """
    table = overlaid(toml_document(f"{profile}.toml", profile_text(package, profile)), changes or {})
    for (name, key), why in kind.not_keys.items():
        if isinstance(table.get(name), dict) and key in table[name]:
            raise SettingsError(f"{name}.{key}: is not a key, {why}")
    return from_table(kind, table)
