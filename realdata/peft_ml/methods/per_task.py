"""Descent on a shared base θ and on parameters φ_t of each task, jointly or in turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from loraml_theory.harness.errors import InputError
from realdata.peft_ml.meta_model import MetaPeftModel
from realdata.peft_ml.methods.all_tasks import AllTasks
from realdata.peft_ml.optimisation import Group
from realdata.peft_ml.training_setup import RetrainingSetup


class PerTask(AllTasks):
    """Descent on ``min_θ Σ_t min_φt L_t(f(θ, φ_t))``, equation 5 of arXiv 2410.22264.

    Every gradient step is on a batch of equal shares of all tasks, and on Σ_t of the tasks' mean losses. In the joint
    scheme a step moves θ and all φ_t. In the alternating scheme `inner_steps` steps move all φ_t and no θ, then one
    step moves θ and no φ_t, over and over, across the ends of epochs; each has a batch and counts as one step.

    Parameters
    ----------
    setup
        What to train on.
    model
        The base with the adapters.
    """

    setup: RetrainingSetup

    def __init__(self, setup: RetrainingSetup, model: MetaPeftModel) -> None:
        """Put the model on its device and make the optimizer of its two parts."""
        model = model.to(setup.accelerator.device)
        settings = setup.settings
        alternating = settings.scheme == "alternating"
        base = list(model.base_parameters().values())
        adapters = [p for adapter in model.all_adapter_parameters().values() for p in adapter.values()]
        if alternating and not any(parameter.requires_grad for parameter in base):
            raise InputError("model: all of its base has requires_grad off, expected some of it for steps on the base")
        self._parts = {"base": base, "adapters": adapters}
        rate = settings.learning_rate if settings.adapter_learning_rate is None else settings.adapter_learning_rate
        groups = Group(base, settings.learning_rate), Group(adapters, rate)
        to_move = settings.inner_steps + 1 if alternating else 1
        super().__init__(setup, model, *groups, called="base and adapters", steps_to_move=to_move)

    @contextmanager
    def moving(self, at: int) -> Iterator[None]:
        """Let only one part have gradients; optimizers leave alone, state and all, what has none."""
        moved = self._moved_at(at)
        frozen = [p for part, own in self._parts.items() for p in own if moved not in (None, part) and p.requires_grad]
        for parameter in frozen:
            parameter.requires_grad_(False)
        yield
        for parameter in frozen:
            parameter.requires_grad_(True)

    def _moved_at(self, at: int) -> str | None:
        """Return the part that a step moves, None for both."""
        settings = self.setup.settings
        if settings.scheme == "joint":
            return None
        return "base" if at % (settings.inner_steps + 1) == settings.inner_steps else "adapters"
