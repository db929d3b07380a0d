"""Worker processes, each of which does one job at a time; one that dies loses only that job."""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_all_start_methods, get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from threadpoolctl import threadpool_limits

from loraml_theory.harness.errors import one_line, reason

J = TypeVar("J")
J_contra = TypeVar("J_contra", contravariant=True)


class Tick(Protocol):
    """Called by a job to say how far it is."""

    def __call__(self, epochs: float, detail: str = "") -> None:
        """Hear the number of epochs done, a part of one included, and what else there is to say."""
        ...


GRACE = 5.0  # seconds an idle process may take to end by itself
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Ticked(NamedTuple):
    """How many epochs a job has done, and what else it says."""

    epochs: float
    detail: str = ""


class Lost(NamedTuple):
    """Why a job has no result: one line, the traceback if there is one, and whether it ends all jobs."""

    what: str
    details: str = ""
    fatal: bool = False


class Bench(Protocol[J_contra]):
    """The function that does jobs; it is pickled once for every process."""

    def do(self, job: J_contra, tick: Tick) -> Any:
        """Do a job and write or return its result; an OSError ends all jobs, any other exception only this one."""
        ...


class Source(Protocol[J]):
    """A source of jobs that receives their progress and results, always in the calling process."""

    def next(self) -> J | None:
        """Return a job that can be done now, or None."""
        ...

    def ticked(self, job: J, epochs: float, detail: str) -> None:
        """Receive the progress of a job."""
        ...

    def ended(self, job: J, lost: Lost | None) -> None:
        """Receive a job's result, or why it has none."""
        ...


def work_off(source: Source[J], bench: Bench[J], *, workers: int, imports: Sequence[str] = ()) -> None:
    """Do jobs until the source has no more and none is running: in this process for one worker, else in several.

    After a fatal loss no job is started, and running ones are ended. Ctrl-C ends all at once.
    """
    if workers > 1:
        with Crew(source.next, bench, size=workers, imports=imports) as crew:
            for given, message in crew:
                if isinstance(message, Ticked):
                    source.ticked(given, *message)
                else:
                    source.ended(given, message)
        return
    while (job := source.next()) is not None:
        lost = attempt(bench, job, lambda epochs, detail="", job=job: source.ticked(job, epochs, detail))
        source.ended(job, lost)
        if lost is not None and lost.fatal:
            return


def attempt(bench: Bench[J], job: J, tick: Tick) -> Any:
    """Do a job; return its result, or a `Lost` if it failed."""
    try:
        return bench.do(job, tick)
    except OSError as problem:
        where = f"{problem.filename}: " if problem.filename else ""
        return Lost(one_line(f"{where}{reason(problem)}"), fatal=True)
    except Exception as problem:
        return Lost(reason(problem)[:500], traceback.format_exc())


@dataclass
class _Worker(Generic[J]):
    """A process, this end of its pipe, and its jobs: the running one, then those that wait."""

    process: BaseProcess
    pipe: Connection
    jobs: deque[J] = field(default_factory=deque)


