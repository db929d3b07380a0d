"""A small vision transformer; its maps, those of attention too, are linear layers that adapters can reach.

From A. Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021, with the mean over patches before the head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from realdata.vision.dropout import DropoutAdd
from realdata.vision.mixer import MLP, patch_count, patches_of

INITIAL_DEVIATION = 0.02  # of the positions, as published


class TransformerBlock(nn.Module):
    """x + dropout(attention(LN(x))), then x + dropout(MLP(LN(x))), on ``(images, patches, units)``.

    Parameters
    ----------
    units, heads
        Units of a patch, and attention heads that share them evenly.
    expansion
        Hidden units over units in the MLP.
    dropout
        Probability.
    """

    def __init__(self, units: int, *, heads: int, expansion: float, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(units)
        self.attention_in = nn.Linear(units, 3 * units)
        self.attention_out = nn.Linear(units, units)
        self.attention_sum = DropoutAdd(dropout)
        self.norm = nn.LayerNorm(units)
        self.mlp = MLP(units, expansion, dropout=dropout)
        self.sum = DropoutAdd(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the shape of x."""
        parts = self.attention_in(self.attention_norm(x)).unflatten(2, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # (images, heads, patches, units / heads) each
        attended = scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        x = self.attention_sum(x, self.attention_out(attended))
        out: Tensor = self.sum(x, self.mlp(self.norm(x)))
        return out


class VisionTransformer(nn.Module):
    """Patches of an image, embedded linearly, with learned positions, through blocks, averaged, one score per class.

    Parameters
    ----------
    channels, height, width
        Shape of the images; the patches must tile them.
    patch
        Side of a patch in pixels.
    units, heads, depth
        Width of a patch's representation, attention heads, a divisor of it, and blocks.
    expansion
        Hidden units over units in the MLPs.
    dropout
        Probability.
    classes
        Number of outputs.
    """

    def __init__(
        self,
        *,
        channels: int,
        height: int,
        width: int,
        patch: int,
        units: int,
        heads: int,
        depth: int,
        expansion: float,
        dropout: float,
        classes: int = 2,
    ) -> None:
        super().__init__()
        if units % heads:
            raise ValueError(f"heads: got {heads}, expected a divisor of the {units} units")
        self.patch = patch
        self.embedding = nn.Linear(channels * patch**2, units)
        self.positions = nn.Parameter(INITIAL_DEVIATION * torch.randn(patch_count(height, width, patch), units))
        blocks = (TransformerBlock(units, heads=heads, expansion=expansion, dropout=dropout) for _ in range(depth))
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(units)
        self.head = nn.Linear(units, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(images, channels, height, width)`` to scores ``(images, classes)``."""
        found = self.blocks(self.embedding(patches_of(images, self.patch)) + self.positions)
        scores: Tensor = self.head(self.norm(found).mean(dim=1))
        return scores
