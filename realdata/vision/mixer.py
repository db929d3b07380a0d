"""The MLP-Mixer of the vision experiment; every map of it is a linear layer that adapters can reach.

From I. Tolstikhin et al., MLP-Mixer: An all-MLP Architecture for Vision, NeurIPS 2021.
"""

from __future__ import annotations

from torch import Tensor, nn

from realdata.vision.dropout import DropoutAdd, GELUDropout


class MLP(nn.Module):
    """Two linear layers on the last axis with GELU and dropout between them; the second's is the caller's.

    Parameters
    ----------
    units
        Entries of that axis.
    expansion
        Hidden units over units; the hidden units are rounded, and at least one.
    dropout
        Probability.
    """

    def __init__(self, units: int, expansion: float, *, dropout: float) -> None:
        super().__init__()
        hidden = max(1, round(units * expansion))
        self.expand = nn.Linear(units, hidden)
        self.activation = GELUDropout(dropout)
        self.contract = nn.Linear(hidden, units)

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the shape of x."""
        out: Tensor = self.contract(self.activation(self.expand(x)))
        return out


class MixerBlock(nn.Module):
    """x + dropout(M_tokens(LN(x))), then x + dropout(M_channels(LN(x))), on ``(images, patches, units)``.

    M_tokens is an MLP over the patches of each channel, M_channels one over the channels of each patch. The input of
    every linear layer has the images along its first axis.

    Parameters
    ----------
    patches, units
        Patches of an image, and units of a patch.
    token_expansion, channel_expansion
        Hidden units over units in M_tokens and M_channels.
    dropout
        Probability.
    """

    def __init__(
        self, patches: int, units: int, *, token_expansion: float, channel_expansion: float, dropout: float
    ) -> None:
        super().__init__()
        self.token_norm = nn.LayerNorm(units)
        self.tokens = MLP(patches, token_expansion, dropout=dropout)
        self.token_sum = DropoutAdd(dropout)
        self.channel_norm = nn.LayerNorm(units)
        self.channels = MLP(units, channel_expansion, dropout=dropout)
        self.channel_sum = DropoutAdd(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the shape of x."""
        by_channel = (
            self.token_norm(x).transpose(1, 2).contiguous()
        )  # once here, since otherwise each linear layer would copy it
        x = self.token_sum(x, self.tokens(by_channel).transpose(1, 2))
        out: Tensor = self.channel_sum(x, self.channels(self.channel_norm(x)))
        return out


class MLPMixer(nn.Module):
    """Patches of an image, embedded linearly, mixed by blocks, normalised, averaged, and mapped to one score per class.

    Parameters
    ----------
    channels, height, width
        Shape of the images; the patches must tile them.
    patch
        Side of a patch in pixels.
    units
        Width of a patch's representation.
    depth
        Number of blocks.
    token_expansion, channel_expansion
        Hidden units over units in the MLPs over patches and over channels.
    dropout
        Probability, after both layers of every MLP.
    classes
        Number of outputs.

    Raises
    ------
    ValueError
        If the patches do not tile the images, a size or an expansion is not positive, or dropout is not a probability
        less than 1.
    """

    def __init__(
        self,
        *,
        channels: int,
        height: int,
        width: int,
        patch: int = 4,
        units: int = 512,
        depth: int = 1,
        token_expansion: float = 4.0,
        channel_expansion: float = 0.5,
        dropout: float = 0.1,
        classes: int = 2,
    ) -> None:
        super().__init__()
        sizes = {"channels": channels, "height": height, "width": width, "patch": patch}
        for name, size in {**sizes, "units": units, "depth": depth, "classes": classes}.items():
            if size < 1:
                raise ValueError(f"{name}: got {size}, expected a whole number >= 1")
        for name, ratio in {"token_expansion": token_expansion, "channel_expansion": channel_expansion}.items():
            if not ratio > 0:
                raise ValueError(f"{name}: got {ratio}, expected a number > 0")
        patches = patch_count(height, width, patch)
        self.images = (channels, height, width)
        self.patch = patch
        self.embedding = nn.Linear(channels * patch * patch, units)
        expansions = {"token_expansion": token_expansion, "channel_expansion": channel_expansion}
        self.blocks = nn.Sequential(*(MixerBlock(patches, units, **expansions, dropout=dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(units)
        self.head = nn.Linear(units, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(images, channels, height, width)`` to scores ``(images, classes)``.

        Raises
        ------
        ValueError
            If the images do not have the model's input shape.
        """
        if images.ndim != 4 or images.shape[1:] != self.images:
            expected = ", ".join(map(str, self.images))
            raise ValueError(f"images: got shape {tuple(images.shape)}, expected (images, {expected})")
        mixed = self.blocks(self.embedding(patches_of(images, self.patch)))
        scores: Tensor = self.head(self.norm(mixed).mean(dim=1))
        return scores


def patch_count(height: int, width: int, patch: int) -> int:
    """Return how many square patches tile an image.

    Raises
    ------
    ValueError
        If they do not tile it.
    """
    if height % patch or width % patch:
        raise ValueError(f"patch: got {patch}, expected a divisor of the images' height {height} and width {width}")
    return (height // patch) * (width // patch)


def patches_of(images: Tensor, patch: int) -> Tensor:
    """Cut ``(images, channels, height, width)`` into rows ``(images, patches, channels · patch²)``."""
    count, channels, height, width = images.shape
    tiles = images.reshape(count, channels, height // patch, patch, width // patch, patch)
    return tiles.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
