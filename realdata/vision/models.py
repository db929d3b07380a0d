"""The vision experiment's models, built from its settings."""

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
        if settings.model.architecture != "conv" and length % patch:
            raise SettingsError(
                f"model.patch: got {patch}, expected a divisor of the images' {side}, which is {length}"
            )
        if padding >= length:
            raise SettingsError(
                f"data.crop_padding: got {padding}, expected less than the images' {side}, which is {length}"
            )


def drawn_model(settings: ModelSettings, shape: ImageShape, *, seed: int) -> nn.Module:
    """Return a model of the architecture asked for, whose parameters are drawn from the seed."""
    from realdata.peft_ml.seeding import torch_seeded
    from realdata.vision.convolutional import ConvolutionalNetwork
    from realdata.vision.mixer import MLPMixer
    from realdata.vision.transformer import VisionTransformer

    common = {"channels": shape.channels, "units": settings.width, "classes": CLASSES}
    patches = {"height": shape.height, "width": shape.width, "patch": settings.patch, "depth": settings.depth}
    with torch_seeded(seed, "model"):
        if settings.architecture == "conv":
            return ConvolutionalNetwork(**common, dropout=settings.dropout)
        if settings.architecture == "vit":
            return VisionTransformer(
                **common,
                **patches,
                heads=settings.heads,
                expansion=settings.channel_expansion,
                dropout=settings.dropout,
            )
        return MLPMixer(
            **common,
            **patches,
            token_expansion=settings.token_expansion,
            channel_expansion=settings.channel_expansion,
            dropout=settings.dropout,
        )


def drop_biases(model: nn.Module) -> None:
    """Remove the bias of every linear layer, like the reference code in layers with adapters."""
    from torch import nn

    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.register_parameter("bias", None)  # as nn.Linear without a bias
