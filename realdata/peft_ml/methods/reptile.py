"""Reptile: from θ descend on one task, then move θ towards where that led.

    θ̃ = θ after k steps of the inner optimizer on L_t,    θ ← θ + ε(θ̃ − θ).

With an outer optimizer such as Adam, θ − θ̃ takes the place of a gradient. From A. Nichol, J. Achiam and J. Schulman,
On First-Order Meta-Learning Algorithms, arXiv 1803.02999 (2018), algorithm 1, one task per outer step. A `reptile_sign`
of −1 gives θ̃ − θ as the gradient instead, as the public vision code of arXiv 2410.22264 does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from realdata.peft_ml.methods.inner_loop import InnerLoops
from realdata.peft_ml.methods.method import Method, Setup
from realdata.peft_ml.stream import TaskStream


def reptile(setup: Setup) -> Method:
    """Return reptile on a copy of the model."""
    setup.without_adapters("reptile")
    return _Reptile(setup)


class _Reptile(InnerLoops):
    meta_model = None

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup, query_steps=0, scaled_outer=False)

    def train(self, epoch: int) -> Tensor:
        total = torch.zeros((), device=self.setup.accelerator.device)
        for loop, stream in self.epoch(epoch):
            total += self._outer_step(stream, loop.steps, at=loop.at)
        return total / self.setup.steps

    def _outer_step(self, stream: TaskStream, steps: int, *, at: int) -> Tensor:
        theta = self.copied()
        losses = self.adapt(stream, steps, gradient=self.setup.gradient)
        with torch.no_grad():
            for parameter, start in zip(self.parameters, theta, strict=True):
                difference = start - parameter
                parameter.copy_(start)
                parameter.grad = difference.mul_(self.setup.settings.meta.reptile_sign)
        self.outer.step(at)
        return losses
