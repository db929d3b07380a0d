"""Retraining: from a model and several tasks to a base that adapts to a task it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from realdata.peft_ml.budget import Count
from realdata.peft_ml.checkpoint import restore
from realdata.peft_ml.data import Problem, Task
from realdata.peft_ml.epochs import Outcome, run_epochs
from realdata.peft_ml.meta_model import MetaPeftModel
from realdata.peft_ml.methods import METHODS
from realdata.peft_ml.optimisation import usable_accelerator
from realdata.peft_ml.settings import RetrainingSettings, SelectOn
from realdata.peft_ml.training import Training
from realdata.peft_ml.training_setup import EpochProgress, RetrainingSetup, StepProgress

if TYPE_CHECKING:
    from accelerate import Accelerator
    from peft import PeftConfig


@dataclass(frozen=True)
class RetrainedModel:
    """What retraining leads to.

    Parameters
    ----------
    base
        The plain model at the selected epoch, to which stock ``get_peft_model`` applies.
    meta_model
        The model with the tasks' adapters or heads at the selected epoch, for the methods that have them.
    curve
        Columns of equal length: ``epoch``, 0 before the first step; ``train_loss``, the mean over the tasks and over
        the epoch's steps, at epoch 0 over the training examples as they are; ``validation_`` and each score, if asked
        ``test_`` too, means over the tasks of the model as each uses it: with its own adapter or head if it has one,
        after `inner_steps` inner steps on it for reptile and fomaml, which the budget does not count.
    selected_epoch
        The first epoch with the largest mean of the first score.
    last_base
        The plain model at the last epoch.
    spent
        Gradient steps and examples.
    parameters
        How many are trained, with those of all adapters or heads.
    """

    base: nn.Module
    meta_model: MetaPeftModel | None
    curve: Mapping[str, list[float]]
    selected_epoch: int
    last_base: nn.Module
    spent: Count
    parameters: int


def retrain(
    model: nn.Module,
    tasks: Sequence[Task],
    problem: Problem,
    *,
    method: str,
    settings: RetrainingSettings,
    head: str,
    seed: int,
    adapter: PeftConfig | None = None,
    head_per_task: bool = False,
    rows_at_once: int | None = None,
    accelerator: Accelerator | None = None,
    checkpoint: Path | None = None,
    progress: Callable[[EpochProgress], None] = lambda _: None,
    on_step: Callable[[StepProgress], None] = lambda _: None,
    say: Callable[[str], None] = print,
    select_on: SelectOn = "validation",
) -> RetrainedModel:
    """Retrain a copy of a model on several tasks.

    Parameters
    ----------
    model
        Any torch or transformers model; it is left as it was, and what is frozen in it stays so.
    tasks
        To retrain on.
    problem
        Losses and scores.
    method
        A name of `realdata.peft_ml.methods.METHODS`. All but standard-longer take the same
        gradient steps on the same number of examples.
    settings
        Of retraining.
    head
        Name of the last layer.
    seed
        Root of everything that is drawn; results depend on no other generator.
    adapter
        Settings of peft for lora-ml and what is made like it, instead of LoRA by the settings.
    head_per_task
        Whether lora-ml, and what is made like it, gives each task a freshly drawn head of its own.
    rows_at_once
        Rows of a forward, those of similar length together; all of a batch if not given. See
        `realdata.peft_ml.by_length`.
    accelerator
        Device and precision; the CPU if not given.
    checkpoint
        A file to keep the state in after each epoch, and to go on from if it is there.
    progress
        Called before the first epoch, or with the last one of the checkpoint, and after every epoch.
    on_step
        Called within an epoch, once a second at most, and only after a gradient step.
    say
        Called with what is trained and what is frozen, before the first step.
    select_on
        ``validation``, or ``test``, which also puts test scores into the curve.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or the checkpoint is damaged or of another run.
    DivergedError
        If the loss of an epoch is not finite.
    UntrainedError
        If a part that is trained has not changed after a pass over all tasks.
    OSError
        If the checkpoint cannot be written.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    setup = RetrainingSetup(
        model=model,
        tasks=tuple(tasks),
        problem=problem,
        method=method,
        settings=settings,
        head=head,
        seed=int(seed),
        adapter=adapter,
        head_per_task=head_per_task,
        rows_at_once=rows_at_once,
        accelerator=usable_accelerator(accelerator),
        checkpoint=checkpoint,
        progress=progress,
        on_step=on_step,
        say=say,
        select_on=select_on,
    )
    training = METHODS[method](setup)
    return _result(training, run_epochs(training))


def not_retrained(model: nn.Module) -> RetrainedModel:
    """Return a model as it is, as what retraining leads to if it is left out."""
    return RetrainedModel(
        base=model,
        meta_model=None,
        curve={"epoch": [0.0]},
        selected_epoch=0,
        last_base=model,
        spent=Count(0, 0),
        parameters=0,
    )


def _result(training: Training, outcome: Outcome) -> RetrainedModel:
    last_base = training.base()
    restore(training.model, outcome.selected)
    return RetrainedModel(
        base=training.base(),
        meta_model=training.meta_model,
        curve=outcome.curve,
        selected_epoch=outcome.selected_epoch,
        last_base=last_base,
        spent=training.setup.budget.spent,
        parameters=training.trained.numbers,
    )
