"""Epochs of training with a curve, a selected epoch and a checkpoint after each, for every kind of training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from torch import Tensor, nn

from realdata.peft_ml.budget import Budget, Count
from realdata.peft_ml.checkpoint import Checkpoint, restore, snapshot
from realdata.peft_ml.optimisation import Descent
from realdata.peft_ml.seeding import torch_seeded
from realdata.peft_ml.trained import Trained

if TYPE_CHECKING:
    from accelerate import Accelerator

_ROUNDING = 1e-12  # means of the same number of correct answers can differ in their last bits


class DivergedError(ArithmeticError):
    """Training whose loss is infinite or not a number."""


class Progress(NamedTuple):
    """How far a run is.

    Parameters
    ----------
    epoch, epochs
        Epochs finished, and in all.
    row
        The latest row of the curve, by column.
    """

    epoch: int
    epochs: int
    row: Mapping[str, float]


class Training(Protocol):
    """Something that is trained epoch by epoch."""

    model: nn.Module
    descents: Mapping[str, Descent]
    trained: Trained

    def train(self, epoch: int) -> Tensor:
        """Take the epoch's gradient steps, epochs counted from 1; return the mean loss."""
        ...

    def first_loss(self) -> float:
        """Return the mean loss on the training examples as they are, before the first step."""
        ...

    def measure(self) -> dict[str, float]:
        """Return the other columns of the curve's row for the model as it is."""
        ...


@dataclass(frozen=True)
class Plan:
    """What a run of epochs consists of.

    Parameters
    ----------
    name
        For errors.
    phase, seed
        Dropout and whatever else torch draws in an epoch is seeded by them and the epoch.
    epochs
        In all.
    per_epoch
        What each must spend.
    steps_to_move
        Gradient steps after which every trained part must have changed.
    evaluate_every
        Epochs from one row of the curve to the next; the last epoch always has one.
    select_by
        The column of which the largest value, and the first such, selects the epoch; the start is not eligible.
    """

    name: str
    phase: str
    seed: int
    epochs: int
    per_epoch: Count
    steps_to_move: int
    evaluate_every: int
    select_by: str

    def evaluates(self, epoch: int) -> bool:
        """Say whether an epoch has a row in the curve."""
        return epoch % self.evaluate_every == 0 or epoch == self.epochs

    def checked_at(self, accelerator: Accelerator) -> int:
        """Return the epoch after which every trained part must have changed."""
        # A gradient scaler skips steps until its factor, 2^16 at first and halved each time, is small enough.
        skipped = 0 if accelerator.scaler is None else 16
        # A run that is over before that is checked at its end: it has left a part untrained.
        return min(self.epochs, math.ceil((self.steps_to_move + skipped) / self.per_epoch.gradient_steps))


@dataclass
class Outcome:
    """Where a run is: the epochs done, its curve, and the selected epoch with what training had made of the model.

    Parameters
    ----------
    epoch
        Epochs done.
    curve
        Columns of equal length, as in `realdata.experiments.records.Record`.
    selected_epoch, selected
        The epoch selected so far, and the model's `snapshot` at it.
    """

    epoch: int
    curve: dict[str, list[float]]
    selected_epoch: int
    selected: dict[str, Tensor]

    def row(self, epoch: int) -> dict[str, float]:
        """Return the row of an epoch that has one."""
        place = self.curve["epoch"].index(epoch)
        return {name: column[place] for name, column in self.curve.items()}

    def part(self, name: str, epoch: int) -> dict[str, float]:
        """Return the scores of a part, such as ``test``, at an epoch."""
        prefix = f"{name}_"
        return {column[len(prefix) :]: value for column, value in self.row(epoch).items() if column.startswith(prefix)}


