"""The settings of the vision experiment, as in its TOML files; importing this loads nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

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
    retraining_tasks
        The number of tasks to retrain on, the first ones; None for all but the last, which is the one to adapt to.
    """

    train_per_class: int | Literal["all"]
    validation_per_class: int
    crop_padding: int
    mirror: bool
    image_size: int | None = None
    retraining_tasks: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("train_per_class", 1), ("validation_per_class", 1), ("crop_padding", 0)):
            value = getattr(self, name)
            if value != "all" and value < least:
                raise ValueError(f"{name}: got {value}, expected a whole number >= {least}")
        if self.retraining_tasks is not None and self.retraining_tasks < 1:
            raise ValueError(f"retraining_tasks: got {self.retraining_tasks}, expected a whole number >= 1")
        if self.image_size is not None and not 1 <= self.image_size <= 4096:
            raise ValueError(f"image_size: got {self.image_size}, expected a whole number in 1..4096")


@dataclass(frozen=True)
class ModelSettings:
    """The table ``[model]``.

    Parameters
    ----------
    patch
        Side of the patches, in pixels; without an effect on the convolutional network.
    width
        Channels of a patch's representation, or of the last convolutions.
    depth
        Number of blocks; the convolutional network always has three layers.
    token_expansion, channel_expansion
        Hidden units over units, in the layers that mix tokens, which only the mixer has, and in those that mix
        channels.
    dropout
        Probability after every linear layer of the blocks.
    architecture
        ``mixer``, an MLP-Mixer; ``conv``, a small convolutional network; ``vit``, a small vision transformer.
    heads
        Attention heads of the transformer.
    """

    patch: int
    width: int
    depth: int
    token_expansion: float
    channel_expansion: float
    dropout: float
    architecture: Literal["mixer", "conv", "vit"] = "mixer"
    heads: int = 4

    def __post_init__(self) -> None:
        for name in ("patch", "width", "depth", "heads"):
            if not 1 <= getattr(self, name) <= 65536:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected a whole number in 1..65536")
        for name in ("token_expansion", "channel_expansion"):
            if not 0 < getattr(self, name) <= 64:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected a number above 0, at most 64")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout: got {self.dropout}, expected a number >= 0 and < 1")
        if self.architecture == "vit" and self.width % self.heads:
            raise ValueError(f"heads: got {self.heads}, expected a divisor of width, which is {self.width}")
        if self.architecture == "conv" and self.width % 4:
            raise ValueError(f"width: got {self.width}, expected a multiple of 4 for conv")


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

    def document(self) -> dict[str, Any]:
        """Return what results depend on; keys that came later only where they differ from what there was before."""
        plain = super().document()
        if self.data.retraining_tasks is None:
            del plain["data"]["retraining_tasks"]
        if self.model.architecture != "vit":
            del plain["model"]["heads"]
        if self.model.architecture == "mixer":
            del plain["model"]["architecture"]
        return plain


example = partial(profile_text, "realdata.vision")
"""Return the text of the file of a profile: ``cpu``, ``paper`` or ``digits``."""

settings = partial(profile_settings, VisionSettings, "realdata.vision")
"""Return the settings of a profile; see `realdata.experiments.profiles.profile_settings`."""
