"""FOMAML: model-agnostic meta-learning with the second derivatives left out.

    θ̃ = θ after k steps of the inner optimizer on L_t,    θ ← θ − η ∇L_t(θ̃) on a fresh batch.

The gradient at the adapted parameters is given to the outer optimizer as if it were the one at θ. From C. Finn,
P. Abbeel and S. Levine, Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks, ICML 2017, section 5.2,
under the name it has in arXiv 1803.02999; one task per outer step. The query batch counts as a gradient step like the k
support batches.
"""

from __future__ import annotations

import torch
from torch import Tensor

from realdata.peft_ml.methods.inner_loop import InnerLoops
from realdata.peft_ml.stream import TaskStream
from realdata.peft_ml.training_setup import RetrainingSetup


class Fomaml(InnerLoops):
    """First-order MAML on a copy of the model.

    Raises
    ------
    ValueError
        If the outer optimizer is ``interpolate``, or an epoch has a single step.
    """

    def __init__(self, setup: RetrainingSetup) -> None:
        """Make inner loops with one query batch."""
        if setup.settings.meta.outer_optimizer == "interpolate":
            raise ValueError("outer_optimizer: interpolate is for reptile, expected adam, adamw or sgd with fomaml")
        super().__init__(setup, query_steps=1, scaled_outer=True)

    def outer_step(self, stream: TaskStream, steps: int, *, at: int) -> Tensor:
        """Adapt to a task and step by the gradient of its query batch."""
        gradient = self.setup.gradient
        theta = self.copied()
        losses = self.adapt(stream, steps - 1, gradient=gradient)
        losses += gradient(self.forward, stream.take(self.setup.settings.batch_size))
        with torch.no_grad():
            for parameter, start in zip(self.parameters, theta, strict=True):
                parameter.copy_(start)  # the gradient at the adapted parameters stays
        self.outer.step(at)
        return losses
