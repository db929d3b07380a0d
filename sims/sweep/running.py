"""A sweep from its spec to its rows: plan, skip finished chunks, compute the rest, write each chunk at once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from sims.engines.engine import Engine
from sims.sweep.cells import run_chunk
from sims.sweep.executors import Executor, InProcess
from sims.sweep.plan import Chunk, plan
from sims.sweep.spec import Spec
from sims.sweep.store import Made, Store, locked


@dataclass(frozen=True)
class SweepProgress:
    """The progress of a sweep: finished and total chunks, and the same of the estimated work."""

    chunks: int
    all_chunks: int
    work: float
    all_work: float


def run(
    spec: Spec,
    folder: Path,
    *,
    engine: str = "auto",
    device: str | None = None,
    executor: Executor | None = None,
    progress: Callable[[SweepProgress], None] = lambda _: None,
) -> int:
    """Compute the missing chunks of a sweep in its folder; return their number.

    Parameters
    ----------
    spec
        What to compute.
    folder
        Created if it does not exist; otherwise it must have been started with the same spec.
    engine, device
        See `sims.engines.get`; ``auto`` resumes with the engine that a folder was started with.
    executor
        See `sims.sweep.executors`; this process if not given.
    progress
        Called at the start and after every chunk.

    Raises
    ------
    FolderError, InputError, ExecutorError
        If the folder holds another sweep or is in use, or the engine or the executor is missing.
    OSError
        If the folder cannot be written; finished chunks stay.
    """
    executor = executor or InProcess()
    with locked(folder) as store:
        begun = store.begun(spec)
        if begun is not None and engine == "auto" and device is None:
            engine, device = begun.engine, begun.device
        store.begin(spec, executor.call(find, engine, device))
        done = store.merge()
        chunks = list(plan(spec))
        left = [chunk for chunk in chunks if chunk.index not in done]
        light = replace(spec, seeds=())  # sent with every chunk, which has its own values
        try:
            _compute(store, spec, executor, partial(compute, light, engine, device), chunks, left, progress)
        except BaseException:
            with suppress(OSError):  # the chunks are complete without it
                store.merge()
            raise
        if left:
            store.merge()
    return len(left)


def _compute(
    store: Store,
    spec: Spec,
    executor: Executor,
    work: Callable[[Chunk], dict[str, Any]],
    chunks: list[Chunk],
    left: list[Chunk],
    progress: Callable[[SweepProgress], None],
) -> None:
    costs = {chunk.index: chunk.cost for chunk in left}
    total = sum(chunk.cost for chunk in chunks)
    finished, spent = len(chunks) - len(left), total - sum(costs.values())
    progress(SweepProgress(finished, len(chunks), spent, total))
    for columns in executor.run(work, left):
        index = columns["chunk"][0]
        store.write(index, {**columns, "spec_hash": [spec.hash] * len(columns["chunk"])})
        finished, spent = finished + 1, spent + costs[index]
        progress(SweepProgress(finished, len(chunks), spent, total))


def compute(spec: Spec, engine: str, device: str | None, chunk: Chunk) -> dict[str, Any]:
    """Compute a chunk by a named engine, made once in every process."""
    return run_chunk(spec, chunk, _engine(engine, device))


def find(engine: str, device: str | None) -> Made:
    """Return the name and device of the requested engine."""
    found = _engine(engine, device)
    return Made(found.name, found.device)


@cache
def _engine(name: str, device: str | None) -> Engine:
    from sims import engines

    return engines.get(name, device)
