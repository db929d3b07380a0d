"""Processes that work off jobs, one at a time each; one that dies loses its job and nothing else."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from threadpoolctl import threadpool_limits

from loraml_theory.harness.errors import one_line

J = TypeVar("J")
J_contra = TypeVar("J_contra", contravariant=True)
Tick = Callable[[int], None]
"""Called by a job with the number of epochs that it has done."""

GRACE = 5.0  # seconds that an idle process has to end by itself


class Lost(NamedTuple):
    """Why a job has no result: one line, the traceback if there is one, and whether going on makes sense."""

    what: str
    details: str = ""
    fatal: bool = False


class Bench(Protocol[J_contra]):
    """Where jobs are done; it is pickled once for every process."""

    def do(self, job: J_contra, tick: Tick) -> None:
        """Do a job and write its result; OSError ends everything, another exception this job only."""
        ...


class Source(Protocol[J]):
    """Where jobs come from and what is told of them, always in the calling process."""

    def next(self) -> J | None:
        """Return a job that can be done now, None if there is none for the moment."""
        ...

    def ticked(self, job: J, epochs: int) -> None:
        """Hear how far a job is."""
        ...

    def ended(self, job: J, lost: Lost | None) -> None:
        """Hear that a job is done, or why it is not."""
        ...


def work_off(source: Source[J], bench: Bench[J], *, workers: int) -> None:
    """Do jobs until the source has no more and none is running: here for one worker, else in so many processes.

    After a fatal loss no job is begun, and those that run are ended. Ctrl-C ends all at once.
    """
    if workers > 1:
        _Crew(source, bench, workers).work()
        return
    while (job := source.next()) is not None:
        lost = attempt(bench, job, lambda epochs, job=job: source.ticked(job, epochs))  # type: ignore[misc]
        source.ended(job, lost)
        if lost is not None and lost.fatal:
            return


def attempt(bench: Bench[J], job: J, tick: Tick) -> Lost | None:
    """Do a job; return why it failed, None if it did not."""
    try:
        bench.do(job, tick)
    except OSError as problem:
        where = f"{problem.filename}: " if problem.filename else ""
        return Lost(one_line(f"{where}{problem.strerror or problem}"), fatal=True)
    except Exception as problem:
        text = str(problem).strip().splitlines()
        return Lost(one_line(text[0] if text else type(problem).__name__)[:500], traceback.format_exc())
    return None


@dataclass
class _Worker(Generic[J]):
    """A process, this end of its pipe, and the job it does."""

    process: SpawnProcess
    pipe: Connection
    job: J | None = None


class _Crew(Generic[J]):
    """Processes and the loop that serves them."""

    def __init__(self, source: Source[J], bench: Bench[J], size: int) -> None:
        self.source = source
        self.bench = bench
        self.size = size
        self.workers: list[_Worker[J]] = []
        self.stopped = False

    def work(self) -> None:
        """Keep every process busy until all is done."""
        try:
            while True:
                self._hand_out()
                busy = [worker for worker in self.workers if worker.job is not None]
                if not busy:
                    return
                pipes: dict[Any, _Worker[J]] = {worker.pipe: worker for worker in busy}
                for pipe in wait(list(pipes)):
                    if not self.stopped:
                        self._listen(pipes[pipe])
        finally:
            self._dismiss()

    def _hand_out(self) -> None:
        """Give jobs to idle processes, starting as many as there are jobs for, at most `size`."""
        while not self.stopped:
            idle = next((worker for worker in self.workers if worker.job is None), None)
            if idle is None and len(self.workers) == self.size:
                return
            job = self.source.next()
            if job is None:
                return
            if idle is None:
                idle = _started(self.bench)
                self.workers.append(idle)
            idle.job = job
            with suppress(BrokenPipeError):  # it died meanwhile, which `_listen` will see
                idle.pipe.send(job)

    def _listen(self, worker: _Worker[J]) -> None:
        """Take a message of a process: epochs done, or the end of its job; or see that it died."""
        assert worker.job is not None  # only busy ones are listened to
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join()
            self.workers.remove(worker)
            lost = Lost(f"its process ended with {_code(worker.process.exitcode)}, perhaps for want of memory")
            self.source.ended(worker.job, lost)
            return
        if isinstance(message, int):
            self.source.ticked(worker.job, message)
            return
        job, worker.job = worker.job, None
        self.source.ended(job, message)
        if message is not None and message.fatal:
            self.stopped = True
            self._dismiss()

    def _dismiss(self) -> None:
        """End all processes: idle ones by themselves, the others at once."""
        for worker in self.workers:
            if worker.job is None:
                with suppress(OSError):
                    worker.pipe.send(None)
            else:
                worker.process.terminate()
            worker.pipe.close()
        for worker in self.workers:
            worker.process.join(GRACE)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self.workers.clear()


def _started(bench: Bench[J]) -> _Worker[J]:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(bench, theirs), daemon=True)
    with _deaf_to_ctrl_c():  # which the child inherits: else it would print a traceback while it still imports
        process.start()
    theirs.close()  # so that its death closes the pipe
    return _Worker(process, ours)


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _serve(bench: Bench[J], pipe: Connection) -> None:
    """Do in a process of its own what comes through the pipe, until None comes or the pipe closes."""
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")  # before torch is imported
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with threadpool_limits(limits=1), suppress(EOFError, BrokenPipeError):
        while (job := pipe.recv()) is not None:
            pipe.send(attempt(bench, job, pipe.send))


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()  # also where it was killed
        os._exit(1)


def _code(code: int | None) -> str:
    if code is not None and code < 0:
        with suppress(ValueError):
            return f"signal {signal.Signals(-code).name}"
    return f"status {code}"


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
