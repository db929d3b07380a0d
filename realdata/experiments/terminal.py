"""What an experiment shows in a terminal: a bar while it runs, a table at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from realdata.experiments.report import Findings
from realdata.experiments.runner import Progress
from realdata.experiments.tables import interval, latest, percent


def shown(found: Findings) -> str:
    """Return the results as a table, in colour where standard output is a terminal."""
    page = StringIO()
    console = Console(
        file=page, force_terminal=(sys.stdout is not None and sys.stdout.isatty()) or None, highlight=False, width=100
    )
    for group in found.groups:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", title_justify="left")
        table.title = Text(group.title, "bold not italic")
        table.add_column("method", no_wrap=True, min_width=13)
        for name, width in (
            ("before", 10),
            ("last epoch", 10),
            ("selected", 10),
            ("last − standard", 20),
            ("and examples", 13),
        ):
            table.add_column(name, justify="right", no_wrap=True, min_width=width)
        for row in group.rows:
            compared = row.compared
            table.add_row(
                row.cell.method,
                percent(row.before),
                percent(row.last),
                percent(row.best),
                latest(compared) if compared else "",
                Text(interval(compared.everything) if compared else "", "dim"),
            )
        console.print(table)
        console.print()
    for sentence in _explained(found):
        console.print(Text(sentence), soft_wrap=True)
    return page.getvalue()


def _explained(found: Findings) -> list[str]:
    results, document = found.results, found.document
    second = "other tasks" if len(results.tasks) > 1 else "other test examples"
    if len(results.seeds) > 1:
        covered = f"95 % intervals: over seeds on these test examples; last column, over seeds and {second}."
    else:
        covered = f"Last column: 95 % interval over {second}, for this seed alone."
    lines = [
        f"Test {results.score} in percent, mean ± standard error over {len(results.seeds)} "
        f"seed{'s' if len(results.seeds) > 1 else ''}; guessing scores {100 * document['chance']:.0f}.",
        covered,
    ]
    return [*lines, *(f"{note}." for note in found.notes)]


@contextmanager
def shown_progress() -> Iterator[Callable[[Progress], None]]:
    """Yield a function that draws a bar on standard error and what is being done, if that is a terminal."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = (
        TextColumn("{task.fields[runs]} runs"),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %, left"),
        TimeRemainingColumn(),
        TextColumn("after"),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[now]}"),
    )
    with Bar(*columns, console=console, transient=True, speed_estimate_period=600) as bar:
        task = bar.add_task("", runs="", now="opening the data", total=None)

        def show(progress: Progress) -> None:
            now = ", ".join(progress.now)
            runs = f"{progress.runs} of {progress.all_runs}"
            bar.update(task, runs=runs, now=now, completed=progress.work, total=progress.all_work)

        yield show
