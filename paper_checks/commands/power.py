"""`loraml power`: which differences an experiment could have seen, and the cheapest design that sees one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from loraml_theory.harness.errors import InputError
from paper_checks.commands import experiments
from paper_checks.commands.deferred import Exit, deferred
from paper_checks.commands.options import real, whole
from paper_checks.commands.output import rendered

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from realdata.experiments.power import Design, Power
    from realdata.experiments.wording import Scale

SEEDS = (2, 3, 5, 10, 20, 50)
EFFECTS = {True: 4.2, False: 0.3}
"""The difference that is to be seen if none is given, in percentage points, and in another unit."""


@deferred
def power(
    folder: experiments.Folder,
    effect: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            parser=real(above=0, at_most=1e6),
            help="The difference that is to be seen, in percentage points of a share, else in the unit of the score. "
            "Default: 4.2 points, or 0.3 in other units.",
            show_default=False,
        ),
    ] = None,
    probability: Annotated[
        float,
        typer.Option("--power", metavar="P", parser=real(above=0, at_most=0.99), help="The probability to see it."),
    ] = 0.8,
    cores: Annotated[int, typer.Option(metavar="C", parser=whole(1, 10**4), help="The cores that share the work.")] = 2,
) -> Exit:
    """State which differences between methods an experiment can detect at level 0.05, by seeds, tasks and cost.

    DIR is of loraml vision, language, retrain, continual, or figure shallow. 4.2 points is what the first version of
    the paper reports for LoRA-ML over standard retraining on ConvAI2; 0.3 powers of ten is a factor of two.
    """
    from realdata.experiments.wording import PERCENT

    found = _recorded(folder)
    if not found.powers:
        raise InputError(f"{folder}: has no two methods with a seed in common, of which one is {found.reference}")
    asked = Asked(EFFECTS[found.scale == PERCENT] if effect is None else effect, probability, cores)

    def show(console: Console) -> None:
        for one in found.powers:
            _show(console, one, found, asked)

    return 0, rendered(show)


class Asked(NamedTuple):
    """What is to be seen, with which probability, by how many cores."""

    effect: float
    probability: float
    cores: int


class Recorded(NamedTuple):
    """What a folder's records say, the scale of their score, what a repetition and a task are, and the reference."""

    powers: Sequence[Power]
    scale: Scale
    reference: str
    repetition: str = "seed"
    task: str = "task"


def _recorded(folder: Path) -> Recorded:
    from paper_checks.evidence.shallow_runs import tables

    if tables(folder):
        return _shallow(folder)
    from realdata.experiments.folder import read_experiment

    if read_experiment(folder)["experiment"] == "continual":
        return _continual(folder)
    from realdata.experiments.power import powers
    from realdata.experiments.report import findings

    results = findings(folder).results
    return Recorded(list(powers(results)), results.scale, results.reference, task=results.unit)


def _continual(folder: Path) -> Recorded:
    from realdata.continual.power import chain_powers
    from realdata.continual.report import findings
    from realdata.continual.tables import REFERENCE
    from realdata.experiments.wording import PERCENT

    found = findings(folder)
    return Recorded(list(chain_powers(found.chains, found.document["score"])), PERCENT, REFERENCE)


def _shallow(folder: Path) -> Recorded:
    """Return what runs of the shallow network say, setting by setting; runs that diverged are left out."""
    import numpy as np

    from paper_checks.evidence.shallow_runs import read_shallow_runs
    from realdata.experiments.power import of_differences
    from realdata.experiments.wording import Scale

    found = []
    for axis, pairs in read_shallow_runs(folder).axes.items():
        for pair in pairs:
            differences = pair.differences[np.isfinite(pair.differences)]
            if len(differences):
                what = f"log10 of SR's test error over LoRA-ML's, {axis} = {pair.value}, rank {pair.rank}"
                found.append(of_differences(what, differences[:, None]))
    unit = "powers of ten"
    return Recorded(found, Scale(1, 3, unit, unit), "SR", repetition="run")


def _show(console: Console, found: Power, recorded: Recorded, asked: Asked) -> None:
    """Print the answer for one comparison first, then the variances, then a table of designs."""
    from rich.text import Text

    measured = f"{recorded.scale.signed(found.difference)} {recorded.scale.of_differences} measured"
    console.print(Text(f"{found.what}: {measured}", "bold"), soft_wrap=True)
    for sentence in _sentences(found, recorded, asked):
        console.print(Text(sentence), soft_wrap=True)
    if found.variances.seed is not None:
        console.print(_designs(found, recorded, asked))
    console.print()


def _sentences(found: Power, recorded: Recorded, asked: Asked) -> list[str]:
    scale, run, repetition = recorded.scale, found.run, recorded.repetition
    size = f"{asked.effect:g} {scale.of_differences}"
    cheapest = found.cheapest(asked.effect / scale.factor, power=asked.probability)
    if found.variances.seed is None:
        answer = f"One {repetition} was run, so the variance between {repetition}s is not known: run a second one."
    elif cheapest is None:
        answer = f"No design that was tried detects {size} with power {asked.probability:g}."
    else:
        tasks = f" × {cheapest.tasks} {recorded.task}s" if run.tasks > 1 else ""
        answer = f"To detect {size} with power {asked.probability:g} takes {cheapest.seeds} {repetition}s{tasks}"
        if found.seconds(cheapest):
            answer += f", about {_hours(found, cheapest, asked.cores)} on {_cores(asked.cores)}"
        answer += "."
    of_units = {}
    if found.unit is not None:
        of_units = {
            f"{found.unit}s": found.variances.example,
            f"{repetition}s within {'an' if found.unit == 'order' else 'a'} {found.unit}": found.variances.seed_example,
        }
    names = {
        f"{repetition}s": found.variances.seed,
        f"{recorded.task}s": found.variances.task,
        f"{repetition}s within a {recorded.task}": found.variances.seed_task,
        **of_units,
    }
    said = [f"{name} {scale.number(value**0.5)}" for name, value in names.items() if value is not None]
    several = f", {run.tasks} {recorded.task}s" if run.tasks > 1 else ""
    repetitions = f"{run.seeds} {repetition}{'s' if run.seeds > 1 else ''}"
    units = f", {run.examples:.0f} {found.unit}s each" if found.unit is not None else ""
    return [
        answer,
        f"Standard deviation of the difference between {', '.join(said)}; from {repetitions}{several}{units}.",
    ]


def _cores(count: int) -> str:
    return f"{count} core{'s' if count > 1 else ''}"


def _designs(found: Power, recorded: Recorded, asked: Asked) -> Table:
    """Return a table of designs with the tasks that were run, and twice as many where there are several."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    several, timed = found.run.tasks > 1, found.seconds(found.run) > 0
    tasks_column = [f"{recorded.task}s"] if several else []
    time_column = [f"time on {_cores(asked.cores)}"] if timed else []
    for name in (f"{recorded.repetition}s", *tasks_column, "detects", *time_column):
        table.add_column(name, justify="right", no_wrap=True)
    for tasks in (found.run.tasks, 2 * found.run.tasks) if several else (1,):
        for seeds in SEEDS:
            design = found.run._replace(seeds=seeds, tasks=tasks)
            least = found.detectable(design, power=asked.probability)
            words = [str(seeds), *([str(tasks)] if several else [])]
            time = [_hours(found, design, asked.cores)] if timed else []
            table.add_row(*words, "" if least is None else recorded.scale.number(least), *time)
    return table


def _hours(found: Power, design: Design, cores: int) -> str:
    minutes = found.seconds(design) / cores / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
