"""The two kinds of job of an experiment, retraining and fine-tuning, as a process does them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from loraml_theory.harness.processes import Tick
from realdata.experiments.experiment import Experiment, Spec
from realdata.experiments.grid import NO_RETRAINING, RetrainingKey, Work
from realdata.experiments.records import Record, RunKey, path_of, write_record

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import nn

    from realdata.peft_ml.settings import FineTune
    from realdata.peft_ml.training_setup import EpochProgress, StepProgress

    OnEpoch: TypeAlias = Callable[[EpochProgress], None]
    OnStep: TypeAlias = Callable[[StepProgress], None]

IMPORTS = ("accelerate", "peft", "realdata.experiments.retrained", "realdata.peft_ml.fine_tuning")
"""What jobs import and what takes seconds."""


@dataclass(frozen=True)
class Job:
    """A retraining, or a fine-tuning and the runs whose numbers it makes."""

    retraining: RetrainingKey
    work: Work | None = None
    keys: tuple[RunKey, ...] = ()

    @property
    def id(self) -> str:
        """Its name, which is that of its checkpoint."""
        return self.retraining.id if self.work is None else self.work.id


@dataclass
class _Watch:
    """When a call began, and the seconds of earlier calls from whose checkpoint it went on."""

    began: float
    earlier: float = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of all calls."""
        return round(self.earlier + perf_counter() - self.began, 3)


@dataclass
class Workbench:
    """Where a process does jobs; the data are opened with the first one.

    Parameters
    ----------
    spec
        The experiment.
    folder
        Of the experiment.
    device, precision
        ``cpu`` or ``cuda``; ``no``, ``bf16`` or ``fp16``.
    made
        What goes into every record's provenance.
    report_to
        Integrations of transformers that trainings are logged with.
    """

    spec: Spec
    folder: Path
    device: str
    precision: str
    made: Mapping[str, Any]
    report_to: tuple[str, ...] = ()
    _experiment: Experiment | None = field(default=None, init=False)

    def do(self, job: Job, tick: Tick) -> None:
        """Do a job and write what it leads to; a checkpoint that is there is gone on from, and removed at the end."""
        checkpoint = self.folder / "checkpoints" / f"{job.id}.checkpoint"
        with one_thread(self.device):
            if job.work is None:
                self._retrain(job.retraining, checkpoint, tick)
            else:
                self._fine_tune(job.work, job.keys, checkpoint, tick)
        checkpoint.unlink(missing_ok=True)

    def _retrain(self, key: RetrainingKey, checkpoint: Path, tick: Tick) -> None:
        from realdata.experiments.retrained import Notes, save
        from realdata.peft_ml.retraining import not_retrained, retrain

        plan = self.experiment.retraining(key)
        said: list[str] = []  # what is trained and what is frozen: in the files, since many runs share one screen
        watch = _Watch(perf_counter())
        if key.method == NO_RETRAINING:
            found = not_retrained(plan.model)
        else:
            with self._watched(key.id, plan.model, tick, watch) as (progress, on_step):
                found = retrain(
                    plan.model,
                    plan.tasks,
                    self.experiment.problem,
                    method=key.method,
                    settings=plan.settings,
                    head=self.experiment.head,
                    seed=key.seed,
                    head_per_task=plan.head_per_task,
                    rows_at_once=plan.rows_at_once,
                    accelerator=self.accelerator(),
                    checkpoint=checkpoint,
                    progress=progress,
                    on_step=on_step,
                    say=said.append,
                    select_on=plan.select_on,
                )
        notes = Notes(seconds=watch.seconds, trained="\n".join(said), parameters=found.parameters)
        save(self.folder / "retraining" / key.id, key, found, notes=notes)

    def _fine_tune(self, work: Work, keys: tuple[RunKey, ...], checkpoint: Path, tick: Tick) -> None:
        from realdata.experiments.retrained import load
        from realdata.peft_ml.fine_tuning import fine_tune

        model = self.experiment.retraining(work.retraining).model
        said: list[str] = []
        watch = _Watch(perf_counter())
        retrained = load(self.folder / "retraining" / work.retraining.id, work.retraining, model)
        plan = self.experiment.fine_tuning(work, retrained.base.to(self.device))
        with self._watched(work.id, plan.base, tick, watch) as (progress, on_step):
            found = fine_tune(
                plan.base,
                plan.task,
                self.experiment.problem,
                finetune=cast("FineTune", work.finetune),
                settings=plan.settings,
                head=self.experiment.head,
                seed=work.retraining.seed,
                fresh_head=plan.fresh_head,
                rows_at_once=plan.rows_at_once,
                accelerator=self.accelerator(),
                checkpoint=checkpoint,
                progress=progress,
                on_step=on_step,
                say=said.append,
                start_from=retrained.meta_model if plan.warm else None,
                select_on=plan.select_on,
            )
        plan.keep(found.model, self.folder)
        notes = {
            "seconds": watch.seconds,
            "trained": "\n".join(said),
            "note": plan.note,
            "retraining_seconds": retrained.notes.seconds,
            "retraining_trained": retrained.notes.trained,
            **({} if retrained.notes.parameters is None else {"retraining_parameters": retrained.notes.parameters}),
        }
        record = Record(
            key=keys[0],
            retraining=retrained.spent,
            fine_tuning=found.spent,
            retraining_curve=retrained.curve,
            curve=found.curve,
            before=found.before,
            last=found.last,
            best=found.best,
            best_epoch=found.best_epoch,
            correct=found.correct,
            provenance={**self.made, **notes},
        )
        for key in keys:
            write_record(self.folder, replace(record, key=key))

    @contextmanager
    def _watched(self, run: str, model: nn.Module, tick: Tick, watch: _Watch) -> Iterator[tuple[OnEpoch, OnStep]]:
        """Give what hears of every epoch and of every step: whoever waits, and the log.

        The log's arguments reset the state of accelerators, so a job makes its own after this.
        """
        from realdata.experiments.training_log import training_log

        cpu = self.device == "cpu"
        with training_log(self.report_to, self.folder / "logs", run=run, model=model, cpu=cpu) as log:

            def on_epoch(now: EpochProgress) -> None:
                watch.earlier = now.earlier
                tick(now.epoch)
                if log is not None:
                    log.epoch(now)

            def on_step(now: StepProgress) -> None:
                tick(*_within(now))
                if log is not None:
                    log.step(now)

            yield on_epoch, on_step

    @property
    def experiment(self) -> Experiment:
        """The experiment with its data open."""
        if self._experiment is None:
            self._experiment = self.spec.open()
        return self._experiment

    def accelerator(self) -> Accelerator:
        """Return device and precision, for one job: a gradient scaler remembers what it has seen."""
        from accelerate import Accelerator

        return Accelerator(cpu=self.device == "cpu", mixed_precision=self.precision)


@contextmanager
def one_thread(device: str) -> Iterator[None]:
    """Let torch use one thread on the CPU, so that results do not depend on how many processes there are."""
    import torch

    before = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def is_done(folder: Path, key: RunKey) -> bool:
    """Say whether the record of a run is there."""
    return path_of(folder, key).exists()


def _within(now: StepProgress) -> tuple[float, str]:
    """Return the epochs that a training has done, and where in the next one it is."""
    return now.epoch + now.step / now.steps, f" step {now.step} of {now.steps}, loss {now.loss:.3g}"
