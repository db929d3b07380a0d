"""Epochs of training with a curve, a selected epoch and a checkpoint after each, for every kind of training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from torch import Tensor, nn

from realdata.peft_ml.budget import Count
from realdata.peft_ml.checkpoint import Checkpoint, restore, snapshot
from realdata.peft_ml.seeding import torch_seeded
from realdata.peft_ml.training import Training
from realdata.peft_ml.training_setup import EpochProgress, TrainingSetup

_ROUNDING = 1e-12  # means of the same number of correct answers can differ in their last bits


class DivergedError(ArithmeticError):
    """Training whose loss is infinite or not a number."""


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
    earlier
        As in `EpochProgress`.
    """

    epoch: int
    curve: dict[str, list[float]]
    selected_epoch: int
    selected: dict[str, Tensor]
    earlier: float = 0.0

    @property
    def latest(self) -> dict[str, float]:
        """The latest row."""
        return {name: column[-1] for name, column in self.curve.items()}

    def row(self, epoch: int) -> dict[str, float]:
        """Return the row of an epoch that has one."""
        place = self.curve["epoch"].index(epoch)
        return {name: column[place] for name, column in self.curve.items()}

    def part(self, name: str, epoch: int) -> dict[str, float]:
        """Return the scores of a part, such as ``test``, at an epoch."""
        prefix = f"{name}_"
        return {column[len(prefix) :]: value for column, value in self.row(epoch).items() if column.startswith(prefix)}


def run_epochs(training: Training) -> Outcome:
    """Train for all epochs, from the checkpoint on if it has a state; the model is left at the last epoch.

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
    began, setup = perf_counter(), training.setup
    epochs = setup.settings.epochs
    setup.say(str(training.trained))
    checkpoint = None if setup.checkpoint is None else Checkpoint(setup.checkpoint, fingerprint=training.fingerprint())
    outcome = _resumed(training, checkpoint) or _start(training)
    setup.progress(EpochProgress(outcome.epoch, epochs, outcome.latest, outcome.earlier))
    while outcome.epoch < epochs:
        outcome.epoch += 1
        _advance(training, outcome)
        if checkpoint is not None:
            checkpoint.write(_state(training, outcome, seconds=outcome.earlier + perf_counter() - began))
        setup.progress(EpochProgress(outcome.epoch, epochs, outcome.latest, outcome.earlier))
    return outcome


def _advance(training: Training, outcome: Outcome) -> None:
    """Train for one epoch, and give it a row in the curve if it is due; the last epoch always has one."""
    setup, epoch = training.setup, outcome.epoch
    training.model.train()
    with torch_seeded(setup.seed, setup.phase, epoch):
        loss = float(training.train(epoch))
    _check(setup, epoch, loss)
    if epoch == _checked_at(training):
        training.trained.check()
    if epoch % setup.settings.evaluate_every == 0 or epoch == setup.settings.epochs:
        _add_row(outcome, {"epoch": epoch, "train_loss": loss, **training.measure()})
        _select(outcome, training.model, setup.select_by)


def _checked_at(training: Training) -> int:
    """Return the epoch after which every trained part must have changed."""
    setup = training.setup
    # A gradient scaler skips steps until its factor, 2^16 at first and halved each time, is small enough.
    skipped = 0 if setup.accelerator.scaler is None else 16
    # A run that is over before that is checked at its end: it has left a part untrained.
    return min(setup.settings.epochs, math.ceil((training.steps_to_move + skipped) / setup.steps))


def _start(training: Training) -> Outcome:
    outcome = Outcome(epoch=0, curve={}, selected_epoch=0, selected=snapshot(training.model))
    _add_row(outcome, {"epoch": 0, "train_loss": training.first_loss(), **training.measure()})
    return outcome


def _check(setup: TrainingSetup, epoch: int, loss: float) -> None:
    if not math.isfinite(loss):
        raise DivergedError(
            f"{setup.name} diverged in epoch {epoch} of {setup.settings.epochs}: its training loss is {loss}, "
            "expected a finite number; try a smaller learning rate"
        )
    due = Count(*(epoch * count for count in setup.per_epoch))
    if setup.budget.spent != due:
        raise RuntimeError(f"{setup.name} spent {setup.budget.spent} in {epoch} epochs, its budget is {due}")


def _add_row(outcome: Outcome, row: Mapping[str, float]) -> None:
    for name, value in row.items():
        outcome.curve.setdefault(name, []).append(float(value))


def _select(outcome: Outcome, model: nn.Module, column: str) -> None:
    value = outcome.curve[column][-1]
    if outcome.selected_epoch == 0 or value > outcome.row(outcome.selected_epoch)[column] + _ROUNDING:
        outcome.selected_epoch, outcome.selected = outcome.epoch, snapshot(model)


def _state(training: Training, outcome: Outcome, *, seconds: float) -> dict[str, Any]:
    scaler = training.setup.accelerator.scaler
    return {
        "epoch": outcome.epoch,
        "seconds": seconds,
        "curve": outcome.curve,
        "selected_epoch": outcome.selected_epoch,
        "selected": outcome.selected,
        "spent": list(training.setup.budget.spent),
        "model": snapshot(training.model),
        "descents": {name: descent.optimizer.state_dict() for name, descent in training.descents.items()},
        "reached": training.trained.reached,
        "scaler": None if scaler is None else scaler.state_dict(),
    }


def _resumed(training: Training, checkpoint: Checkpoint | None) -> Outcome | None:
    setup = training.setup
    state = None if checkpoint is None else checkpoint.read(setup.accelerator.device)
    if state is None:
        return None
    restore(training.model, state["model"])
    for name, descent in training.descents.items():
        descent.optimizer.load_state_dict(state["descents"][name])
    if setup.accelerator.scaler is not None:
        setup.accelerator.scaler.load_state_dict(state["scaler"])
    training.trained.go_on(state["reached"])
    setup.budget.spent = Count(*state["spent"])
    known = {name: state[name] for name in ("epoch", "curve", "selected_epoch", "selected")}
    return Outcome(**known, earlier=state.get("seconds", 0.0))  # which earlier versions did not write