class Crew(Generic[J]):
    """A pool of processes; its loop yields jobs with `Ticked`, `Lost` or their result.

    After a fatal loss, and when the block ends, no job is started, and running ones are ended.

    Parameters
    ----------
    following
        Returns a job that can be done now, or None.
    bench
        Does the jobs.
    size
        Largest number of processes; they start when there are jobs for them.
    ahead
        Jobs given to a process at a time, of which it does the first.
    environment
        Variables that a process sets before it imports anything for its jobs.
    imports
        Modules to import once for all processes, which are forked from a process that has done so and nothing else.
    """

    def __init__(
        self,
        following: Callable[[], J | None],
        bench: Bench[J],
        *,
        size: int,
        ahead: int = 1,
        environment: Mapping[str, str] = ONE_THREAD,
        imports: Sequence[str] = (),
    ) -> None:
        self.following = following
        self.size = size
        self.ahead = ahead
        self._start = (bench, dict(environment), list(imports))
        self._workers: list[_Worker[J]] = []
        self._returned: deque[J] = deque()  # jobs that waited for a process that died

    def __enter__(self) -> Crew[J]:
        """Enter a block at whose end all processes are ended."""
        return self

    def __exit__(self, *_: object) -> None:
        """End all processes: idle ones by themselves, the others at once."""
        for worker in self._workers:
            if worker.jobs:
                worker.process.terminate()
            else:
                with suppress(OSError):
                    worker.pipe.send(None)
            worker.pipe.close()
        for worker in self._workers:
            worker.process.join(GRACE)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers.clear()

    def __iter__(self) -> Iterator[tuple[J, Any]]:
        """Keep every process busy until all jobs are done."""
        while True:
            self._hand_out()
            pipes: dict[Any, _Worker[J]] = {worker.pipe: worker for worker in self._workers if worker.jobs}
            if not pipes:
                return
            for pipe in wait(list(pipes)):
                job, message = self._heard(pipes[pipe])
                yield job, message
                if isinstance(message, Lost) and message.fatal:
                    return

    def _hand_out(self) -> None:
        """Hand out jobs while there are jobs and processes with room for them."""
        while len(self._workers) < self.size or any(len(worker.jobs) < self.ahead for worker in self._workers):
            job = self._returned.popleft() if self._returned else self.following()
            if job is None:
                return
            worker = self._taker()
            worker.jobs.append(job)
            with suppress(BrokenPipeError):  # it died meanwhile; `_heard` will notice
                worker.pipe.send(job)

    def _taker(self) -> _Worker[J]:
        """Return the process with the fewest jobs, or a new one if all are busy and the pool may grow."""
        found = min(self._workers, key=lambda worker: len(worker.jobs), default=None)
        if found is None or (found.jobs and len(self._workers) < self.size):
            found = _started(*self._start)
            self._workers.append(found)
        return found

    def _heard(self, worker: _Worker[J]) -> tuple[J, Any]:
        """Receive a message about a process's first job, or detect that it died."""
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join()
            self._workers.remove(worker)
            job = worker.jobs.popleft()
            self._returned.extend(worker.jobs)
            return job, Lost(f"its process ended with {_code(worker.process.exitcode)}, perhaps because memory ran out")
        return worker.jobs[0] if isinstance(message, Ticked) else worker.jobs.popleft(), message


def prepare(imports: Sequence[str]) -> None:
    """Start the process that imports these modules and from which those of a `Crew` are forked; do not wait for it.

    Nothing happens where processes cannot be forked so. Without it the first process of a crew does this.
    """
    if "forkserver" not in get_all_start_methods():
        return
    from multiprocessing import forkserver, resource_tracker  # there are none on Windows

    get_context("forkserver").set_forkserver_preload(["loraml_theory.harness.interruptible", *imports])
    resource_tracker.ensure_running()  # which lets Ctrl-C through at its end, and does nothing when called again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the child inherits this, and keeps Ctrl-C
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _started(bench: Bench[J], environment: Mapping[str, str], imports: list[str]) -> _Worker[J]:
    forked = bool(imports) and "forkserver" in get_all_start_methods()
    context: Any = get_context("forkserver" if forked else "spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(bench, environment, theirs), daemon=True)
    if forked:
        prepare(imports)
        process.start()  # waits for the imports, and hears Ctrl-C meanwhile
    else:
        with _deaf_to_ctrl_c():  # which the child inherits: else it would print a traceback while it still imports
            process.start()
    theirs.close()  # so that its death closes the pipe
    return _Worker(process, ours)


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set signal handlers
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _serve(bench: Bench[J], environment: Mapping[str, str], pipe: Connection) -> None:
    """Do in a process of its own what comes through the pipe, until None comes or the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the calling process's to act on
    os.environ.update(environment)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with threadpool_limits(limits=1, user_api="blas"), suppress(EOFError, BrokenPipeError):
        while (job := pipe.recv()) is not None:
            pipe.send(attempt(bench, job, lambda epochs, detail="": pipe.send(Ticked(epochs, detail))))


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
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
