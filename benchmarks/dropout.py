"""A whole `loraml vision` run with this project's GELU and dropout, with torch's own, and with torch's compiled.

    python benchmarks/dropout.py [--repeats 5] [OPTIONS OF loraml vision …]

The runs are taken in turn in one process, after one of each that warms up. They draw other masks, so their records
differ; what is compared is the time of the same work.
"""

from __future__ import annotations

import argparse
import os
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu

from paper_checks.cli import main as loraml
from realdata.vision import mixer
from realdata.vision.dropout import DropoutAdd, GELUDropout


class PlainGELU(nn.Sequential):
    """GELU, then dropout, as one would write it."""

    def __init__(self, p: float) -> None:
        """Take the probability."""
        super().__init__(nn.GELU(), nn.Dropout(p))


class PlainAdd(nn.Dropout):
    """A residual and what is dropped out of it, as one would write it."""

    def forward(self, residual: Tensor, x: Tensor) -> Tensor:
        """Return ``residual + dropout(x)``."""
        return residual + super().forward(x)


_gelu_dropout = torch.compile(lambda x, p: dropout(gelu(x), p), dynamic=True)
_dropout_add = torch.compile(lambda residual, x, p: residual + dropout(x, p), dynamic=True)


class CompiledGELU(nn.Dropout):
    """GELU and dropout in one kernel of torch's compiler."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``dropout(gelu(x))``."""
        return _gelu_dropout(x, self.p) if self.training else gelu(x)


class CompiledAdd(nn.Dropout):
    """A residual and dropout in one kernel of torch's compiler."""

    def forward(self, residual: Tensor, x: Tensor) -> Tensor:
        """Return ``residual + dropout(x)``."""
        return _dropout_add(residual, x, self.p) if self.training else residual + x


KINDS = {
    "kernels": (GELUDropout, DropoutAdd),
    "plain": (PlainGELU, PlainAdd),
    "compiled": (CompiledGELU, CompiledAdd),
}


def main() -> None:
    """Print the ratios of times to that of the kernels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    asked, words = parser.parse_known_args()
    words = words or ["--methods", "standard,lora-ml", "--seeds", "0"]
    for kind in KINDS:
        seconds(kind, words)
    times = [{kind: seconds(kind, words) for kind in KINDS} for _ in range(asked.repeats)]
    for kind in ("plain", "compiled"):
        ratios = np.sort([turn[kind] / turn["kernels"] for turn in times])
        print(f"{kind} / kernels: {np.median(ratios):.2f} (from {ratios[0]:.2f} to {ratios[-1]:.2f})")


def seconds(kind: str, words: list[str]) -> float:
    """Return how long a run in a fresh folder takes."""
    mixer.GELUDropout, mixer.DropoutAdd = KINDS[kind]  # type: ignore[misc, assignment]
    with TemporaryDirectory() as place, Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        began = perf_counter()
        try:
            loraml(["vision", *words, "--workers", "1", "--device", "cpu", "--out", f"{place}/out"])
        except SystemExit as end:
            if end.code:
                raise
        return perf_counter() - began


if __name__ == "__main__":
    main()
