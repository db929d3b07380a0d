"""Losses and scores of a training as TensorBoard, trackio or wandb show them, by transformers' integrations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from loraml_theory.harness.errors import InputError, one_line

if TYPE_CHECKING:
    from torch import nn
    from transformers import TrainerCallback, TrainingArguments

    from realdata.peft_ml.training_setup import EpochProgress, StepProgress


def check_integrations(names: Sequence[str], *, option: str) -> None:
    """Refuse an integration that transformers does not know, or whose package is not there.

    Raises
    ------
    InputError
        If one is not known or not there.
    """
    if not names:
        return
    from transformers.integrations.integration_utils import (
        INTEGRATION_TO_CALLBACK,
        get_available_reporting_integrations,
    )

    there = get_available_reporting_integrations()  # type: ignore[no-untyped-call]
    for name in names:
        if name not in INTEGRATION_TO_CALLBACK:
            known = ", ".join(sorted(INTEGRATION_TO_CALLBACK))
            raise InputError(f"{option}: got {one_line(name)}, expected some of {known}")
        if name not in there:
            raise InputError(f"{option}: got {name}, whose package is not installed: pip install {name}")


class TrainingLog:
    """What a training tells its integrations.

    Parameters
    ----------
    callbacks
        transformers' own, of the integrations.
    arguments
        What they read of a Trainer's arguments.
    model
        What is trained.
    """

    def __init__(self, callbacks: Sequence[TrainerCallback], arguments: TrainingArguments, *, model: nn.Module) -> None:
        from transformers import TrainerControl, TrainerState

        self._callbacks, self._model, self._steps = callbacks, model, 1
        self._told = (arguments, TrainerState(), TrainerControl())
        for callback in callbacks:
            callback.on_train_begin(*self._told, model=model)

    def step(self, now: StepProgress) -> None:
        """Write the loss of a step."""
        self._steps = now.steps
        self._write(now.epoch * now.steps + now.step, now.epoch + now.step / now.steps, {"loss": now.loss})

    def epoch(self, now: EpochProgress) -> None:
        """Write the row of an epoch."""
        scores = {f"eval_{name}": float(value) for name, value in now.row.items() if name != "epoch"}
        self._write(now.epoch * self._steps, float(now.epoch), scores)

    def end(self) -> None:
        """Close the log."""
        for callback in self._callbacks:
            callback.on_train_end(*self._told, model=self._model)

    def _write(self, step: int, epoch: float, numbers: Mapping[str, float]) -> None:
        _, state, _ = self._told
        state.global_step, state.epoch = step, epoch
        for callback in self._callbacks:
            callback.on_log(*self._told, model=self._model, logs={**numbers, "epoch": epoch})


@contextmanager
def training_log(
    names: Sequence[str], folder: Path, *, run: str, model: nn.Module, cpu: bool
) -> Iterator[TrainingLog | None]:
    """Give a log of one training, which is closed however the training ends; None if nothing is to be logged.

    Parameters
    ----------
    names
        The integrations, as `transformers.TrainingArguments.report_to` has them.
    folder
        Where those that write files do so.
    run
        The training's name in the log.
    model
        What is trained.
    cpu
        Whether it is trained on the CPU.
    """
    if not names:
        yield None
        return
    from transformers import TrainingArguments
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    arguments = TrainingArguments(output_dir=str(folder / run), run_name=run, report_to=list(names), use_cpu=cpu)
    log = TrainingLog([INTEGRATION_TO_CALLBACK[name]() for name in names], arguments, model=model)
    try:
        yield log
    finally:
        log.end()
