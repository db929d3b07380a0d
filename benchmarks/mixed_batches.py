"""A training step on rows of several tasks that share a forward against one forward per task, on the same model.

    python benchmarks/mixed_batches.py [--repeats 15] [--threads 2] [--width 128] [--tasks 4]

The model is the vision experiment's MLP-Mixer on images of 32 x 32 pixels, with LoRA on every linear layer. Both sides
take the gradient for the same rows, in equal shares and sorted by task; they are compared first, without dropout, and
then timed in turn. Beside them are timed peft's own forward for rows of several tasks, which is made for inference and
has its check for the mode bypassed here, and the model without adapters.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from peft import LoraConfig
from problems import timed
from torch import Tensor, nn

from realdata.peft_ml.meta_model import MetaPeftModel
from realdata.vision.mixer import MLPMixer


def mixer(width: int) -> nn.Module:
    """Draw the paper's MLP-Mixer in a width."""
    sizes = {"channels": 3, "height": 32, "width": 32, "patch": 4, "classes": 2}
    return MLPMixer(**sizes, units=width, depth=1, token_expansion=4.0, channel_expansion=0.5, dropout=0.1)


def step(model: nn.Module, outputs: Callable[[], Tensor], targets: Tensor) -> None:
    """Take the gradient of one batch."""
    model.zero_grad(set_to_none=True)
    nn.functional.cross_entropy(outputs(), targets).backward()


def pefts_own(meta: MetaPeftModel, images: Tensor, tasks: list[str]) -> Tensor:
    """Return the outputs by peft's forward for rows of several tasks."""
    tuner: Any = meta.peft.base_model
    training, tuner.training = tuner.training, False
    try:
        return meta.peft(images, adapter_names=[f"<{task}>" for task in tasks])
    finally:
        tuner.training = training


def gradient(meta: MetaPeftModel, side: Callable[[], None]) -> Tensor:
    """Return all of the gradient that a side takes."""
    side()
    return torch.cat([p.grad.flatten() for p in meta.parameters() if p.grad is not None])


def measure(rank: int, *, batch: int, width: int, count: int, repeats: int) -> None:
    """Print one line of the table."""
    torch.manual_seed(0)
    plain, names = mixer(width), [f"task-{t}" for t in range(count)]
    meta = MetaPeftModel(plain, names, adapter=LoraConfig(r=rank, target_modules="all-linear"), seed=0)
    for adapter in meta.all_adapter_parameters().values():
        for parameter in adapter.values():
            nn.init.normal_(parameter, std=0.1)
    images, targets = torch.randn(batch, 3, 32, 32), torch.randint(2, (batch,))
    tasks = [name for name in names for _ in range(batch // count)]
    sides = {
        "mixed": partial(step, meta, partial(meta, images, tasks), targets),
        "per task": partial(step, meta, partial(meta._task_by_task, images, tasks), targets),
        "peft": partial(step, meta, partial(pefts_own, meta, images, tasks), targets),
        "plain": partial(step, plain, partial(plain, images), targets),
    }
    meta.eval()
    ours, expected = (gradient(meta, sides[name]) for name in ("mixed", "per task"))
    difference = float((ours - expected).abs().max() / expected.abs().max())
    meta.train()
    for side in sides.values():
        side()
    taken = {name: np.empty(repeats) for name in sides}
    for r in range(repeats):
        for name, side in sides.items():
            taken[name][r], _ = timed(side)
    medians = "".join(f"{1e3 * np.median(seconds):9.1f}" for seconds in taken.values())
    ratios = taken["per task"] / taken["mixed"]
    quartiles = "{:.2f} ({:.2f} to {:.2f})".format(*np.percentile(ratios, [50, 25, 75]))
    print(f"{rank:5} {batch:6} {medians}   {quartiles:20} {difference:.0e}", flush=True)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--tasks", type=int, default=4)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    print(f"{asked.tasks} tasks, width {asked.width}, {asked.threads} threads; ms a step, medians of {asked.repeats}")
    columns = "".join(f"{name:>9}" for name in ("mixed", "per task", "peft", "plain"))
    print(f"{'rank':>5} {'batch':>6} {columns}   per task / mixed     difference")
    for batch in (64, 256):
        for rank in (1, 4, 16):
            measure(rank, batch=batch, width=asked.width, count=asked.tasks, repeats=asked.repeats)


if __name__ == "__main__":
    main()
