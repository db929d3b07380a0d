"""Reptile: from θ descend on one task, then move θ towards where that led.

    θ̃ = θ after k steps of the inner optimizer on L_t,    θ ← θ + ε(θ̃ − θ).

With an outer optimizer such as Adam, θ − θ̃ takes the place of a gradient. From A. Nichol, J. Achiam and J. Schulman,
On First-Order Meta-Learning Algorithms, arXiv 1803.02999 (2018), algorithm 1, one task per outer step. A `reptile_sign`
of −1 gives θ̃ − θ as the gradient instead.
"""

from __future__ import annotations

import torch
from torch import Tensor

from realdata.peft_ml.methods.inner_loop import InnerLoops
from realdata.peft_ml.stream import TaskStream
from realdata.peft_ml.training_setup import RetrainingSetup


class Reptile(InnerLoops):
    """Reptile on a copy of the model."""

    def __init__(self, setup: RetrainingSetup) -> None:
        """Make inner loops whose outer gradient is a difference of parameters."""
        super().__init__(setup, query_steps=0, scaled_outer=False)

    def outer_step(self, stream: TaskStream, steps: int, *, at: int) -> Tensor:
        """Adapt to a task and step towards where that led."""
        theta = self.copied()
        losses = self.adapt(stream, steps, gradient=self.setup.gradient)
        with torch.no_grad():
            for parameter, start in zip(self.parameters, theta, strict=True):
                difference = start - parameter
                parameter.copy_(start)
                parameter.grad = difference.mul_(self.setup.settings.meta.reptile_sign)
        self.outer.step(at)
        return losses
