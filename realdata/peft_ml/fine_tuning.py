"""Fine-tuning: from a base to one task, by a fresh adapter, a fresh last layer, or everything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from realdata.peft_ml.budget import Count
from realdata.peft_ml.data import Examples, Problem, Task
from realdata.peft_ml.epochs import Outcome, run_epochs
from realdata.peft_ml.evaluation import by_example
from realdata.peft_ml.fingerprint import fingerprint
from realdata.peft_ml.head_inputs import FrozenBody
from realdata.peft_ml.meta_model import MetaPeftModel
from realdata.peft_ml.optimisation import Group, trainable, trained_copy, usable_accelerator
from realdata.peft_ml.settings import FineTune, FineTuningSettings, SelectOn
from realdata.peft_ml.stream import epoch_batches
from realdata.peft_ml.training import Training
from realdata.peft_ml.training_setup import EpochProgress, FineTuningSetup, Forward, StepProgress

if TYPE_CHECKING:
    from accelerate import Accelerator
    from peft import PeftConfig


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
        The first score of every test example after the last epoch, as a text if all are 0 or 1, else as numbers.
    spent
        Gradient steps and examples.
    """

    model: nn.Module
    curve: Mapping[str, list[float]]
    before: Mapping[str, float]
    last: Mapping[str, float]
    best: Mapping[str, float]
    best_epoch: int
    correct: str | tuple[float, ...]
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
    progress: Callable[[EpochProgress], None] = lambda _: None,
    on_step: Callable[[StepProgress], None] = lambda _: None,
    say: Callable[[str], None] = print,
    select_on: SelectOn = "validation",
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
        A model whose first task's adapter or head is the start instead of a fresh one; of the same kind.
    rows_at_once, accelerator, checkpoint, progress, on_step, say
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
    setup = FineTuningSetup(
        model=base,
        tasks=(task,),
        problem=problem,
        finetune=finetune,
        settings=settings,
        head=head,
        seed=int(seed),
        adapter=adapter,
        fresh_head=fresh_head,
        start_from=start_from,
        rows_at_once=rows_at_once,
        accelerator=usable_accelerator(accelerator),
        checkpoint=checkpoint,
        progress=progress,
        on_step=on_step,
        say=say,
        select_on=select_on,
    )
    training = _FineTuning(setup)
    return training.result(run_epochs(training))


class _FineTuning(Training):
    """A model, its task, and the optimizer of what is trained."""

    setup: FineTuningSetup

    def __init__(self, setup: FineTuningSetup) -> None:
        (self._task,) = setup.tasks
        self._config = setup.lora if setup.finetune == "lora" else None
        model = _model(setup, self._config)
        self._forward = setup.forward(model, self._task.name)
        self._descent = setup.descent(Group(trainable(model), setup.settings.learning_rate))
        super().__init__(setup, model, {"trained": self._descent})
        self._body = None
        if setup.finetune == "last-layer" and isinstance(model, MetaPeftModel):
            self._body = FrozenBody(model, model.head_of(self._task.name), setup.evaluation)

    def scores(self, forward: Forward, examples: Examples) -> Tensor:
        return super().scores(forward, examples) if self._body is None else self._body.scores(forward, examples)

    def fingerprint(self) -> dict[str, str]:
        return fingerprint(self.setup, self.model, adapter=self._config)

    def train(self, epoch: int) -> Tensor:
        setup = self.setup
        batches = epoch_batches(self._task, batch_size=setup.settings.batch_size, seed=setup.seed, epoch=epoch)
        losses = []
        for at, batch in enumerate(batches, start=(epoch - 1) * setup.steps):
            losses.append(setup.gradient(self._forward, batch) * len(batch.targets))
            self._descent.step(at)
        return torch.stack(losses).sum() / len(self._task.train)

    def result(self, outcome: Outcome) -> FineTuned:
        if self.last_scores is None:  # the checkpoint was that of the last epoch
            self.measure()
        assert self.last_scores is not None  # of the test examples, just now or at the last epoch
        return FineTuned(
            model=self.model,
            curve=outcome.curve,
            before=outcome.part("test", 0),
            last=outcome.part("test", outcome.epoch),
            best=outcome.part("test", outcome.selected_epoch),
            best_epoch=outcome.selected_epoch,
            correct=by_example(self.last_scores[:, 0]),
            spent=self.setup.budget.spent,
        )


def _model(setup: FineTuningSetup, adapter: PeftConfig | None) -> nn.Module:
    """Return what is trained, at its start."""
    device = setup.accelerator.device
    if setup.finetune == "full":
        model = trained_copy(setup.model, device)
    else:
        head = setup.head if setup.finetune == "last-layer" or setup.fresh_head else None
        model = MetaPeftModel(setup.model, setup.names, adapter=adapter, head=head, seed=setup.seed, train_base=False)
    if setup.start_from is not None:
        _start(model, setup.tasks[0], setup.start_from)
    return model.to(device)


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