def run_epochs(
    training: Training,
    plan: Plan,
    *,
    budget: Budget,
    accelerator: Accelerator,
    checkpoint: Checkpoint | None,
    progress: Callable[[Progress], None],
) -> Outcome:
    """Train for the epochs of a plan, from the checkpoint on if it has a state; the model is left at the last epoch.

    Raises
    ------
    DivergedError
        If the loss of an epoch is not finite.
    UntrainedError
        If a part that is trained has not changed when it should have.
    InputError
        If the checkpoint is damaged or of another run.
    OSError
        If it cannot be written.
    """
    outcome = _resumed(training, budget, accelerator, checkpoint) or _start(training)
    progress(Progress(outcome.epoch, plan.epochs, outcome.row(int(outcome.curve["epoch"][-1]))))
    while outcome.epoch < plan.epochs:
        epoch = outcome.epoch + 1
        training.model.train()
        with torch_seeded(plan.seed, plan.phase, epoch):
            loss = float(training.train(epoch))
        _check(plan, epoch, loss, budget)
        if epoch == plan.checked_at(accelerator):
            training.trained.check()
        outcome.epoch = epoch
        if plan.evaluates(epoch):
            _add_row(outcome, {"epoch": epoch, "train_loss": loss, **training.measure()})
            _select(outcome, training.model, plan.select_by)
        if checkpoint is not None:
            checkpoint.write(_state(training, outcome, budget, accelerator))
        progress(Progress(epoch, plan.epochs, outcome.row(int(outcome.curve["epoch"][-1]))))
    return outcome


def _start(training: Training) -> Outcome:
    outcome = Outcome(epoch=0, curve={}, selected_epoch=0, selected=snapshot(training.model))
    _add_row(outcome, {"epoch": 0, "train_loss": training.first_loss(), **training.measure()})
    return outcome


def _check(plan: Plan, epoch: int, loss: float, budget: Budget) -> None:
    if not math.isfinite(loss):
        raise DivergedError(
            f"{plan.name} diverged in epoch {epoch} of {plan.epochs}: its training loss is {loss}, "
            "expected a finite number; try a smaller learning rate"
        )
    due = Count(*(epoch * count for count in plan.per_epoch))
    if budget.spent != due:
        raise RuntimeError(f"{plan.name} spent {budget.spent} in {epoch} epochs, its budget is {due}")


def _add_row(outcome: Outcome, row: Mapping[str, float]) -> None:
    for name, value in row.items():
        outcome.curve.setdefault(name, []).append(float(value))


def _select(outcome: Outcome, model: nn.Module, column: str) -> None:
    value = outcome.curve[column][-1]
    if outcome.selected_epoch == 0 or value > outcome.row(outcome.selected_epoch)[column] + _ROUNDING:
        outcome.selected_epoch, outcome.selected = outcome.epoch, snapshot(model)


def _state(training: Training, outcome: Outcome, budget: Budget, accelerator: Accelerator) -> dict[str, Any]:
    return {
        "epoch": outcome.epoch,
        "curve": outcome.curve,
        "selected_epoch": outcome.selected_epoch,
        "selected": outcome.selected,
        "spent": list(budget.spent),
        "model": snapshot(training.model),
        "descents": {name: descent.optimizer.state_dict() for name, descent in training.descents.items()},
        "reached": training.trained.reached,
        "scaler": None if accelerator.scaler is None else accelerator.scaler.state_dict(),
    }


def _resumed(
    training: Training, budget: Budget, accelerator: Accelerator, checkpoint: Checkpoint | None
) -> Outcome | None:
    state = None if checkpoint is None else checkpoint.read(accelerator.device)
    if state is None:
        return None
    restore(training.model, state["model"])
    for name, descent in training.descents.items():
        descent.optimizer.load_state_dict(state["descents"][name])
    if accelerator.scaler is not None:
        accelerator.scaler.load_state_dict(state["scaler"])
    training.trained.go_on(state["reached"])
    budget.spent = Count(*state["spent"])
    return Outcome(**{name: state[name] for name in ("epoch", "curve", "selected_epoch", "selected")})
