"""The progress of commands on standard error, if that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sims.sweep.running import SweepProgress


@contextmanager
def shown_progress() -> Iterator[Callable[[str], None]]:
    """Yield a function that shows the current step."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("") as status:
        yield lambda text: status.update(Text(text))


@contextmanager
def computing() -> Iterator[Callable[[str], None]]:
    """Yield the same function, for work on many small matrices: one BLAS thread is faster than several on these."""
    from threadpoolctl import threadpool_limits

    with shown_progress() as progress, threadpool_limits(limits=1, user_api="blas"):
        yield progress


@contextmanager
def shown_chunks() -> Iterator[Callable[[SweepProgress], None]]:
    """Yield a function that draws a bar with the time left of a sweep."""
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
        # the time left follows estimated work, not chunks: descents take thousands of times as long as closed forms
        yield lambda now: bar.update(
            task, chunks=f"{now.chunks} of {now.all_chunks}", completed=now.work, total=now.all_work
        )
