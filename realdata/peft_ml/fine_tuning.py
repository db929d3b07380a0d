"""Fine-tuning: from a base to one task, by a fresh adapter, a fresh last layer, or everything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from realdata.peft_ml.budget import Budget, Count
from realdata.peft_ml.by_length import adapted_outputs, outputs_of
from realdata.peft_ml.checkpoint import Checkpoint
from realdata.peft_ml.data import Problem, Task
from realdata.peft_ml.epochs import Outcome, Plan, Progress, run_epochs
from realdata.peft_ml.evaluation import Evaluation, as_text, evaluating
from realdata.peft_ml.fingerprint import fingerprint
from realdata.peft_ml.meta_model import MetaPeftModel
from realdata.peft_ml.methods.method import Forward
from realdata.peft_ml.optimisation import (
    Descent,
    Gradient,
    Group,
    Schedule,
    trainable,
    trained_copy,
    usable_accelerator,
)
from realdata.peft_ml.retraining import Part, check_part, check_task
from realdata.peft_ml.settings import FineTuningSettings
from realdata.peft_ml.stream import epoch_batches, steps_per_epoch
from realdata.peft_ml.trained import plain_trained

if TYPE_CHECKING:
    from accelerate import Accelerator
    from peft import PeftConfig

FineTune: TypeAlias = Literal["lora", "last-layer", "full"]


@dataclass(frozen=True)
class FineTuned:
    """What fine-tuning leads to.

    Parameters
    ----------
    model
        At the last epoch: a `MetaPeftModel` of the one task, or with ``full`` the plain model.
    curve
        Columns of equal length: ``epoch``, 0 before the first step; ``train_loss``, the mean over the epoch's examples,
        at epoch 0 over the training examples as they are; ``validation_`` and ``test_`` and each score.
    before, last, best
        The test scores at the start, after the last epoch, and at the epoch selected.
    best_epoch
        The first epoch after the start with the largest first score.
    correct
        The first score of every test example after the last epoch, as a text of 0 and 1.
    spent
        Gradient steps and examples.
    """

    model: nn.Module
    curve: Mapping[str, list[float]]
    before: Mapping[str, float]
    last: Mapping[str, float]
    best: Mapping[str, float]
    best_epoch: int
    correct: str
    spent: Count


def fine_tune(
    base: nn.Module,
    task: Task,
    problem: Problem,
    *,
    finetune: FineTune,
    settings: FineTuningSettings,
    head: str,
    seed: int,
    adapter: PeftConfig | None = None,
    fresh_head: bool = False,
    start_from: MetaPeftModel | None = None,
    rows_at_once: int | None = None,
    accelerator: Accelerator | None = None,
    checkpoint: Path | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
    say: Callable[[str], None] = print,
    select_on: Part = "validation",
) -> FineTuned:
    """Fine-tune a copy of a plain model on one task, in batches of which the last of an epoch may be smaller.

    What is frozen stays in training mode, as is the habit with peft: its dropout regularises, and running statistics
    go on.

    Parameters
    ----------
    base
        The plain model; it is left as it was.
    task
        To train, select and test on.
    problem
        Losses and scores.
    finetune
        ``lora`` trains fresh LoRA on every linear layer, the head included, and freezes the base; it starts at the
        base itself. ``last-layer`` draws the head anew and trains nothing else. ``full`` trains every parameter.
        What is frozen in the base stays so.
    settings
        Of fine-tuning.
    head
        Name of the last layer.
    seed
        Root of everything that is drawn; adapters and heads start from it and the task's name.
    adapter
        Settings of peft for ``lora``, instead of LoRA by the settings.
    fresh_head
        Whether ``lora`` also draws the head anew and trains it, instead of an adapter on it.
    start_from
        A model whose first task's adapter or head is the start instead of a fresh one; of the same kind. The paper's
        public code does so, and it serves to explain its numbers.
    rows_at_once, accelerator, checkpoint, progress, say
        As in `realdata.peft_ml.retraining.retrain`.
    select_on
        Where the best epoch is selected: ``validation`` or ``test``.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or the checkpoint is damaged or of another run.
    DivergedError
        If the loss of an epoch is not finite.
    UntrainedError
        If nothing has changed after a pass over the task.
    OSError
        If the checkpoint cannot be written.
    """
    _check_arguments(task, finetune=finetune, settings=settings, select_on=select_on)
    if finetune != "lora" and (adapter is not None or fresh_head):
        raise ValueError(f"adapter and fresh_head are for lora, got them with {finetune}")
    device, budget = usable_accelerator(accelerator), Budget()
    config = (adapter or settings.lora()) if finetune == "lora" else None
    own_head = head if finetune == "last-layer" or fresh_head else None
    model = (
        trained_copy(base, device.device)
        if finetune == "full"
        else _adapted(base, task, config, head=own_head, seed=int(seed))
    )
    if start_from is not None:
        _start(model, task, start_from)
    model = model.to(device.device)
    training = _FineTuning(model, task, problem, settings, int(seed), device, budget, rows_at_once=rows_at_once)
    say(str(training.trained))
    stored = None
    if checkpoint is not None:
        marks = fingerprint(
            model,
            [task],
            problem=problem,
            accelerator=device,
            settings=settings,
            adapter=config,
            phase="fine-tuning",
            finetune=finetune,
            seed=int(seed),
            select_on=select_on,
            rows_at_once=rows_at_once,
        )
        stored = Checkpoint(checkpoint, fingerprint=marks)
    outcome = run_epochs(
        training,
        _plan(task, problem, settings, finetune=finetune, seed=int(seed), select_on=select_on),
        budget=budget,
        accelerator=device,
        checkpoint=stored,
        progress=progress,
    )
    return training.result(outcome)


class _FineTuning:
    """A model, its task, and the optimizer of what is trained."""

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        problem: Problem,
        settings: FineTuningSettings,
        seed: int,
        accelerator: Accelerator,
        budget: Budget,
        *,
        rows_at_once: int | None,
    ) -> None:
        self.model = model
        self._task, self._settings, self._seed, self._budget = task, settings, seed, budget
        self._forward: Forward = (
            partial(adapted_outputs, model, task=task.name, rows_at_once=rows_at_once)
            if isinstance(model, MetaPeftModel)
            else partial(outputs_of, model, rows_at_once=rows_at_once)
        )
        self._steps = steps_per_epoch([len(task.train)], settings.batch_size)
        self._gradient = Gradient(problem, accelerator=accelerator, budget=budget)
        self._evaluation = Evaluation(problem, accelerator, settings.evaluation_batch_size)
        self.trained = model.trained() if isinstance(model, MetaPeftModel) else plain_trained(model)
        self._test_scores: Tensor | None = None
        descent = Descent(
            [Group(trainable(model), settings.learning_rate)],
            optimizer=settings.optimizer,
            weight_decay=settings.weight_decay,
            schedule=Schedule(settings.schedule, steps=settings.epochs * self._steps, warmup=settings.warmup),
            accelerator=accelerator,
        )
        self.descents: Mapping[str, Descent] = {"trained": descent}

    def train(self, epoch: int) -> Tensor:
        batches = epoch_batches(self._task, batch_size=self._settings.batch_size, seed=self._seed, epoch=epoch)
        losses = []
        for at, batch in enumerate(batches, start=(epoch - 1) * self._steps):
            losses.append(self._gradient(self._forward, batch) * len(batch.targets))
            self.descents["trained"].step(at)
        return torch.stack(losses).sum() / len(self._task.train)

    def first_loss(self) -> float:
        with evaluating(self.model):
            return self._evaluation.loss(self._forward, self._task.train)

    def measure(self) -> dict[str, float]:
        with evaluating(self.model):
            validation = self._evaluation.means(self._forward, self._task.validation)
            self._test_scores = self._evaluation.scores(self._forward, self._task.test)
        test = self._evaluation.named(self._test_scores)
        return {
            **{f"validation_{name}": value for name, value in validation.items()},
            **{f"test_{name}": value for name, value in test.items()},
        }

    def result(self, outcome: Outcome) -> FineTuned:
        if self._test_scores is None:  # the checkpoint was that of the last epoch
            self.measure()
        assert self._test_scores is not None  # measured just now, or at the last epoch
        return FineTuned(
            model=self.model,
            curve=outcome.curve,
            before=outcome.part("test", 0),
            last=outcome.part("test", outcome.epoch),
            best=outcome.part("test", outcome.selected_epoch),
            best_epoch=outcome.selected_epoch,
            correct=as_text(self._test_scores[:, 0]),
            spent=self._budget.spent,
        )


def _check_arguments(task: Task, *, finetune: str, settings: FineTuningSettings, select_on: Part) -> None:
    if finetune not in get_args(FineTune):
        raise ValueError(f"finetune must be one of {', '.join(get_args(FineTune))}, got {finetune!r}")
    if not isinstance(settings, FineTuningSettings):
        raise TypeError(f"settings must be FineTuningSettings, got {type(settings).__name__}")
    check_part(select_on)
    check_task(task, "train", "validation", "test")


def _adapted(base: nn.Module, task: Task, adapter: PeftConfig | None, *, head: str | None, seed: int) -> MetaPeftModel:
    return MetaPeftModel(base, [task.name], adapter=adapter, head=head, seed=seed, train_base=False)


def _start(model: nn.Module, task: Task, start_from: MetaPeftModel) -> None:
    """Copy the first task's adapter and head over the fresh ones."""
    theirs = start_from.adapter_parameters(start_from.tasks[0])
    mine = model.adapter_parameters(task.name) if isinstance(model, MetaPeftModel) else {}
    if {name: p.shape for name, p in mine.items()} != {name: p.shape for name, p in theirs.items()}:
        raise ValueError(
            f"start_from must have an adapter or head of the same kind and shape as the one to be trained: "
            f"got {_some(theirs)}, expected {_some(mine)}"
        )
    with torch.no_grad():
        for name, parameter in mine.items():
            parameter.copy_(theirs[name])


def _some(parameters: Mapping[str, nn.Parameter]) -> str:
    if not parameters:
        return "none"
    name, parameter = next(iter(parameters.items()))
    return f"{len(parameters)} tensors such as {name} {tuple(parameter.shape)}"


def _plan(
    task: Task, problem: Problem, settings: FineTuningSettings, *, finetune: str, seed: int, select_on: Part
) -> Plan:
    return Plan(
        name=f"fine-tuning ({finetune})",
        phase="fine-tuning",
        seed=seed,
        epochs=settings.epochs,
        per_epoch=Count(steps_per_epoch([len(task.train)], settings.batch_size), len(task.train)),
        steps_to_move=1,
        evaluate_every=settings.evaluate_every,
        select_by=f"{select_on}_{problem.score_names[0]}",
    )
