"""Gradients of batches and steps of optimizers, in an accelerator's precision and on its device."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from realdata.peft_ml.base_model import deep_copy
from realdata.peft_ml.budget import Budget
from realdata.peft_ml.data import Batch, Inputs, Problem
from realdata.peft_ml.settings import OptimizerName, ScheduleName

if TYPE_CHECKING:
    from accelerate import Accelerator

_OPTIMIZERS: Mapping[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}


def usable_accelerator(accelerator: Accelerator | None) -> Accelerator:
    """Return the accelerator given, or one on the CPU.

    Raises
    ------
    ValueError
        If it runs several processes, or if none is given and this process has made one for another device before:
        accelerate keeps such settings once per process.
    """
    if accelerator is None:
        from accelerate import Accelerator as Made

        try:
            accelerator = Made(cpu=True)
        except ValueError as error:
            raise ValueError(
                "this process has already made an Accelerator that is not on the CPU: pass it as accelerator="
            ) from error
    if accelerator.num_processes != 1:
        raise ValueError(f"training runs in one process, got an Accelerator of {accelerator.num_processes}")
    return accelerator


class Schedule(NamedTuple):
    """A factor of the learning rate by step: a linear rise over the warm-up, then the named fall, to 0 after the end.

    Parameters
    ----------
    name
        ``constant``, ``linear`` or ``cosine``.
    steps
        Steps in all.
    warmup
        Share of them in the warm-up.

    Examples
    --------
    >>> linear = Schedule("linear", steps=4, warmup=0.0)
    >>> [linear.factor(step) for step in range(4)]
    [1.0, 0.75, 0.5, 0.25]
    """

    name: ScheduleName
    steps: int
    warmup: float = 0.0

    def factor(self, step: int) -> float:
        """Return the factor for a step, counted from 0; it is positive for every step before the last has passed."""
        rise = math.ceil(self.warmup * self.steps)
        if step < rise:
            return (step + 1) / rise
        passed = (step - rise) / max(1, self.steps - rise)
        if self.name == "linear":
            return 1 - passed
        if self.name == "cosine":
            return (1 + math.cos(math.pi * passed)) / 2
        return 1.0


class Group(NamedTuple):
    """Parameters that share a learning rate."""

    parameters: list[nn.Parameter]
    learning_rate: float


class Descent:
    """An optimizer and the schedule of its learning rates.

    Parameters
    ----------
    groups
        What is optimised.
    optimizer, weight_decay, schedule
        As in the settings. The learning rate follows from the number of the step, so the schedule has no state.
    accelerator
        Where the parameters are; its gradient scaler, if it has one, is undone before the step and adapts after it. All
        that is moved by one gradient must therefore be in one descent.
    scaled
        Whether the gradients come from `Gradient` and bear the scaler's factor.
    """

    def __init__(
        self,
        groups: Iterable[Group],
        *,
        optimizer: OptimizerName,
        weight_decay: float,
        schedule: Schedule,
        accelerator: Accelerator,
        scaled: bool = True,
    ) -> None:
        """Make the optimizer."""
        settings = [{"params": group.parameters, "lr": group.learning_rate} for group in groups]
        fused = accelerator.device.type in ("cpu", "cuda")  # one kernel for all tensors; not on every device
        made = _OPTIMIZERS[optimizer](settings, weight_decay=weight_decay, fused=fused)  # type: ignore[call-arg]
        self._rates = [group["lr"] for group in made.param_groups]
        self._schedule = schedule
        self.optimizer = made
        # Accelerate's wrapper only undoes the scaling here. Accelerator.prepare would also keep every optimizer alive
        # for as long as the accelerator, and the wrapper costs as much as a small model's step.
        self._step: Callable[[], None] = self._plain_step
        if scaled and accelerator.scaler is not None:
            from accelerate.optimizer import AcceleratedOptimizer

            self._step = AcceleratedOptimizer(made, scaler=accelerator.scaler).step

    def _plain_step(self) -> None:
        self.optimizer.step()

    def step(self, at: int) -> None:
        """Take the schedule's step number `at`, from 0, from the gradients that are there, and clear them."""
        factor = self._schedule.factor(at)
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        self._step()
        self.optimizer.zero_grad(set_to_none=True)


REPORT_SECONDS = 1.0


class Gradient:
    """Adds the gradient of a batch's loss to the parameters, and counts it in a budget.

    Parameters
    ----------
    problem
        Whose losses are taken, in float32 whatever the precision of the outputs.
    accelerator
        Device and precision.
    budget
        Where each call counts as one gradient step on the batch's examples.
    report
        Called with the loss after a gradient, once in `REPORT_SECONDS` at most, since its value has to be waited for.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        accelerator: Accelerator,
        budget: Budget,
        report: Callable[[float], None] = lambda _: None,
    ) -> None:
        """Take no gradient yet."""
        self._report, self._reported = report, monotonic()
        self._problem = problem
        self._accelerator = accelerator
        self._budget = budget

    def __call__(self, forward: Callable[[Inputs], Tensor], batch: Batch, *, weights: Tensor | None = None) -> Tensor:
        """Take one gradient and return the loss, without waiting for its value.

        Parameters
        ----------
        forward
            Outputs of the inputs.
        batch
            On any device.
        weights
            Of the examples, ``(examples,)``, on the accelerator's device: the loss is the weighted sum of theirs, and
            without weights their mean.
        """
        inputs, targets = on_device(batch, self._accelerator.device)
        with self._accelerator.autocast():
            outputs = forward(inputs)
        losses = self._problem.losses(outputs.float(), targets)
        loss = losses.mean() if weights is None else losses @ weights
        self._accelerator.backward(loss)
        self._budget.spend(len(targets))
        if monotonic() - self._reported > REPORT_SECONDS:
            self._report(float(loss.detach()))
            self._reported = monotonic()
        return loss.detach()


def on_device(batch: Batch, device: torch.device) -> Batch:
    """Return a batch on a device; nothing is copied if it is there."""
    inputs = batch.inputs
    if isinstance(inputs, Tensor):
        return Batch(inputs.to(device), batch.targets.to(device))
    return Batch({name: tensor.to(device) for name, tensor in inputs.items()}, batch.targets.to(device))


def trained_copy(model: nn.Module, device: torch.device) -> nn.Module:
    """Return a deep copy of a model on a device; what is frozen in it stays so."""
    return deep_copy(model).to(device)


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that require a gradient, tied ones once.

    Raises
    ------
    ValueError
        If there are none.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise ValueError(f"{type(model).__name__} has no parameters to train")
    return parameters
