"""The progress of commands on standard error, if that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

    from sims.sweep.running import SweepProgress


class Shown:
    """Shows the current step when called, and keeps lines above it; nothing where there is no terminal."""

    def __init__(self, console: Console | None = None, status: Status | None = None) -> None:
        self._console, self._status = console, status

    def __call__(self, step: str) -> None:
        """Show the current step in place of the last."""
        from rich.text import Text

        if self._status is not None:
            self._status.update(Text(step))

    def keep(self, line: str) -> None:
        """Write a line that stays."""
        from rich.text import Text

        if self._console is not None:
            self._console.print(Text(line), no_wrap=True, overflow="ellipsis")


@contextmanager
def shown_progress() -> Iterator[Shown]:
    """Yield what shows the progress."""
    from rich.console import Console

    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield Shown()
        return
    with console.status("") as status:
        yield Shown(console, status)


@contextmanager
def computing() -> Iterator[Shown]:
    """Yield the same, for work on many small matrices: one BLAS thread is faster than several on these."""
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
