"""Executors of a sweep's chunks: this process, several, or Dask on any number of machines."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from threadpoolctl import threadpool_limits

from loraml_theory.harness.errors import InputError, install, reason
from loraml_theory.harness.processes import Crew, Lost, Tick, cores

if TYPE_CHECKING:
    from distributed import Client

Item = TypeVar("Item")
Result = TypeVar("Result")

TRIES = 3
PATIENCE = 20  # seconds to wait for a scheduler's answer and for a worker
LOOPBACK = "127.0.0.1"  # anyone who can reach a scheduler or a worker can run code in it
AHEAD = 4  # items given to a worker process at a time, so that it need not wait while results are written


class ExecutorError(InputError):
    """The executor is missing, or its workers die again and again; the text is one line."""


class Executor(Protocol):
    """Calls importable functions on arguments that can be pickled."""

    def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call once, where `run` calls."""
        ...

    def run(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Yield the results in the order of completion; a lost worker's items are done again."""
        ...


class InProcess:
    """Items one by one in this process; the engine has all the cores."""

    def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call in this process."""
        return function(*arguments)

    def run(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Call in this process with BLAS on one thread: the matrices are small and many."""
        for item in items:
            with threadpool_limits(limits=1, user_api="blas"):
                result = function(item)
            yield result


class Processes:
    """Several processes on this machine, which share its cores among their engines."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call in this process, on the same machine."""
        return function(*arguments)

    def run(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Keep every process busy; if one dies, repeat its item in a new one.

        Raises
        ------
        ExecutorError
            If the process of an item dies `TRIES` times in a row.
        """
        left = deque(_Try(item, 1) for item in items)
        threads = str(max(1, cores() // self.workers))
        with Crew(
            lambda: left.popleft() if left else None,
            _Calls(function),
            size=self.workers,
            ahead=AHEAD,
            environment={"NUMBA_NUM_THREADS": threads, "OMP_NUM_THREADS": threads},
        ) as crew:
            for (item, times), found in crew:
                if isinstance(found, Exception):
                    raise found
                if not isinstance(found, Lost):
                    yield found
                elif times == TRIES:
                    raise ExecutorError(f"worker processes died {TRIES} times in a row, perhaps because memory ran out")
                else:
                    left.appendleft(_Try(item, times + 1))


class _Try(NamedTuple):
    item: Any
    times: int


class _Calls(NamedTuple):
    """Calls a function in a worker process; its exceptions are raised in the calling process."""

    function: Callable[[Any], Any]

    def do(self, job: _Try, _tick: Tick) -> Any:
        try:
            return self.function(job.item)
        except Exception as problem:
            return problem


class Dask:
    """The workers of a Dask cluster."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call on a worker."""
        with _dask_errors(self.client):
            return self.client.submit(function, *arguments, pure=False).result()

    def run(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Submit all; Dask gives a lost worker's items to the others.

        Raises
        ------
        ExecutorError
            If the connection is lost, or an item outlives more workers than Dask's ``allowed-failures``.
        """
        from distributed import as_completed

        futures = self.client.map(function, items, pure=False)
        try:
            with _dask_errors(self.client):
                for future in as_completed(futures, loop=self.client.loop):
                    yield future.result()
                    future.release()
        finally:
            self.client.cancel([future for future in futures if not future.done()])


@contextmanager
def _dask_errors(client: Client) -> Iterator[None]:
    """Put Dask's errors in one line; errors of the work itself pass."""
    from distributed import KilledWorker
    from distributed.client import FutureCancelledError

    try:
        yield
    except (KilledWorker, FutureCancelledError) as problem:
        raise ExecutorError(f"Dask: {reason(problem)}") from None
    except ImportError as problem:
        raise ExecutorError(f"Dask: a worker cannot import its work ({reason(problem)})") from None
    except OSError as problem:
        if client.status == "running":
            raise
        raise ExecutorError(f"Dask: {reason(problem)}") from None


@contextmanager
def local(workers: int = 1) -> Iterator[Executor]:
    """Yield an executor on this machine: this process for one worker, else worker processes."""
    yield InProcess() if workers == 1 else Processes(workers)


@contextmanager
def dask(scheduler: str | None = None, workers: int | None = None) -> Iterator[Executor]:
    """Yield an executor on an existing Dask scheduler, or on a cluster of this machine that ends with the block.

    Parameters
    ----------
    scheduler
        Address such as ``tcp://host:8786``.
    workers
        Processes of the machine's own cluster, one for each core if not given.

    Raises
    ------
    ExecutorError
        If Dask is not installed, or the scheduler does not answer.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise ExecutorError(f"Dask is not installed: {install('dask')}") from None
    if scheduler is not None:
        with _connected(scheduler) as client:
            yield Dask(client)
        return
    with (
        LocalCluster(
            n_workers=workers or cores(),
            threads_per_worker=1,
            host=LOOPBACK,
            dashboard_address=f"{LOOPBACK}:0",
            scheduler_kwargs={"dashboard": False},
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield Dask(client)


@contextmanager
def _connected(scheduler: str) -> Iterator[Client]:
    from distributed import Client

    if not re.fullmatch(r"((tcp|tls|ws|wss)://)?[^\s/]+:\d{1,5}", scheduler):
        raise ExecutorError(f"scheduler: got {scheduler!r}, expected an address such as tcp://host:8786")
    try:
        client = Client(scheduler, timeout=f"{PATIENCE}s", set_as_default=False)
    except (OSError, ValueError) as problem:
        raise ExecutorError(f"scheduler {scheduler}: does not answer ({reason(problem)})") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError:
            raise ExecutorError(f"scheduler {scheduler}: has no workers") from None
        yield client
