"""What a folder of chains says, as a page, a CSV table, a Markdown table, pictures, and tables for a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from loraml_theory.harness.atomic import write_whole
from loraml_theory.harness.errors import InputError
from loraml_theory.harness.page import page as rendered
from loraml_theory.harness.plotting import Files, written_as
from realdata.continual.figures import LOOKS, figures
from realdata.continual.records import read_records
from realdata.continual.scores import MEASURES
from realdata.continual.tables import REFERENCE, Chains, Line, average, csv_of, measure, seconds
from realdata.experiments.drawing import svg, write_picture
from realdata.experiments.folder import Failure, read_experiment, read_failures
from realdata.experiments.report import ReportError
from realdata.experiments.wording import PERCENT, interval, points, written

HEADINGS = ("AA", "micro", "forgetting", "backward", "forward", f"AA − {REFERENCE}", "with orders")
"""Above the texts of `cells`."""


class ScoreTable(NamedTuple):
    """The lines of one score from one start: its name and title, the start, and each method with its texts."""

    score: str
    title: str
    start: str
    rows: tuple[tuple[str, int, tuple[str, ...]], ...]


class StartDifference(NamedTuple):
    """What one start changes against another: the method, both starts, and texts under the last two of `HEADINGS`."""

    method: str
    start: str
    other: str
    seeds: str
    everything: str


@dataclass(frozen=True)
class ChainFindings:
    """Everything that the page and the terminal show.

    Parameters
    ----------
    document
        Of experiment.json.
    chains
        The records.
    tables
        For every start and score, the main score first.
    starts
        For every method and pair of starts, the difference of the main score.
    failures
        What failed and has not succeeded since.
    notes
        Sentences that must not be overlooked.
    """

    document: Mapping[str, Any]
    chains: Chains
    tables: tuple[ScoreTable, ...]
    starts: tuple[StartDifference, ...]
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]


def findings(folder: Path) -> ChainFindings:
    """Read a folder.

    Raises
    ------
    InputError
        If it is not an experiment's, or a file in it is damaged.
    ReportError
        If it has no complete chain yet.
    """
    document = read_experiment(folder)
    chains = Chains(read_records(folder))
    failures = tuple(read_failures(folder))
    lacking = [name for name in document["scores"] if chains.records and name not in chains.records[0].rows[0]]
    if lacking:
        raise InputError(f"{folder}: its records have no score {lacking[0]!r}, which experiment.json names")
    if not chains.records:
        failed = f": {failures[0].id}: {failures[0].what}" if failures else ""
        raise ReportError(f"{folder}: has no complete chain yet{failed}")
    tables = tuple(
        ScoreTable(
            score,
            str(about["title"]),
            start,
            tuple(
                (line.method, len(line.records), cells(chains, line, score))
                for line in chains.lines
                if line.start == start
            ),
        )
        for start in chains.starts
        for score, about in document["scores"].items()
    )
    notes = (*map(str, document["data"].get("notes", ())), *_notes(chains, failures))
    return ChainFindings(document, chains, tables, tuple(_starts(chains, document["score"])), failures, notes)


def cells(chains: Chains, line: Line, score: str) -> tuple[str, ...]:
    """Return the texts of a line, under `HEADINGS`."""
    others = (measure(line, score, name) for name in MEASURES)
    reference = chains.line(REFERENCE, line.start)
    return (
        written(average(line, score)),
        *("–" if value is None else written(value) for value in others),
        *(("", "") if reference is None or line is reference else _difference(chains, line, reference, score)),
    )


def _difference(chains: Chains, line: Line, reference: Line, score: str) -> tuple[str, str]:
    compared = chains.compare(line, reference, score)
    if compared is None:
        return "", ""
    return (
        points(compared.seeds) if compared.seeds else "",
        interval(compared.everything) if compared.everything else "",
    )


def write(folder: Path, *, files: Files | None = None) -> ChainFindings:
    """Write report.html, results.csv, results.md and the pictures into a folder; return what they say.

    Raises
    ------
    InputError
        If the pictures' text would be too small; and see `findings`.
    OSError
        If something cannot be written.
    """
    found = findings(folder)
    scores = {name: str(about["title"]) for name, about in found.document["scores"].items()}
    drawn = figures(found.chains, scores)
    values = {
        "found": found,
        "document": found.document,
        "chains": found.chains,
        "headings": HEADINGS,
        "reference": REFERENCE,
        "tunings": found.chains.tunings(),
        "costs": [(line.method, line.start, f"{seconds(line).mean:.1f}") for line in found.chains.lines],
        "looks": [
            (method, LOOKS[method]) for method in LOOKS if any(line.method == method for line in found.chains.lines)
        ],
        "figures": [(figure, [(panel.title, svg(panel)) for panel in figure.panels]) for figure in drawn],
    }
    texts = {
        "results.csv": csv_of(found.chains, list(found.document["scores"])),
        "results.md": markdown(found),
        "report.html": rendered("realdata.continual", "report.html.j2", values, filters={"joined": ", ".join}),
    }
    with written_as(files or Files()):
        for figure in drawn:
            write_picture(figure, folder / f"{figure.name}.png")
    for name, text in texts.items():
        write_whole(folder / name, text)
    return found


def markdown(found: ChainFindings) -> str:
    """Return all tables in Markdown; notes come first."""
    lines = [line for note in found.notes for line in (f"{note}.", "")]
    for table in found.tables:
        lines += [f"**{table.title.capitalize()}, from {table.start}**", ""]
        lines += [_row("method", "chains", *HEADINGS), "| --- " * (len(HEADINGS) + 2) + "|"]
        lines += [_row(method, str(count), *texts) for method, count, texts in table.rows]
        lines.append("")
    if found.starts:
        lines += ["**What the start makes**", "", _row("method", "starts", "difference of AA", HEADINGS[-1])]
        lines.append("| --- " * 4 + "|")
        lines += [_row(one.method, f"{one.start} − {one.other}", *one[3:]) for one in found.starts]
        lines.append("")
    if found.chains.tunings():
        lines += [
            "**Learning rates**",
            "",
            _row("method", "from", "rate", "tried: AA on validation"),
            "| --- " * 4 + "|",
        ]
        for one in found.chains.tunings():
            tried = ", ".join(f"{rate:g}: {PERCENT.number(x)}" for rate, x in zip(*one.tuned, strict=True))
            lines.append(_row(one.method, one.start, f"{one.rate:g}", tried))
        lines.append("")
    return "\n".join(lines)


def shown(found: ChainFindings) -> str:
    """Return the tables for a terminal, in colour where standard output is one."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    page = StringIO()
    terminal = (sys.stdout is not None and sys.stdout.isatty()) or None
    console = Console(file=page, force_terminal=terminal, highlight=False, width=120)
    for one in found.tables:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", title_justify="left")
        table.title = Text(f"{one.title}, from {one.start}", "bold not italic")
        table.add_column("method", no_wrap=True, min_width=15)
        for heading in HEADINGS:
            table.add_column(heading, justify="right", no_wrap=True)
        for method, _, texts in one.rows:
            table.add_row(method, *texts)
        console.print(table)
        console.print()
    if found.starts:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", title_justify="left")
        table.title = Text("what the start makes", "bold not italic")
        for heading in ("method", "starts", "difference of AA", HEADINGS[-1]):
            table.add_column(heading, justify="left" if heading in ("method", "starts") else "right", no_wrap=True)
        for start in found.starts:
            table.add_row(start.method, f"{start.start} − {start.other}", *start[3:])
        console.print(table)
        console.print()
    seeds, orders = len(found.chains.seeds), len(found.chains.orders)
    console.print(
        Text(
            f"Percent, mean ± standard error over {seeds} seed{'s' if seeds > 1 else ''} × {orders} "
            f"order{'s' if orders > 1 else ''} of {len(found.chains.records[0].tasks)} tasks. 'AA − {REFERENCE}': "
            "paired 95 % interval over seeds on these orders; 'with orders': other orders as well."
        ),
        soft_wrap=True,
    )
    for note in found.notes:
        console.print(Text(f"{note}."), soft_wrap=True)
    return page.getvalue()


