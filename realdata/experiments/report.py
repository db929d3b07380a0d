"""What an experiment's folder says, as a page, a CSV table, a Markdown table and pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple

from loraml_theory.harness.atomic import write_whole
from loraml_theory.harness.errors import InputError
from loraml_theory.harness.page import page as rendered
from loraml_theory.harness.plotting import Files, written_as
from realdata.experiments.drawing import LOOKS, Figure, svg, write_picture
from realdata.experiments.figures import figures, n_text
from realdata.experiments.folder import Failure, read_experiment, read_failures
from realdata.experiments.records import Record, read_records
from realdata.experiments.tables import REFERENCE, Results, Row, TableCell, csv_of
from realdata.experiments.wording import Scale, count, grouped, interval, latest, p_value, scale_of, selected, written
from realdata.peft_ml.budget import Count
from realdata.peft_ml.settings import ADAPTED

GUESSING = "guessing"
SPENT = ("steps / examples", "trained parameters", "ms a step")


class ReportError(InputError):
    """A folder of which there is nothing to report; the text is one line."""


class Group(NamedTuple):
    """The lines of one table that differ by method alone."""

    title: str
    rows: tuple[Row, ...]


class TaskLine(NamedTuple):
    """One line of a table by task: the task, its test examples, and the scores after the last epoch by method."""

    task: str
    examples: int
    last: Mapping[str, float]


class TaskTable(NamedTuple):
    """The tasks of one group of cells, with the methods that its lines have."""

    title: str
    methods: tuple[str, ...]
    lines: tuple[TaskLine, ...]


class Scored(NamedTuple):
    """All tables of one score.

    Parameters
    ----------
    title
        What the score is called.
    chance
        Its value for guessing.
    results
        The records.
    groups
        The main table, for each set of switches that was on.
    tasks
        The same by task; empty if there is a single one.
    """

    title: str
    chance: float
    results: Results
    groups: tuple[Group, ...]
    tasks: tuple[TaskTable, ...]

    @property
    def scale(self) -> Scale:
        """How it is written."""
        return self.results.scale

    @property
    def headings(self) -> tuple[str, ...]:
        """What stands above the texts of `cells`."""
        several, unit = len(self.results.tasks) > 1, f"{self.results.unit}s"
        against = self.results.reference
        first = ("before", "last epoch", "selected epoch", f"last − {against}")
        second = (f"with {unit if several else 'test examples'}", *([f"p, {unit}"] if several else []))
        return (*first, *second, f"selected − {against}")


class Spent(NamedTuple):
    """One line of the table of what jobs spend: gradient steps and examples, trained parameters, time of a step."""

    job: str
    steps: str
    parameters: str
    milliseconds: str


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
    scored
        The tables of every score, the main one first.
    budgets
        What each method's retraining, at each rank, and each setting's fine-tuning spent.
    effects
        By setting; empty unless runs with and without switches are there.
    failures
        What failed and has not succeeded since.
    notes
        Sentences that must not be overlooked.
    """

    document: Mapping[str, Any]
    scored: tuple[Scored, ...]
    budgets: tuple[Spent, ...]
    effects: tuple[tuple[str, tuple[Effect, ...]], ...]
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]

    @property
    def results(self) -> Results:
        """The records, by the main score."""
        return self.scored[0].results


def findings(folder: Path) -> Findings:
    """Read a folder.

    Raises
    ------
    InputError
        If it is no experiment's, or a file in it is damaged.
    ReportError
        If it has no complete run yet.
    """
    document = read_experiment(folder)
    records = read_records(folder)
    every = {
        name: (
            about,
            Results(
                records,
                score=name,
                unit=str(document["unit"]),
                first=name == document["score"],
                scale=scale_of(str(about.get("unit", ""))),
                reference=document.get("reference", REFERENCE),
            ),
        )
        for name, about in document["scores"].items()
    }
    results = every[document["score"]][1]
    failures = tuple(read_failures(folder))
    if not results.cells:
        failed = f": {failures[0].id}: {failures[0].what}" if failures else ""
        raise ReportError(f"{folder}: has no complete run yet{failed}")
    # with the axis of switches the table is of the runs without any: the others are compared with them below
    shown = [cell for cell in results.cells if cell.quirks == () or () not in results.quirks]
    return Findings(
        document=document,
        scored=tuple(_scored(about, own, shown) for about, own in every.values()),
        budgets=_budgets(results, shown),
        effects=_effects(results),
        failures=failures,
        notes=(*map(str, document["data"].get("notes", ())), *_notes(results, failures)),
    )


