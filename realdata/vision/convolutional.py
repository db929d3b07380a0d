"""A small convolutional network; its convolutions are linear layers on neighbourhoods, so that adapters reach them."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from realdata.vision.dropout import GELUDropout

SIDE, STRIDE, LAYERS = 3, 2, 3


class Convolution(nn.Module):
    """GELU(LN(W x + b)), then dropout, x the 3 by 3 neighbourhoods at every second place, black beyond the border.

    Parameters
    ----------
    channels, units
        Of its inputs and outputs.
    dropout
        Probability.
    """

    def __init__(self, channels: int, units: int, *, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(SIDE**2 * channels, units)
        self.norm = nn.LayerNorm(units)
        self.activation = GELUDropout(dropout)

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(images, channels, height, width)`` to ``(images, units, ⌈height / 2⌉, ⌈width / 2⌉)``."""
        height, width = (-(-side // STRIDE) for side in images.shape[2:])
        places = functional.unfold(images, SIDE, padding=SIDE // 2, stride=STRIDE).transpose(1, 2).contiguous()
        found = self.activation(self.norm(self.linear(places)))
        return found.transpose(1, 2).unflatten(2, (height, width))


class ConvolutionalNetwork(nn.Module):
    """Three layers of convolutions with a quarter, a half and all of the units, averaged, then a score per class.

    Parameters
    ----------
    channels
        Of the images, which may have any size.
    units
        Of the last convolutions, a multiple of 4.
    dropout
        Probability after every convolution.
    classes
        Number of outputs.
    """

    def __init__(self, *, channels: int, units: int, dropout: float, classes: int = 2) -> None:
        super().__init__()
        if units % 2 ** (LAYERS - 1):
            raise ValueError(f"units: got {units}, expected a multiple of {2 ** (LAYERS - 1)}")
        widths = [channels, *(units // 2**halvings for halvings in reversed(range(LAYERS)))]
        self.layers = nn.Sequential(*(Convolution(*pair, dropout=dropout) for pair in pairwise(widths)))
        self.head = nn.Linear(units, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(images, channels, height, width)`` to scores ``(images, classes)``."""
        scores: Tensor = self.head(self.layers(images).mean(dim=(2, 3)))
        return scores
