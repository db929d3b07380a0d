"""What an experiment's folder says, as a page, a CSV table, a Markdown table and pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from loraml_theory.atomic import replacing
from realdata.experiments.drawing import LOOKS, Figure, svg, write_png
from realdata.experiments.figures import figures, n_text
from realdata.experiments.folder import Failure, read_experiment, read_failures
from realdata.experiments.records import Count, read_records
from realdata.experiments.tables import REFERENCE, Cell, Results, Row, count, csv_of, interval, latest, percent, points

HEADINGS = ("before", "last epoch", "selected epoch", "last − standard", "with test examples", "selected − standard")


class ReportError(ValueError):
    """A folder of which there is nothing to report; the text is one line."""


class Group(NamedTuple):
    """The lines of one table that differ by method alone."""

    title: str
    rows: tuple[Row, ...]


class Effect(NamedTuple):
    """One line of the table of switches: the difference that a set of them makes to none."""

    quirks: tuple[str, ...]
    method: str
    last: str
    everything: str
    best: str
    seeds: int


@dataclass(frozen=True)
class Findings:
    """Everything that the page and the terminal show.

    Parameters
    ----------
    document
        Of experiment.json.
    results
        The records.
    groups
        The main table, for each set of switches that was on.
    budgets
        What each method's retraining and each setting's fine-tuning spent.
    effects
        By setting; empty unless runs with and without switches are there.
    failures
        What failed and has not succeeded since.
    notes
        Sentences that must not be overlooked.
    """

    document: Mapping[str, Any]
    results: Results
    groups: tuple[Group, ...]
    budgets: tuple[tuple[str, str], ...]
    effects: tuple[tuple[str, tuple[Effect, ...]], ...]
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]


def findings(folder: Path) -> Findings:
    """Read a folder.

    Raises
    ------
    FolderError, RecordError
        If it is no experiment's, or a file in it is damaged.
    ReportError
        If it has no complete run yet.
    """
    document = read_experiment(folder)
    results = Results(read_records(folder), score=str(document["score"]))
    failures = tuple(read_failures(folder))
    if not results.cells:
        failed = f": {failures[0].id}: {failures[0].what}" if failures else ""
        raise ReportError(f"{folder}: has no complete run yet{failed}")
    # with the axis of switches the table is of the runs without any: the others are compared with them below
    shown = [cell for cell in results.cells if cell.quirks == () or () not in results.quirks]
    return Findings(
        document=document,
        results=results,
        groups=_groups(results, shown),
        budgets=_budgets(results, shown),
        effects=_effects(results),
        failures=failures,
        notes=_notes(results, failures),
    )


def write(folder: Path, *, switches: Mapping[str, tuple[str, str]]) -> Findings:
    """Write report.html, results.csv, results.md and the pictures into an experiment's folder; return what they say.

    Parameters
    ----------
    folder
        Of the experiment.
    switches
        What every switch of the reference code does, and what is done without it.

    Raises
    ------
    FolderError, RecordError, ReportError
        See `findings`.
    OSError
        If something cannot be written.
    """
    found = findings(folder)
    drawn = figures(found.results)
    texts = {
        "results.csv": csv_of(found.results.records, score=found.results.score),
        "results.md": markdown(found),
        "report.html": page(found, drawn, switches=switches),
    }
    for figure in drawn:
        write_png(figure, folder / f"{figure.name}.png")
    for name, text in texts.items():
        with replacing(folder / name) as file:
            file.write(text.encode())
    return found


def page(found: Findings, drawn: Sequence[Figure], *, switches: Mapping[str, tuple[str, str]]) -> str:
    """Return the page; everything is in it, and every text in it is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader("realdata.experiments", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters.update(percent=percent, points=points, joined=", ".join)
    results = found.results
    methods = list(dict.fromkeys(cell.method for cell in results.cells))
    return pages.get_template("report.html.j2").render(
        found=found,
        document=found.document,
        headings=HEADINGS,
        score=results.score,
        cells=cells,
        methods=[(method, LOOKS[method]) for method in methods],
        figures=[(figure, [(panel.title, svg(panel)) for panel in figure.panels]) for figure in drawn],
        switches=[(name, *switches.get(name, ("", ""))) for name in sorted({q for on in results.quirks for q in on})],
        runs=len(results.records),
        several=len(results.tasks) > 1,
        REFERENCE=REFERENCE,
    )


def cells(row: Row) -> list[str]:
    """Return the texts of a line of the main table, under `HEADINGS`."""
    compared = row.compared
    return [
        percent(row.before),
        percent(row.last),
        percent(row.best),
        latest(compared) if compared else "",
        interval(compared.everything) if compared else "",
        points(compared.best) if compared else "",
    ]


def markdown(found: Findings) -> str:
    """Return the main table in Markdown."""
    lines = []
    for group in found.groups:
        lines += [f"**{group.title}**", "", f"| method | seeds | {' | '.join(HEADINGS)} |", "| --- " * 8 + "|"]
        lines += [f"| {row.cell.method} | {len(row.seeds)} | {' | '.join(cells(row))} |" for row in group.rows]
        lines.append("")
    return "\n".join(lines)


def switched(quirks: Sequence[str]) -> str:
    """Name a set of switches.

    Examples
    --------
    >>> switched(("warm-start",)), switched(("augment-once", "warm-start"))
    ('with warm-start', 'with 2 switches')
    """
    return f"with {quirks[0]}" if len(quirks) == 1 else f"with {len(quirks)} switches"


def _groups(results: Results, shown: Iterable[Cell]) -> tuple[Group, ...]:
    def title(cell: Cell) -> str:
        on = f", {switched(cell.quirks)}" if cell.quirks else ""
        return f"fine-tuning by {cell.finetune}, n = {n_text(cell.n)}, rank {cell.rank}{on}"

    grouped = groupby(shown, key=lambda cell: cell._replace(method=""))
    made = []
    for _, members in grouped:
        listed = list(members)
        made.append(Group(title(listed[0]), tuple(results.row(cell) for cell in listed)))
    return tuple(made)


def _budgets(results: Results, shown: Iterable[Cell]) -> tuple[tuple[str, str], ...]:
    """Return gradient steps and examples of every method's retraining and of every setting's fine-tuning."""
    spent: dict[str, set[Count]] = {}
    for cell in shown:
        for record in results.runs(cell):
            spent.setdefault(f"retraining, {cell.method}", set()).add(record.retraining)
            setting = f"fine-tuning by {cell.finetune}, n = {n_text(cell.n)}"
            spent.setdefault(setting, set()).add(record.fine_tuning)
    return tuple(
        (name, count(sorted(found))) for name, found in sorted(spent.items(), key=lambda item: item[0][0:1] != "r")
    )


def _effects(results: Results) -> tuple[tuple[str, tuple[Effect, ...]], ...]:
    tables: dict[str, list[Effect]] = {}
    for cell in results.cells:
        found = results.compare(cell, cell._replace(quirks=())) if cell.quirks else None
        if found is not None:
            line = Effect(
                cell.quirks,
                cell.method,
                latest(found),
                interval(found.everything),
                points(found.best),
                len(found.seeds),
            )
            title = f"fine-tuning by {cell.finetune}, n = {n_text(cell.n)}, rank {cell.rank}"
            tables.setdefault(title, []).append(line)
    return tuple((title, tuple(lines)) for title, lines in tables.items())


def _notes(results: Results, failures: Sequence[Failure]) -> tuple[str, ...]:
    notes = []
    if len(results.seeds) == 1:
        notes.append("One seed only: there is no interval over seeds, and a difference may be chance")
    uneven = {len(results.row(cell).seeds) for cell in results.cells}
    if len(uneven) > 1:
        notes.append(
            f"Lines have from {min(uneven)} to {max(uneven)} seeds; differences are over the seeds that both sides have"
        )
    if failures:
        notes.append(f"{len(failures)} of the jobs failed and are missing, see below")
    return tuple(notes)
