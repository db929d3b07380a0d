"""Run an experiment: what is missing of a grid is computed, in several processes, and can go on after any end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from loraml_theory.harness.errors import InputError
from loraml_theory.harness.processes import Bench, J, Lost, Source, cores, work_off
from loraml_theory.harness.versions import now, versions
from realdata.experiments.experiment import Experiment, Spec
from realdata.experiments.folder import Failure, Folder, opened, read_failures
from realdata.experiments.grid import RetrainingKey, Work, keys, retrainings, work_of
from realdata.experiments.jobs import IMPORTS, Job, Workbench, is_done
from realdata.experiments.options import Wanted
from realdata.experiments.records import RunKey, path_of, read_record, write_record
from realdata.experiments.tables import REFERENCE

PACKAGES = ("loraml-theory", "accelerate", "numpy", "peft", "torch", "transformers")


class GridProgress(NamedTuple):
    """How far everything is: runs, work in units of its own, and what is being done."""

    runs: int
    all_runs: int
    work: float
    all_work: float
    now: tuple[str, ...]


class Summary(NamedTuple):
    """What a call did: runs computed now, and all failures that the folder knows of."""

    new_runs: int
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class Request:
    """What to run and where.

    Parameters
    ----------
    spec
        The experiment.
    wanted
        The grid.
    device, precision
        ``auto``, ``cpu`` or ``cuda``; ``no``, ``bf16`` or ``fp16``.
    workers
        Processes; if not given one per core, or one on a GPU.
    command
        For the records.
    report_to
        Integrations of transformers that trainings are logged with, see `realdata.experiments.training_log`.
    """

    spec: Spec
    wanted: Wanted
    device: str = "auto"
    precision: str = "no"
    workers: int | None = None
    command: str = ""
    report_to: tuple[str, ...] = ()


def run(request: Request, path: Path, *, progress: Callable[[GridProgress], None] = lambda _: None) -> Summary:
    """Compute the runs of a grid that a folder does not have yet.

    Raises
    ------
    FolderError
        If the folder is in use, or was begun with other settings or data.
    InputError
        If nothing can be written any more, or the device is not there.
    ValueError, OSError
        If the data cannot be used.
    """
    device = device_of(request.device, request.precision)
    with opened(path) as folder:
        experiment = request.spec.open()
        data = experiment.data()
        made = provenance(request.command, device, request.precision, data=str(data["source"]))
        fixed = {
            "experiment": request.spec.name,
            "settings": request.spec.document(),
            "data": data,
            "unit": experiment.unit,
            "score": next(iter(experiment.scores)),
            "scores": {name: score.document() for name, score in experiment.scores.items()},
            "device": device,
            "precision": request.precision,
        }
        if request.spec.reference != REFERENCE:  # folders of others stay as they were begun
            fixed["reference"] = request.spec.reference
        folder.begin(fixed, made)
        todo = Todo(folder, request, experiment, progress=progress)
        bench = Workbench(request.spec, folder.path, device, request.precision, made, request.report_to)
        return carry_out(
            todo, bench, folder=path, imports=IMPORTS, workers=request.workers or (1 if device == "cuda" else cores())
        )


def provenance(command: str, device: str, precision: str, *, data: str) -> dict[str, Any]:
    """Return what the files of an experiment say of how they were made, now."""
    return {
        "command": command,
        "date": now(),
        "device": device,
        "precision": precision,
        "data": data,
        "versions": versions(*PACKAGES),
    }


class Left(Source[J], Protocol[J]):
    """Jobs that are left of an experiment: what was computed now, and why nothing can be any more, if so."""

    runs: int
    stopped: str | None

    @property
    def jobs(self) -> int:
        """Number of jobs that are not done."""
        ...

    def tell(self) -> None:
        """Tell how far everything is."""
        ...


def carry_out(todo: Left[J], bench: Bench[J], *, folder: Path, imports: Sequence[str], workers: int) -> Summary:
    """Do all jobs that are left, by at most so many processes, and return what was done.

    Raises
    ------
    InputError
        If nothing can be written any more.
    """
    todo.tell()
    if todo.jobs:
        work_off(todo, bench, workers=min(workers, todo.jobs), imports=imports)
    if todo.stopped is not None:
        raise InputError(f"{todo.stopped}; what is finished is kept, run the same command again to continue")
    return Summary(todo.runs, tuple(read_failures(folder)))


class Todo:
    """The jobs that are left: retrainings, and fine-tunings once their base is there.

    Parameters
    ----------
    folder
        Of the experiment; a record that another run's numbers give is written at once.
    request
        What is wanted.
    experiment
        Opened, for the costs.
    progress
        Told of every change.
    """

    def __init__(
        self, folder: Folder, request: Request, experiment: Experiment, *, progress: Callable[[GridProgress], None]
    ) -> None:
        """Find out what is missing."""
        self.folder = folder
        self.runs = 0
        self.stopped: str | None = None
        self._progress = progress
        grid, quirks = request.wanted
        wanted = list(keys(grid, quirks=quirks, tasks=experiment.tests))
        works: dict[Work, list[RunKey]] = {}
        for key in wanted:
            works.setdefault(work_of(key, request.spec.relevance), []).append(key)
        missing = self._given_by_others(works)
        # without a task to adapt to there is still a base to retrain
        bases = [] if experiment.tests else retrainings(grid, request.spec.relevance, quirks=quirks)
        self._waiting: dict[RetrainingKey, list[Job]] = {base: [] for base in bases}
        for work, found in missing.items():
            self._waiting.setdefault(work.retraining, []).append(Job(work.retraining, work, tuple(found)))
        self._ready: deque[Job] = deque()
        for base in list(self._waiting):
            if self._has_base(base):
                self._ready.extend(self._waiting.pop(base))
        self._ready.extend(Job(base) for base in self._waiting)
        self.all_runs = sum(len(found) for found in missing.values())
        self._cost = {job.id: experiment.cost(job.work) for job in self._all()}
        self._all_work = sum(cost.epochs * cost.each for cost in self._cost.values())
        self._done: dict[str, float] = {}
        self._running: dict[str, str] = {}

    @property
    def jobs(self) -> int:
        """Number of jobs that are not done."""
        return len(self._all())

    def next(self) -> Job | None:
        """Return a job that can be done now."""
        if not self._ready:
            return None
        job = self._ready.popleft()
        self._running[job.id] = job.id
        return job

    def ticked(self, job: Job, epochs: float, detail: str) -> None:
        """Hear how far a job is."""
        cost = self._cost[job.id]
        self._done[job.id] = epochs * cost.each
        self._running[job.id] = f"{job.id} {int(epochs)}/{cost.epochs}{detail}"
        self.tell()

    def ended(self, job: Job, lost: Lost | None) -> None:
        """Hear that a job is done, or why it is not."""
        self._running.pop(job.id, None)
        self._finish(job)
        dependent = self._waiting.pop(job.retraining, []) if job.work is None else []
        if lost is None:
            self.folder.succeed(job.id)
            self._ready.extendleft(reversed(dependent))  # first, so that records come early
            self.runs += len(job.keys)
        elif lost.fatal:
            self.stopped = lost.what
        else:
            for one in dependent:
                self._finish(one)
            runs = len(job.keys) + sum(len(one.keys) for one in dependent)
            missing = f" ({runs} run{'s' if runs > 1 else ''} missing)" if runs else ""
            self.folder.fail(Failure(job.id, f"{lost.what}{missing}", lost.details))
        self.tell()

    def tell(self) -> None:
        """Tell how far everything is."""
        now = tuple(self._running.values())
        self._progress(GridProgress(self.runs, self.all_runs, sum(self._done.values()), self._all_work, now))

    def _given_by_others(self, works: Mapping[Work, list[RunKey]]) -> dict[Work, list[RunKey]]:
        """Copy records to runs with the same numbers, and return what is missing after that."""
        missing = {}
        for work, wanted in works.items():
            there = [key for key in wanted if is_done(self.folder.path, key)]
            lacking = [key for key in wanted if key not in there]
            if there and lacking:
                record = read_record(path_of(self.folder.path, there[0]))
                for key in lacking:
                    write_record(self.folder.path, replace(record, key=key))
            elif lacking:
                missing[work] = lacking
        return missing

    def _has_base(self, key: RetrainingKey) -> bool:
        from realdata.experiments.retrained import is_complete

        return is_complete(self.folder.retraining / key.id)

    def _all(self) -> list[Job]:
        return [*self._ready, *(job for jobs in self._waiting.values() for job in jobs)]

    def _finish(self, job: Job) -> None:
        self._done[job.id] = self._cost[job.id].epochs * self._cost[job.id].each


def device_of(name: str, precision: str) -> str:
    """Return ``cpu`` or ``cuda`` for what was asked."""
    import torch

    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise InputError("--device: got cuda, but torch finds no CUDA device; expected auto or cpu")
    device = "cuda" if there and name != "cpu" else "cpu"
    if precision == "fp16" and device == "cpu":
        raise InputError("--precision: got fp16, which needs a GPU; expected no or bf16")
    return device
