"""Run the chains that a folder does not have yet: trials of learning rates first, then those of the grid."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from loraml_theory.harness.processes import Lost, Tick, cores
from realdata.continual.experiment import ContinualSpec, open_problem, prepare
from realdata.continual.records import ChainKey, ChainRecord, Tuned, path_of, read_record, write_record
from realdata.continual.scores import average_accuracy
from realdata.experiments.folder import Failure, Folder, opened
from realdata.experiments.runner import GridProgress, Summary, carry_out, device_of, provenance

if TYPE_CHECKING:
    from realdata.continual.problem import Problem

IMPORTS = ("accelerate", "peft", "realdata.continual.chain", "realdata.continual.experiment")
"""What jobs import and what takes seconds."""


@dataclass(frozen=True)
class ContinualRequest:
    """What to run and where.

    Parameters
    ----------
    spec
        The experiment.
    tune
        Whether every method's learning rate is chosen among those of ``[tuning]``, by validation parts.
    device, precision, workers, command
        As in `realdata.experiments.runner.Request`.
    """

    spec: ContinualSpec
    tune: bool = False
    device: str = "auto"
    precision: str = "no"
    workers: int | None = None
    command: str = ""


@dataclass(frozen=True)
class ChainJob:
    """A chain to run, with its learning rate and how that was chosen."""

    key: ChainKey
    learning_rate: float
    tuned: Tuned | None = None

    @property
    def id(self) -> str:
        """Its name, which is that of its record."""
        return self.key.id


def run(request: ContinualRequest, path: Path, *, progress: Callable[[GridProgress], None] = lambda _: None) -> Summary:
    """Run what is missing in a folder; a chain that was ended by a kill goes on after its last task.

    Raises
    ------
    FolderError
        If the folder is in use, or was begun with other settings or data.
    InputError
        If data or model cannot be used, nothing can be written any more, or the device is not there.
    """
    device = device_of(request.device, request.precision)
    settings = request.spec.settings
    with opened(path) as folder:
        problem, data = prepare(request.spec, path)
        made = provenance(request.command, device, request.precision, data=data["source"])
        fixed = {
            "experiment": "continual",
            "settings": settings.document(),
            "orders": [list(order) for order in settings.orders],
            "tuning": asdict(settings.tuning) if request.tune else None,
            "data": data,
            "unit": "task",
            "score": next(iter(problem.scores)),
            "scores": {name: score.document() for name, score in problem.scores.items()},
            "device": device,
            "precision": request.precision,
        }
        folder.begin(fixed, made)
        todo = ChainsTodo(folder, request, main=next(iter(problem.scores)), progress=progress)
        bench = ChainBench(request.spec, path, device, request.precision, made)
        return carry_out(
            todo, bench, folder=path, imports=IMPORTS, workers=request.workers or (1 if device == "cuda" else cores())
        )


class ChainsTodo:
    """The chains that are left; those of a method wait for its trials.

    Parameters
    ----------
    folder
        Of the experiment.
    request
        What is wanted.
    main
        Name of the score by which learning rates are chosen.
    progress
        Told of every change.
    """

    def __init__(
        self,
        folder: Folder,
        request: ContinualRequest,
        *,
        main: str,
        progress: Callable[[GridProgress], None],
    ) -> None:
        self.folder, self._main, self._progress = folder, main, progress
        self._settings = request.spec.settings
        self.runs = 0
        self.stopped: str | None = None
        self._ready: deque[ChainJob] = deque()
        self._waiting: dict[tuple[str, str], set[str]] = {}
        self._running: dict[str, str] = {}
        self._shares: dict[str, float] = {}
        grid = self._settings.grid
        missing = [key for key in self._wanted() if not path_of(folder.path, key).exists()]
        for method, start in product(grid.methods, grid.starts):
            if not any(key[:2] == (method, start) for key in missing):
                continue
            trials = list(self._trials(method, start)) if request.tune and method != "no-training" else []
            left = [key for key in trials if not path_of(folder.path, key).exists()]
            self._ready.extend(ChainJob(key, key.rate or 0.0) for key in left)
            self._waiting[method, start] = {key.id for key in left}
        self._missing = missing
        self._tune = request.tune
        self.all_jobs = len(self._ready) + len(missing)
        for group in [group for group, left in self._waiting.items() if not left]:
            self._release(group)

    @property
    def jobs(self) -> int:
        """Number of chains that are not done."""
        return self.all_jobs

    def next(self) -> ChainJob | None:
        """Return a chain that can be run now."""
        if not self._ready:
            return None
        job = self._ready.popleft()
        self._running[job.id] = job.id
        return job

    def ticked(self, job: ChainJob, epochs: float, detail: str) -> None:
        """Hear how many tasks of a chain are done."""
        tasks = len(self._settings.orders[job.key.order - 1])
        self._shares[job.id] = epochs / tasks
        self._running[job.id] = f"{job.id} task {min(int(epochs) + 1, tasks)}/{tasks}{detail}"
        self.tell()

    def ended(self, job: ChainJob, lost: Lost | None) -> None:
        """Hear that a chain is done, or why it is not; the last trial of a method lets its chains go."""
        self._running.pop(job.id, None)
        self._shares[job.id] = 1.0
        if lost is None:
            self.folder.succeed(job.id)
            self.runs += job.key.rate is None
        elif lost.fatal:
            self.stopped = lost.what
        else:
            self.folder.fail(Failure(job.id, lost.what, lost.details))
        left = self._waiting.get(group := job.key[:2])
        if left is not None and not lost:
            left.discard(job.id)
            if not left:
                self._release(group)
        self.tell()

    def tell(self) -> None:
        """Tell how far everything is."""
        now = tuple(self._running.values())
        runs = sum(key.rate is None for key in self._missing)
        self._progress(GridProgress(self.runs, runs, sum(self._shares.values()), self.all_jobs, now))

    def _wanted(self) -> Iterator[ChainKey]:
        grid = self._settings.grid
        for seed, order, start, method in product(grid.seeds, grid.orders, grid.starts, grid.methods):
            yield ChainKey(method, start, order, seed)

    def _trials(self, method: str, start: str) -> Iterator[ChainKey]:
        tuning = self._settings.tuning
        for seed, order, rate in product(tuning.seeds, tuning.orders, tuning.learning_rates):
            yield ChainKey(method, start, order, seed, rate)

    def _release(self, group: tuple[str, str]) -> None:
        """Let the chains of a method and a start go, at the learning rate that its trials choose."""
        del self._waiting[group]
        own = [key for key in self._missing if key[:2] == group]
        if not self._tune or group[0] == "no-training":
            self._ready.extend(ChainJob(key, self._settings.training.learning_rate) for key in own)
            return
        records = [read_record(path_of(self.folder.path, key)) for key in self._trials(*group)]
        tuned, best = chosen(records, score=self._main)
        self._ready.extend(ChainJob(key, best, tuned) for key in own)


def chosen(trials: list[ChainRecord], *, score: str) -> tuple[Tuned, float]:
    """Return the mean average accuracy of every learning rate that was tried, and the rate with the largest.

    Of rates with the same the smallest is taken.
    """
    by_rate: dict[float, list[float]] = {}
    for record in trials:
        by_rate.setdefault(record.key.rate or 0.0, []).append(average_accuracy(record, score))
    rates = tuple(sorted(by_rate))
    tuned = Tuned(rates, tuple(float(np.mean(by_rate[rate])) for rate in rates))
    return tuned, rates[int(np.argmax(tuned.scores))]


@dataclass
class ChainBench:
    """Where a process runs chains; data and model are opened with the first of them.

    Parameters
    ----------
    spec, folder
        The experiment and its folder.
    device, precision
        ``cpu`` or ``cuda``; ``no``, ``bf16`` or ``fp16``.
    made
        What goes into every record's provenance.
    """

    spec: ContinualSpec
    folder: Path
    device: str
    precision: str
    made: Mapping[str, Any]
    _problems: dict[Any, Problem] = field(default_factory=dict, init=False)

    def do(self, job: ChainJob, tick: Tick) -> None:
        """Run a chain and write its record; its last adapter is kept, unless it is a trial's."""
        from accelerate import Accelerator

        from realdata.continual.chain import Chain, run_chain
        from realdata.experiments.jobs import one_thread

        key = job.key
        work = self.folder / "checkpoints" / job.id
        chain = Chain(
            method=key.method,  # type: ignore[arg-type]  # of the grid
            learning_rate=job.learning_rate,
            order=self.spec.order(key.order),
            seed=key.seed,
            part="test" if key.rate is None else "validation",
        )
        with one_thread(self.device):
            problem = self._problem(key)
            accelerator = Accelerator(cpu=self.device == "cpu", mixed_precision=self.precision)
            found = run_chain(chain, problem, self.spec.settings, work, accelerator=accelerator, tick=tick)
        record = ChainRecord(
            key=key,
            tasks=chain.order,
            sizes=tuple(problem.size(task, chain.part) for task in chain.order),
            part=chain.part,
            learning_rate=None if key.method == "no-training" else job.learning_rate,
            tuned=job.tuned,
            rows={at: {name: tuple(x) for name, x in row.items()} for at, row in found.rows.items()},
            losses=tuple(map(tuple, found.losses)),
            steps=tuple(found.steps),
            examples=tuple(found.examples),
            seconds=tuple(round(x, 3) for x in found.seconds),
            provenance=self.made,
        )
        write_record(self.folder, record)
        last = work / f"row-{len(chain.order)}"
        if key.rate is None and last.exists():
            kept = self.folder / "adapters" / job.id
            shutil.rmtree(kept, ignore_errors=True)
            kept.parent.mkdir(exist_ok=True)
            last.rename(kept)
        shutil.rmtree(work)

    def _problem(self, key: ChainKey) -> Problem:
        """Return the tasks with the model that a chain begins from; a base is retrained anew for each seed."""
        start: Any = key.start
        which = start if start == "plain" else (start, key.seed)
        if which not in self._problems:
            self._problems[which] = open_problem(self.spec, self.folder, start=start, seed=key.seed)
        return self._problems[which]
