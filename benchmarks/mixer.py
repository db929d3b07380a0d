"""A training step of the vision experiment's MLP-Mixer against the same model put together plainly, in one run.

    python benchmarks/mixer.py [--repeats 15] [--threads 2] [--widths 128 512] [--batches 64 256]

The plain one exchanges axes around its linear layers (a permuted view, as einops's layer gives), and has GELU, dropout
and the sum with the residual as operations of their own. A step is the forward and backward pass and Adam, all
parameters trained, without adapters and with LoRA of rank 1 on every linear layer. Outputs and gradients are compared
first, where nothing is dropped. Then both take steps in turn; a ratio is that of neighbours. The limit is the
time in which the machine could do the step's matrix products (the adapters' left out) at the rate of one large product.
"""

from __future__ import annotations

import argparse
from collections import OrderedDict
from functools import partial

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from problems import seconds, timed
from torch import Tensor, nn

from realdata.vision.mixer import MLPMixer

SIDE, CHANNELS, PATCH, CLASSES = 32, 3, 4, 2
PATCHES = (SIDE // PATCH) ** 2
PIXELS = CHANNELS * PATCH**2
SELDOM = 1e-13  # a probability of dropping nothing; 0 would bypass what is to be compared
TOKEN_HIDDEN, CHANNEL_EXPANSION, DROPOUT = 4 * PATCHES, 0.5, 0.1


class Patches(nn.Module):
    """Cut images into rows of pixels, ``(images, patches, pixels)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the rows."""
        tiles = x.reshape(len(x), CHANNELS, SIDE // PATCH, PATCH, SIDE // PATCH, PATCH)
        return tiles.permute(0, 2, 4, 1, 3, 5).reshape(len(x), PATCHES, PIXELS)


class Exchange(nn.Module):
    """Exchange the last two axes."""

    def forward(self, x: Tensor) -> Tensor:
        """Return a view."""
        return x.transpose(1, 2)


class Mean(nn.Module):
    """Average over the patches."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(images, width)``."""
        return x.mean(dim=1)


class Residual(nn.Module):
    """x + f(LN(x))."""

    def __init__(self, width: int, f: nn.Module) -> None:
        """Keep f."""
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.f = f

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum."""
        return x + self.f(self.norm(x))


def mlp(units: int, hidden: int) -> dict[str, nn.Module]:
    """Return two linear layers with GELU between and dropout after each."""
    return {
        "expand": nn.Linear(units, hidden),
        "gelu": nn.GELU(),
        "dropout": nn.Dropout(DROPOUT),
        "contract": nn.Linear(hidden, units),
        "last_dropout": nn.Dropout(DROPOUT),
    }


def chain(**parts: nn.Module) -> nn.Module:
    """Return modules to be called one after another; their names tell peft the linear ones."""
    return nn.Sequential(OrderedDict(parts))


def plain_mixer(width: int) -> nn.Module:
    """Draw the paper's MLP-Mixer, put together plainly."""
    return chain(
        patches=Patches(),
        embedding=nn.Linear(PIXELS, width),
        tokens=Residual(width, chain(to_channels=Exchange(), **mlp(PATCHES, TOKEN_HIDDEN), to_patches=Exchange())),
        channels=Residual(width, chain(**mlp(width, int(CHANNEL_EXPANSION * width)))),
        norm=nn.LayerNorm(width),
        mean=Mean(),
        head=nn.Linear(width, CLASSES),
    )


def with_adapters(model: nn.Module) -> nn.Module:
    """Add LoRA of rank 1, no shift zero, to every linear layer; the model remains to be trained."""
    lora = LoraConfig(r=1, target_modules="all-linear", init_lora_weights=False)  # get_peft_model changes it
    return get_peft_model(model, lora).requires_grad_(True)


def pair(width: int, *, adapters: bool) -> dict[str, nn.Module]:
    """Return the plain model and the experiment's with the same parameters, all of them trained."""
    sizes = {"channels": CHANNELS, "height": SIDE, "width": SIDE, "patch": PATCH, "classes": CLASSES}
    models: dict[str, nn.Module] = {"plain": plain_mixer(width), "ours": MLPMixer(**sizes, units=width)}
    if adapters:
        models = {name: with_adapters(model) for name, model in models.items()}
    with torch.no_grad():
        for to, value in zip(models["ours"].parameters(), models["plain"].parameters(), strict=True):
            to.copy_(value)
    return models


def gradient(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Take the gradient of a batch, and return the outputs."""
    outputs: Tensor = model(images)
    nn.functional.cross_entropy(outputs, targets).backward()
    return outputs


def step(model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, targets: Tensor) -> None:
    """Train on one batch."""
    optimizer.zero_grad(set_to_none=True)
    gradient(model, images, targets)
    optimizer.step()


def difference(models: dict[str, nn.Module], images: Tensor, targets: Tensor) -> float:
    """Return by how much outputs and gradients differ where nothing is dropped, relative to the largest."""
    found = []
    for model in models.values():
        for module in model.modules():
            if getattr(module, "p", None) == DROPOUT:
                module.p = SELDOM
        outputs = gradient(model, images, targets)
        found.append([outputs.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])])
        for module in model.modules():
            if getattr(module, "p", None) == SELDOM:
                module.p = DROPOUT
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(*found, strict=True))


def operations(width: int, batch: int) -> float:
    """Return additions and multiplications of a step's matrix products; the images need no gradient."""
    tokens = 2 * PATCHES * TOKEN_HIDDEN * width
    channels = 2 * width * int(CHANNEL_EXPANSION * width) * PATCHES
    return 2 * batch * (3 * (tokens + channels + width * CLASSES) + 2 * PATCHES * PIXELS * width)


def peak(size: int = 3000) -> float:
    """Return the best rate of a large float32 product, operations a second."""
    M = torch.randn(size, size)
    return 2 * size**3 / seconds(torch.mm, M, M, repeats=5).min()


def measure(width: int, batch: int, *, adapters: bool, repeats: int) -> None:
    """Print one line of the table."""
    torch.manual_seed(0)
    models = pair(width, adapters=adapters)
    images, targets = torch.randn(batch, CHANNELS, SIDE, SIDE), torch.randint(CLASSES, (batch,))
    off = difference(models, images, targets)
    sides = [partial(step, m, torch.optim.Adam(m.parameters(), lr=1e-4), images, targets) for m in models.values()]
    for side in sides:
        side()
    taken = np.array([[timed(side)[0] for side in sides] for _ in range(repeats)])
    plain, ours = 1e3 * np.median(taken, axis=0)
    limit = 1e3 * operations(width, batch) / peak()
    low, ratio, high = np.percentile(taken[:, 0] / taken[:, 1], [0, 50, 100])
    print(
        f"{width:5} {batch:6} {'rank 1' if adapters else 'none':>9} {plain:9.1f} {ours:9.1f} {limit:9.1f} "
        f"{limit / ours:9.2f}   {ratio:.2f} ({low:.2f} to {high:.2f})   {off:.0e}",
        flush=True,
    )


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--widths", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 256])
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    print(f"{asked.threads} threads; ms a step, medians of {asked.repeats}; the ratio's median, least and largest")
    columns = "".join(f"{name:>10}" for name in ("adapters", "plain", "ours", "limit", "share"))
    print(f"{'width':>5} {'batch':>6}{columns}   plain / ours          difference")
    for width in asked.widths:
        for batch in asked.batches:
            for adapters in (False, True):
                measure(width, batch, adapters=adapters, repeats=asked.repeats)


if __name__ == "__main__":
    main()