def write(folder: Path, *, switches: Mapping[str, tuple[str, str]], files: Files | None = None) -> Findings:
    """Write report.html, results.csv, results.md and the pictures into an experiment's folder; return what they say.

    Parameters
    ----------
    folder
        Of the experiment.
    switches
        What every switch of the reference code does, and what is done without it.
    files
        Formats and width of the pictures beside the page, which holds its own; PNG of their own width if not given.

    Raises
    ------
    InputError
        If the pictures' text would be too small at that width; and see `findings`.
    OSError
        If something cannot be written.
    """
    found = findings(folder)
    drawn = figures(found.results)
    texts = {
        "results.csv": csv_of(found.results.records, scores=list(found.document["scores"])),
        "results.md": markdown(found),
        "report.html": page(found, drawn, switches=switches),
    }
    with written_as(files or Files()):
        for figure in drawn:
            write_picture(figure, folder / f"{figure.name}.png")
    for name, text in texts.items():
        write_whole(folder / name, text)
    return found


def page(found: Findings, drawn: Sequence[Figure], *, switches: Mapping[str, tuple[str, str]]) -> str:
    """Return the page; everything is in it, and every text in it is escaped."""
    results = found.results
    methods = list(dict.fromkeys(cell.method for cell in results.cells))
    values = {
        "found": found,
        "document": found.document,
        "results": results,
        "GUESSING": GUESSING,
        "SPENT": SPENT,
        "guessed": guessed,
        "cells": cells,
        "methods": [(method, LOOKS[method]) for method in methods],
        "figures": [(figure, [(panel.title, svg(panel)) for panel in figure.panels]) for figure in drawn],
        "switches": [
            (name, *switches.get(name, ("", ""))) for name in sorted({q for on in results.quirks for q in on})
        ],
        "runs": len(results.records),
        "several": len(results.tasks) > 1,
    }
    return rendered("realdata.experiments", "report.html.j2", values, filters={"joined": ", ".join})


def cells(row: Row, scored: Scored) -> list[str]:
    """Return the texts of a line of a main table, under `Scored.headings`."""
    compared, scale = row.compared, scored.scale
    several = len(scored.results.tasks) > 1
    return [
        *(written(value, scale) for value in (row.before, row.last, row.best)),
        latest(compared, scale) if compared else "",
        interval(compared.everything, scale) if compared else "",
        *([p_value(compared.sign_flip) if compared else ""] if several else []),
        selected(compared, scale) if compared else "",
    ]


def guessed(scored: Scored) -> list[str]:
    """Return the texts of the line of guessing, under `Scored.headings`."""
    level = scored.scale.number(scored.chance)
    return [level, level, level, *[""] * (len(scored.headings) - 3)]


def markdown(found: Findings) -> str:
    """Return the main tables, and those by task, in Markdown; notes come first."""
    lines = [line for note in found.notes for line in (f"{note}.", "")]
    for scored in found.scored:
        for group in scored.groups:
            lines += [f"**{scored.title}, {group.title}**", ""]
            lines += _markdown_row("method", "seeds", *scored.headings)
            lines += ["| --- " * (len(scored.headings) + 2) + "|"]
            lines += _markdown_row(GUESSING, "", *guessed(scored))
            for row in group.rows:
                lines += _markdown_row(row.cell.method, str(len(row.seeds)), *cells(row, scored))
            lines.append("")
        for table in scored.tasks:
            lines += [f"**{scored.title} after the last epoch by {scored.results.unit}, {table.title}**", ""]
            lines += _markdown_row(scored.results.unit, "test examples", *table.methods)
            lines += ["| --- " * (len(table.methods) + 2) + "|"]
            for line in table.lines:
                texts = [scored.scale.number(line.last[method]) for method in table.methods]
                lines += _markdown_row(line.task, str(line.examples), *texts)
            lines.append("")
    lines += [*_markdown_row("of one run", *SPENT), "| --- " * (len(SPENT) + 1) + "|"]
    lines += [text for spent in found.budgets for text in _markdown_row(*spent)]
    return "\n".join([*lines, ""])


def _markdown_row(*texts: str) -> list[str]:
    return [f"| {' | '.join(texts)} |"]


