"""Retraining: from a model and several tasks to a base that adapts to a task it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np
from torch import Tensor, nn

from realdata.peft_ml.budget import Budget, Count
from realdata.peft_ml.checkpoint import Checkpoint, restore
from realdata.peft_ml.data import Problem, Task
from realdata.peft_ml.epochs import Outcome, Plan, Progress, run_epochs
from realdata.peft_ml.evaluation import Evaluation, evaluating
from realdata.peft_ml.fingerprint import fingerprint
from realdata.peft_ml.meta_model import MetaPeftModel
from realdata.peft_ml.methods import METHODS, Method, Setup
from realdata.peft_ml.optimisation import Descent, usable_accelerator
from realdata.peft_ml.settings import RetrainingSettings
from realdata.peft_ml.trained import plain_trained

if TYPE_CHECKING:
    from accelerate import Accelerator
    from peft import PeftConfig

Part: TypeAlias = Literal["validation", "test"]


@dataclass(frozen=True)
class Retrained:
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
    """

    base: nn.Module
    meta_model: MetaPeftModel | None
    curve: Mapping[str, list[float]]
    selected_epoch: int
    last_base: nn.Module
    spent: Count


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
    progress: Callable[[Progress], None] = lambda _: None,
    say: Callable[[str], None] = print,
    select_on: Part = "validation",
) -> Retrained:
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
        A name of `realdata.peft_ml.methods.METHODS`. All take the same gradient steps on the same number of examples.
    settings
        Of retraining.
    head
        Name of the last layer.
    seed
        Root of everything that is drawn; results depend on no other generator.
    adapter
        Settings of peft for lora-ml, instead of LoRA by the settings.
    head_per_task
        Whether lora-ml gives each task a freshly drawn head of its own.
    rows_at_once
        Rows of a forward, those of similar length together; all of a batch if not given. See
        `realdata.peft_ml.by_length`.
    accelerator
        Device and precision; the CPU if not given.
    checkpoint
        A file to keep the state in after each epoch, and to go on from if it is there.
    progress
        Called before the first epoch, or with the last one of the checkpoint, and after every epoch.
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
    checked = _checked(tasks, method=method, settings=settings, select_on=select_on)
    device = usable_accelerator(accelerator)
    setup = Setup(
        model,
        checked,
        problem,
        settings,
        head,
        int(seed),
        device,
        Budget(),
        adapter=adapter,
        head_per_task=head_per_task,
        rows_at_once=rows_at_once,
    )
    training = _Retraining(METHODS[method](setup), setup, select_on)
    say(str(training.trained))
    outcome = run_epochs(
        training,
        _plan(setup, method=method, select_on=select_on, steps_to_move=training.method.steps_to_move),
        budget=setup.budget,
        accelerator=device,
        checkpoint=None
        if checkpoint is None
        else Checkpoint(checkpoint, fingerprint=_fingerprint(setup, method, select_on)),
        progress=progress,
    )
    return _result(training.method, outcome, setup.budget.spent)


def not_retrained(model: nn.Module) -> Retrained:
    """Return a model as it is, as what retraining leads to if it is left out."""
    return Retrained(
        base=model, meta_model=None, curve={"epoch": [0.0]}, selected_epoch=0, last_base=model, spent=Count(0, 0)
    )


class _Retraining:
    """A method with the evaluation of its tasks."""

    def __init__(self, method: Method, setup: Setup, select_on: Part) -> None:
        self.method = method
        self.model = method.model
        self.descents: Mapping[str, Descent] = method.descents
        self._setup = setup
        self._evaluation = Evaluation(setup.problem, setup.accelerator, setup.settings.evaluation_batch_size)
        self._parts = ("validation", "test") if select_on == "test" else ("validation",)
        meta_model = method.meta_model
        self.trained = plain_trained(self.model) if meta_model is None else meta_model.trained()

    def train(self, epoch: int) -> Tensor:
        return self.method.train(epoch)

    def first_loss(self) -> float:
        losses = []
        for task in self._setup.tasks:
            with self.method.used_by(task) as forward, evaluating(self.model):
                losses.append(self._evaluation.loss(forward, task.train))
        return float(np.mean(losses))

    def measure(self) -> dict[str, float]:
        columns: dict[str, list[float]] = {}
        for task in self._setup.tasks:
            with self.method.used_by(task) as forward, evaluating(self.model):
                for part in self._parts:
                    for name, value in self._evaluation.means(forward, getattr(task, part)).items():
                        columns.setdefault(f"{part}_{name}", []).append(value)
        return {name: float(np.mean(values)) for name, values in columns.items()}


def _checked(tasks: Sequence[Task], *, method: str, settings: RetrainingSettings, select_on: Part) -> tuple[Task, ...]:
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if not isinstance(settings, RetrainingSettings):
        raise TypeError(f"settings must be RetrainingSettings, got {type(settings).__name__}")
    check_part(select_on)
    if not tasks:
        raise ValueError("tasks must be at least one, got none")
    names = [task.name for task in tasks]
    if len(set(names)) != len(names):
        raise ValueError(f"tasks must have different names, got {', '.join(names)}")
    for task in tasks:
        check_task(task, "train", "validation", *(("test",) if select_on == "test" else ()))
    return tuple(tasks)


def check_part(select_on: Part) -> None:
    """Raise ValueError if an epoch cannot be selected on a part."""
    if select_on not in get_args(Part):
        raise ValueError(f"select_on must be validation or test, got {select_on!r}")


def check_task(task: Task, *parts: str) -> None:
    """Raise ValueError if one of these parts of a task has no examples."""
    for part in parts:
        if not len(getattr(task, part)):
            raise ValueError(f"task {task.name} must have examples to {_PURPOSE[part]}, got none")


_PURPOSE = {"train": "train on", "validation": "select on", "test": "test on"}


def _plan(setup: Setup, *, method: str, select_on: Part, steps_to_move: int) -> Plan:
    return Plan(
        name=method,
        phase="retraining",
        seed=setup.seed,
        epochs=setup.settings.epochs,
        per_epoch=Count(setup.steps, setup.steps * setup.settings.batch_size),
        steps_to_move=steps_to_move,
        evaluate_every=setup.settings.evaluate_every,
        select_by=f"{select_on}_{setup.problem.score_names[0]}",
    )


def _fingerprint(setup: Setup, method: str, select_on: Part) -> dict[str, str]:
    return fingerprint(
        setup.model,
        setup.tasks,
        problem=setup.problem,
        accelerator=setup.accelerator,
        settings=setup.settings,
        adapter=setup.adapter,
        phase="retraining",
        method=method,
        seed=setup.seed,
        head=setup.head,
        head_per_task=setup.head_per_task,
        rows_at_once=setup.rows_at_once,
        select_on=select_on,
    )


def _result(method: Method, outcome: Outcome, spent: Count) -> Retrained:
    last_base = method.base()
    restore(method.model, outcome.selected)
    return Retrained(
        base=method.base(),
        meta_model=method.meta_model,
        curve=outcome.curve,
        selected_epoch=outcome.selected_epoch,
        last_base=last_base,
        spent=spent,
    )
