"""The settings of the vision experiment, as in its TOML files; importing this loads nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from realdata.experiments.options import AxesSettings
from realdata.experiments.profiles import ExperimentSettings, NotKeys, profile_settings, profile_text
from realdata.vision.quirks import checked

PROFILES = ("cpu", "paper")


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
class VisionSettings(ExperimentSettings):
    """All tables of a settings file."""

    not_keys: ClassVar[NotKeys] = {
        **ExperimentSettings.not_keys,
        ("reptile", "reptile_sign"): 'see "reptile-away" of grid.quirks',
    }

    data: DataSettings
    model: ModelSettings
    axes: AxesSettings

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            checked(self.grid.quirks)
        except ValueError as problem:
            raise ValueError(f"grid.{problem}") from None


example = partial(profile_text, "realdata.vision")
"""Return the text of the file of a profile: ``cpu``, ``paper`` or ``digits``."""

settings = partial(profile_settings, VisionSettings, "realdata.vision")
"""Return the settings of a profile; see `realdata.experiments.profiles.profile_settings`."""
