"""The vision experiment's model, built from its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loraml_theory.harness.settings import SettingsError
from realdata.vision.settings import ModelSettings, VisionSettings

if TYPE_CHECKING:
    from torch import nn

    from realdata.vision.images import ImageShape

HEAD = "head"
CLASSES = 2


def check_fits(settings: VisionSettings, shape: ImageShape) -> None:
    """Raise `SettingsError` unless patches tile the images and crops contain part of an image."""
    patch, padding = settings.model.patch, settings.data.crop_padding
    for side, length in (("height", shape.height), ("width", shape.width)):
        if length % patch:
            raise SettingsError(
                f"model.patch: got {patch}, expected a divisor of the images' {side}, which is {length}"
            )
        if padding >= length:
            raise SettingsError(
                f"data.crop_padding: got {padding}, expected less than the images' {side}, which is {length}"
            )


def mixer(settings: ModelSettings, shape: ImageShape, *, seed: int) -> nn.Module:
    """Return an MLP-Mixer whose parameters are drawn from the seed."""
    from realdata.peft_ml.seeding import torch_seeded
    from realdata.vision.mixer import MLPMixer

    with torch_seeded(seed, "model"):
        return MLPMixer(
            channels=shape.channels,
            height=shape.height,
            width=shape.width,
            patch=settings.patch,
            units=settings.width,
            depth=settings.depth,
            token_expansion=settings.token_expansion,
            channel_expansion=settings.channel_expansion,
            dropout=settings.dropout,
            classes=CLASSES,
        )


def drop_biases(model: nn.Module) -> None:
    """Remove the bias of every linear layer, like the reference code in layers with adapters."""
    from torch import nn

    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.register_parameter("bias", None)  # as nn.Linear without a bias
