"""What `loraml sweep` does."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from loraml_theory.harness.errors import InputError

if TYPE_CHECKING:
    from sims.sweep.executors import Executor
    from sims.sweep.running import Progress

EXECUTORS = ("local", "dask")


def sweep(
    spec: Path | None,
    *,
    out: Path | None,
    engine: str,
    device: str | None,
    executor: str,
    scheduler: str | None,
    workers: str | None,
    example: bool,
) -> tuple[int, str]:
    """Run what is missing of a sweep, or return the example that ships."""
    from sims.sweep import spec as specs

    if example:
        return 0, specs.example()
    if spec is None or out is None:
        raise InputError(f"{'SPEC.toml' if spec is None else '--out'}: is missing; see `loraml sweep --help`")
    require_pyarrow()
    from sims.sweep.running import run

    try:
        wanted = specs.read(spec)
        with _executor(executor, scheduler, workers) as where, shown_progress() as progress:
            new = run(wanted, out, engine=engine, device=device, executor=where, progress=progress)
        return 0, _summary(out, new)
    except OSError as problem:
        raise InputError(f"{out}: cannot be written ({problem.strerror or problem})") from None


def require_pyarrow() -> None:
    """Raise `InputError` that says how to install pyarrow, unless it is there."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise InputError("sweeps need pyarrow: pip install 'loraml-theory[sims]'") from None


def _executor(name: str, scheduler: str | None, workers: str | None) -> AbstractContextManager[Executor]:
    from sims.sweep import executors

    if name not in EXECUTORS:
        raise InputError(f"--executor: got {name!r}, expected {' or '.join(EXECUTORS)}")
    if scheduler is not None and (name != "dask" or workers is not None):
        raise InputError("--scheduler: goes with --executor dask, whose workers are there already, without --workers")
    count = None
    if workers is not None:
        if not (workers.isdecimal() and workers.isascii() and int(workers[:5]) >= 1 and len(workers) <= 4):
            raise InputError(f"--workers: got {workers!r}, expected a whole number in 1..9999")
        count = int(workers)
    return executors.dask(scheduler, count) if name == "dask" else executors.local(count or 1)


def _summary(out: Path, new: int) -> str:
    from sims.sweep.store import read_table

    table = read_table(out)
    ended = Counter(table["status"].to_pylist())
    counts = ", ".join(f"{count} {status}" for status, count in sorted(ended.items()))
    return f"{out / 'rows.parquet'}: {table.num_rows} rows ({counts}); {new} chunks computed now\n"


@contextmanager
def shown_progress() -> Iterator[Callable[[Progress], None]]:
    """Yield a function that draws a bar with the time left on standard error, if that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = (
        TextColumn("{task.fields[chunks]} chunks"),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %, left"),
        TimeRemainingColumn(),
        TextColumn("after"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, speed_estimate_period=600) as bar:
        task = bar.add_task("", chunks="", total=None)
        # time left counts estimated work, not chunks: descents take thousands of times as long as closed forms
        yield lambda now: bar.update(
            task, chunks=f"{now.chunks} of {now.all_chunks}", completed=now.work, total=now.all_work
        )
