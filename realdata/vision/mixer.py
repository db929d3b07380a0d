"""The MLP-Mixer of the vision experiment, every map of it a linear layer that adapters can reach.

From I. Tolstikhin et al., MLP-Mixer: An all-MLP Architecture for Vision, NeurIPS 2021.
"""

from __future__ import annotations

from torch import Tensor, nn

from realdata.vision.dropout import Dropout, GELUDropout


class _MLP(nn.Sequential):
    """Two linear layers with GELU between, dropout after each."""

    def __init__(self, units: int, expansion: float, *, dropout: float) -> None:
        hidden = max(1, round(units * expansion))
        super().__init__(
            nn.Linear(units, hidden), GELUDropout(dropout), nn.Linear(hidden, units), Dropout(dropout)
        )


class MixerBlock(nn.Module):
    """x + M_tokens(LN(x)), then x + M_channels(LN(x)), on ``(images, patches, width)``.

    M_tokens is an MLP over the patches of each channel, M_channels one over the channels of each patch.
    """

    def __init__(
        self, patches: int, width: int, *, token_expansion: float, channel_expansion: float, dropout: float
    ) -> None:
        super().__init__()
        self.token_norm = nn.LayerNorm(width)
        self.tokens = _MLP(patches, token_expansion, dropout=dropout)
        self.channel_norm = nn.LayerNorm(width)
        self.channels = _MLP(width, channel_expansion, dropout=dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output, of the same shape."""
        by_channel = self.token_norm(x).transpose(1, 2).contiguous()  # a copy here is cheaper than strides in each layer
        x = x + self.tokens(by_channel).transpose(1, 2)
        return x + self.channels(self.channel_norm(x))


class MLPMixer(nn.Module):
    """Patches of an image, embedded linearly, mixed by blocks, normalised, averaged, and mapped to one score per class.

    Parameters
    ----------
    channels, height, width
        Of the images; the patches must tile them.
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
        If the patches do not tile the images, or a size is not positive.
    """

    def __init__(
        self,
        *,
        channels: int,
        height: int,
        width: int,
        patch: int,
        units: int,
        depth: int,
        token_expansion: float,
        channel_expansion: float,
        dropout: float,
        classes: int,
    ) -> None:
        super().__init__()
        sizes = {"channels": channels, "height": height, "width": width, "patch": patch, "units": units, "depth": depth}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name}: got {size}, expected a whole number >= 1")
        if height % patch or width % patch:
            raise ValueError(f"patch: got {patch}, expected a divisor of the images' height {height} and width {width}")
        patches = (height // patch) * (width // patch)
        self.images = (channels, height, width)
        self.patch = patch
        self.embedding = nn.Linear(channels * patch * patch, units)
        self.blocks = nn.Sequential(
            *(
                MixerBlock(
                    patches,
                    units,
                    token_expansion=token_expansion,
                    channel_expansion=channel_expansion,
                    dropout=dropout,
                )
                for _ in range(depth)
            )
        )
        self.norm = nn.LayerNorm(units)
        self.head = nn.Linear(units, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(images, channels, height, width)`` to scores ``(images, classes)``.

        Raises
        ------
        ValueError
            If the images have another shape than the model was made for.
        """
        if images.ndim != 4 or images.shape[1:] != self.images:
            raise ValueError(f"images: got shape {tuple(images.shape)}, expected (images, {', '.join(map(str, self.images))})")
        return self.head(self.norm(self.blocks(self.embedding(self._patches(images)))).mean(dim=1))

    def _patches(self, images: Tensor) -> Tensor:
        """Cut ``(images, channels, height, width)`` into rows ``(images, patches, channels patch²)``."""
        tiles = images.unflatten(3, (-1, self.patch)).unflatten(2, (-1, self.patch))  # (B, C, h, p, w, p)
        return tiles.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
