"""The settings of the vision experiment, as in its TOML files; importing this loads nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

from loraml_theory.harness.input_files import toml_document
from loraml_theory.harness.settings import Table, from_table, overlaid
from realdata.experiments.grid import GridSettings
from realdata.experiments.options import AxesSettings
from realdata.experiments.profiles import refuse, tables
from realdata.peft_ml.settings import FineTuningSettings, MetaSettings, RetrainingSettings
from realdata.vision.quirks import checked

PROFILES = ("cpu", "paper")
NOT_KEYS = {
    ("retraining", "rank"): "the rank is an axis, see grid.rank",
    ("fine_tuning", "rank"): "the rank is an axis, see grid.rank",
    ("retraining", "meta"): "see the tables [reptile] and [fomaml]",
    ("reptile", "reptile_sign"): 'see "reptile-away" of grid.quirks',
    ("fomaml", "reptile_sign"): "FOMAML has none",
}
"""Settings of `realdata.peft_ml.settings` that the experiment sets itself: in a file they would be ignored."""


@dataclass(frozen=True)
class DataSettings:
    """The table ``[data]``.

    Parameters
    ----------
    train_per_class
        Training images of each class; "all" for those that are not held out.
    validation_per_class
        Images of each class held out of the training split for the selection of epochs.
    crop_padding
        Width of the frame of black pixels from which crops are taken.
    mirror
        Whether images are mirrored, left to right, half of the time.
    image_size
        Side to which images are resized, where a source has several sizes; None for no resizing.
    """

    train_per_class: int | Literal["all"]
    validation_per_class: int
    crop_padding: int
    mirror: bool
    image_size: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("train_per_class", 1), ("validation_per_class", 1), ("crop_padding", 0)):
            value = getattr(self, name)
            if value != "all" and value < least:
                raise ValueError(f"{name}: got {value}, expected a whole number >= {least}")
        if self.image_size is not None and not 1 <= self.image_size <= 4096:
            raise ValueError(f"image_size: got {self.image_size}, expected a whole number in 1..4096")


@dataclass(frozen=True)
class ModelSettings:
    """The table ``[model]``: an MLP-Mixer.

    Parameters
    ----------
    patch
        Side of the patches, in pixels.
    width
        Channels of a patch's representation.
    depth
        Number of mixer blocks.
    token_expansion, channel_expansion
        Hidden units over units, in the layers that mix tokens and in those that mix channels.
    dropout
        Probability after every linear layer of the blocks.
    """

    patch: int
    width: int
    depth: int
    token_expansion: float
    channel_expansion: float
    dropout: float

    def __post_init__(self) -> None:
        for name in ("patch", "width", "depth"):
            if not 1 <= getattr(self, name) <= 65536:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected a whole number in 1..65536")
        for name in ("token_expansion", "channel_expansion"):
            if not 0 < getattr(self, name) <= 64:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected a number above 0, at most 64")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout: got {self.dropout}, expected a number >= 0 and < 1")


@dataclass(frozen=True)
class VisionSettings:
    """All tables of a settings file."""

    data: DataSettings
    model: ModelSettings
    retraining: RetrainingSettings
    reptile: MetaSettings
    fomaml: MetaSettings
    fine_tuning: FineTuningSettings
    grid: GridSettings
    axes: AxesSettings

    def __post_init__(self) -> None:
        try:
            checked(self.grid.quirks)
        except ValueError as problem:
            raise ValueError(f"grid.{problem}") from None
        if self.fomaml.outer_optimizer == "interpolate":
            raise ValueError(
                "fomaml.outer_optimizer: got 'interpolate', which is for reptile, expected another optimizer"
            )

    def document(self) -> dict[str, Any]:
        """Return everything that results depend on in JSON's types: the tables except the grid and its axes."""
        return tables(self, left_out=NOT_KEYS)


def example(profile: str = "cpu") -> str:
    """Return the text of a profile's file: ``cpu``, ``paper`` or ``digits``."""
    return files("realdata.vision").joinpath(f"{profile}.toml").read_text("utf-8")


def settings(profile: str, changes: Table | None = None) -> VisionSettings:
    """Return the settings of a profile, with some keys replaced.

    Parameters
    ----------
    profile
        ``cpu``, ``paper`` or ``digits``.
    changes
        A document with some of the profile's keys.

    Raises
    ------
    SettingsError
        If a key is unknown, or its value is invalid.
    """
    table = overlaid(toml_document(f"{profile}.toml", example(profile)), changes or {})
    refuse(table, NOT_KEYS)
    return from_table(VisionSettings, table)
