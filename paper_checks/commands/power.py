"""`loraml power`: which differences an experiment could have seen, and the cheapest design that sees one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

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
    from realdata.experiments.tables import Results

SEEDS = (2, 3, 5, 10, 20, 50)


@deferred
def power(
    folder: experiments.Folder,
    effect: Annotated[
        float,
        typer.Option(
            metavar="X",
            parser=real(above=0, at_most=1e6),
            help="The difference that is to be seen, in the unit of the score; in percentage points for a share.",
        ),
    ] = 4.2,
    probability: Annotated[
        float,
        typer.Option("--power", metavar="P", parser=real(above=0, at_most=0.99), help="The probability to see it."),
    ] = 0.8,
    cores: Annotated[int, typer.Option(metavar="C", parser=whole(1, 10**4), help="The cores that share the work.")] = 2,
) -> Exit:
    """State which differences between methods an experiment can detect at level 0.05, by seeds, tasks and cost.

    4.2 points is what the first version of the paper reports for LoRA-ML over standard retraining on ConvAI2.
    """
    from realdata.experiments.power import powers
    from realdata.experiments.report import findings

    results = findings(folder).results
    found = list(powers(results))
    if not found:
        raise InputError(f"{folder}: has no two methods with a seed in common, of which one is {results.reference}")

    def show(console: Console) -> None:
        for one in found:
            _show(console, one, results, effect=effect, probability=probability, cores=cores)

    return 0, rendered(show)


def _show(console: Console, found: Power, results: Results, *, effect: float, probability: float, cores: int) -> None:
    """Print the answer for one comparison first, then the variances, then a table of designs."""
    from rich.text import Text

    from realdata.experiments.figures import n_text

    cell, scale = found.cell, results.scale
    console.print(
        Text(
            f"{cell.method} − {found.reference}, fine-tuning by {cell.finetune}, n = {n_text(cell.n)}, "
            f"rank {cell.rank}: "
            f"{scale.signed(found.difference)} {scale.of_differences} measured",
            "bold",
        ),
        soft_wrap=True,
    )
    for sentence in _sentences(found, results, effect=effect, probability=probability, cores=cores):
        console.print(Text(sentence), soft_wrap=True)
    if found.variances.seed is not None:
        console.print(_designs(found, results, probability=probability, cores=cores))
    console.print()


def _sentences(found: Power, results: Results, *, effect: float, probability: float, cores: int) -> list[str]:
    scale, run = results.scale, found.run
    size = f"{effect:g} {scale.of_differences}"
    cheapest = found.cheapest(effect / scale.factor, power=probability)
    if found.variances.seed is None:
        answer = "One seed was run, so the variance between seeds is not known: run a second one."
    elif cheapest is None:
        answer = f"No design that was tried detects {size} with power {probability:g}."
    else:
        tasks = f" × {cheapest.tasks} {results.unit}s" if run.tasks > 1 else ""
        answer = (
            f"To detect {size} with power {probability:g} takes {cheapest.seeds} seeds{tasks}, about "
            f"{_hours(found, cheapest, cores)} on {cores} core{'s' if cores > 1 else ''}."
        )
    names = {
        "seeds": found.variances.seed,
        f"{results.unit}s": found.variances.task,
        f"seeds within a {results.unit}": found.variances.seed_task,
        "test examples": found.variances.example,
        "seeds within an example": found.variances.seed_example,
    }
    said = [f"{name} {scale.number(value**0.5)}" for name, value in names.items() if value is not None]
    several = f", {run.tasks} {results.unit}s" if run.tasks > 1 else ""
    seeds = f"{run.seeds} seed{'s' if run.seeds > 1 else ''}"
    return [
        answer,
        f"Standard deviation of the difference between {', '.join(said)}; "
        f"from {seeds}{several}, {run.examples:.0f} test examples each.",
    ]


def _designs(found: Power, results: Results, *, probability: float, cores: int) -> Table:
    """Return a table of designs with the tasks that were run, and twice as many where there are several."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    several = found.run.tasks > 1
    for name in ("seeds", *([f"{results.unit}s"] if several else []), "detects", f"time on {cores} cores"):
        table.add_column(name, justify="right", no_wrap=True)
    for tasks in (found.run.tasks, 2 * found.run.tasks) if several else (1,):
        for seeds in SEEDS:
            design = found.run._replace(seeds=seeds, tasks=tasks)
            least = found.detectable(design, power=probability)
            words = [str(seeds), *([str(tasks)] if several else [])]
            table.add_row(*words, "" if least is None else results.scale.number(least), _hours(found, design, cores))
    return table


def _hours(found: Power, design: Design, cores: int) -> str:
    minutes = found.seconds(design) / cores / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