def _row(*texts: str) -> str:
    return f"| {' | '.join(texts)} |"


def _starts(chains: Chains, score: str) -> Iterator[StartDifference]:
    for other, start in combinations(chains.starts, 2):
        for line in chains.lines:
            reference = chains.line(line.method, other)
            if line.start == start and reference is not None:
                yield StartDifference(line.method, start, other, *_difference(chains, line, reference, score))


def _notes(chains: Chains, failures: tuple[Failure, ...]) -> list[str]:
    notes = []
    if len(chains.seeds) == 1:
        notes.append("One seed only: there is no interval over seeds, and a difference may be chance")
    counts = {len(line.records) for line in chains.lines}
    if len(counts) > 1:
        notes.append(f"Lines have from {min(counts)} to {max(counts)} chains; differences are over what both have")
    ends = [f"{one.method} ({one.rate:g})" for one in chains.tunings() if one.at_the_end]
    if ends:
        notes.append(f"The best of the learning rates tried is the least or the largest of them: {', '.join(ends)}")
    diverged = [record.key.id for record in chains.records if any(None in own for own in record.losses)]
    if diverged:
        notes.append(f"The loss was not finite in {len(diverged)} chains: {', '.join(diverged[:3])}")
    if failures:
        notes.append(f"{len(failures)} of the chains failed and are missing")
    return notes