def switched(quirks: Sequence[str]) -> str:
    """Name a set of switches.

    Examples
    --------
    >>> switched(("warm-start",)), switched(("augment-once", "warm-start"))
    ('with warm-start', 'with 2 switches')
    """
    return f"with {quirks[0]}" if len(quirks) == 1 else f"with {len(quirks)} switches"


def _scored(about: Mapping[str, Any], results: Results, shown: Sequence[TableCell]) -> Scored:
    groups = _groups(results, shown)
    tasks = tuple(_by_task(results, group) for group in groups) if len(results.tasks) > 1 else ()
    return Scored(str(about["title"]), float(about["chance"]), results, groups, tasks)


def _by_task(results: Results, group: Group) -> TaskTable:
    last = {row.cell.method: results.by_task(row.cell, "last") for row in group.rows}
    examples = {record.key.task: len(record.correct) for record in results.records}
    lines = (
        TaskLine(task, examples[task], {method: found[task] for method, found in last.items()})
        for task in results.tasks
    )
    return TaskTable(group.title, tuple(last), tuple(lines))


def _groups(results: Results, shown: Iterable[TableCell]) -> tuple[Group, ...]:
    def title(cell: TableCell) -> str:
        on = f", {switched(cell.quirks)}" if cell.quirks else ""
        return f"fine-tuning by {cell.finetune}, n = {n_text(cell.n)}, rank {cell.rank}{on}"

    grouped = groupby(shown, key=lambda cell: cell._replace(method=""))
    made = []
    for _, members in grouped:
        listed = list(members)
        made.append(Group(title(listed[0]), tuple(results.row(cell) for cell in listed)))
    return tuple(made)


def _budgets(results: Results, shown: Sequence[TableCell]) -> tuple[Spent, ...]:
    """Return what every method's retraining and every setting's fine-tuning spent.

    The time of a step is the median over runs of a job's seconds, evaluation included, by its gradient steps.
    """
    retraining: dict[str, list[Record]] = {}
    fine_tuning: dict[str, list[Record]] = {}
    ranks = {cell.rank for cell in shown}
    for cell in shown:
        rank = f", rank {cell.rank}" if cell.method in ADAPTED and len(ranks) > 1 else ""
        retraining.setdefault(f"retraining, {cell.method}{rank}", []).extend(results.runs(cell))
        fine_tuning.setdefault(f"fine-tuning by {cell.finetune}, n = {n_text(cell.n)}", []).extend(results.runs(cell))
    return (
        *(_spent(job, runs, "retraining", "retraining_seconds") for job, runs in retraining.items()),
        *(_spent(job, runs, "fine_tuning", "seconds") for job, runs in fine_tuning.items()),
    )


def _spent(job: str, runs: Sequence[Record], phase: Literal["retraining", "fine_tuning"], seconds: str) -> Spent:
    counts: list[Count] = [getattr(run, phase) for run in runs]
    times = [
        1000 * run.provenance[seconds] / spent.gradient_steps
        for run, spent in zip(runs, counts, strict=True)
        if spent.gradient_steps and seconds in run.provenance
    ]
    parameters = [run.provenance.get("retraining_parameters") for run in runs] if phase == "retraining" else []
    return Spent(
        job,
        count(sorted(set(counts))),
        ", ".join(grouped(number) for number in sorted({number for number in parameters if number})),
        f"{median(times):.{0 if median(times) >= 100 else 1}f}" if times else "",
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
                selected(found),
                len(found.seeds),
            )
            title = f"fine-tuning by {cell.finetune}, n = {n_text(cell.n)}, rank {cell.rank}"
            tables.setdefault(title, []).append(line)
    return tuple((title, tuple(lines)) for title, lines in tables.items())


def _notes(results: Results, failures: Sequence[Failure]) -> tuple[str, ...]:
    notes = []
    if len(results.seeds) == 1:
        over = "" if results.spread == "seeds" else f"; standard errors and intervals are over {results.spread}"
        notes.append(f"One seed only: there is no interval over seeds, and a difference may be chance{over}")
    uneven = {len(results.row(cell).seeds) for cell in results.cells}
    if len(uneven) > 1:
        notes.append(
            f"Lines have from {min(uneven)} to {max(uneven)} seeds; differences are over the seeds that both sides have"
        )
    if failures:
        notes.append(f"{len(failures)} of the jobs failed and are missing, see below")
    return tuple(notes)
