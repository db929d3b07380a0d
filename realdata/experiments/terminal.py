"""What an experiment shows in a terminal: a bar while it runs, a table at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from realdata.experiments.report import GUESSING, Findings, Scored
from realdata.experiments.runner import GridProgress
from realdata.experiments.wording import interval, latest, p_value, written


def shown(found: Findings) -> str:
    """Return the results as a table, in colour where standard output is a terminal."""
    page = StringIO()
    console = Console(
        file=page, force_terminal=(sys.stdout is not None and sys.stdout.isatty()) or None, highlight=False, width=100
    )
    for scored in found.scored:
        for table in _tables(scored, titled=len(found.scored) > 1):
            console.print(table)
            console.print()
    for sentence in _explained(found):
        console.print(Text(sentence), soft_wrap=True)
    return page.getvalue()


def _tables(scored: Scored, *, titled: bool) -> Iterator[Table]:
    """Yield one table for each group of a score; its title has the score's if there are several."""
    several, unit = len(scored.results.tasks) > 1, f"{scored.results.unit}s"
    for group in scored.groups:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", title_justify="left")
        title = f"{scored.title}, {group.title}" if titled else group.title
        table.title = Text(title, "bold not italic")
        table.add_column("method", no_wrap=True, min_width=13)
        for name, width in (
            ("before", 10),
            ("last epoch", 10),
            ("selected", 10),
            (f"last − {scored.results.reference}", 15 if several and len(scored.results.seeds) == 1 else 20),
            (f"and {unit}" if several else "and examples", 13),
            *([("p", 5)] if several else []),
        ):
            table.add_column(name, justify="right", no_wrap=True, min_width=width)
        level, scale = scored.scale.number(scored.chance), scored.scale
        table.add_row(GUESSING, level, level, level, style="dim")
        for row in group.rows:
            compared = row.compared
            table.add_row(
                row.cell.method,
                written(row.before, scale),
                written(row.last, scale),
                written(row.best, scale),
                latest(compared, scale) if compared else "",
                Text(interval(compared.everything, scale) if compared else "", "dim"),
                *([p_value(compared.sign_flip) if compared else ""] if several else []),
            )
        yield table


def _explained(found: Findings) -> list[str]:
    results = found.results
    several = len(results.tasks) > 1
    second = f"other {results.unit}s" if several else "other test examples"
    column = f"and {results.unit}s" if several else "and examples"
    if len(results.seeds) > 1:
        covered = f"95 % intervals: over seeds on these test examples; column {column!r}, over seeds and {second}."
    else:
        covered = f"Column {column!r}: 95 % interval over {second}, for this seed alone."
    errors = f"mean ± standard error over {len(results.seeds)} seed{'s' if len(results.seeds) > 1 else ''}"
    if results.spread != "seeds":
        errors = f"mean ± standard error over {len(results.tasks)} {results.spread}, for one seed"
    lines = [
        f"Test scores in {results.scale.unit}, {errors}; before: with untrained adapters or heads.",
        covered,
    ]
    if several:
        these = "this seed" if len(results.seeds) == 1 else "these seeds"
        over = f"{len(results.tasks)} {results.unit}s, for {these} alone"
        lines.append(f"p: two-sided sign-flip test of 'last − {found.results.reference}' over {over}.")
    return [*lines, *(f"{note}." for note in found.notes)]


@contextmanager
def shown_progress() -> Iterator[Callable[[GridProgress], None]]:
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

        def show(progress: GridProgress) -> None:
            now = ", ".join(progress.now)
            runs = f"{progress.runs} of {progress.all_runs}"
            bar.update(task, runs=runs, now=now, completed=progress.work, total=progress.all_work)

        yield show
