"""`loraml figure`: the figures of the paper, of the linear model and the shallow network, and of chains of tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from paper_checks.commands.deferred import Exit, deferred
from paper_checks.commands.options import Device, Engine, Formats, Seed, Width, one_of, whole
from paper_checks.commands.output import prepare_folder, rendered, writing
from paper_checks.commands.progress import computing

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from sims.shallow.results import Result, Study

AxisName = Literal["d", "T", "N", "n", "k", "all"]
VariantName = Literal["paper", "reference"]
SolverName = Literal["adamw", "second-order"]
DescentName = Literal["auto", "cpu", "torch"]
PrecisionName = Literal["float32", "float64"]

Axis = Annotated[AxisName, one_of(AxisName, "What varies; `all` draws five figures.")]
Steps = whole(1, 10**9)
DEFAULT_OUT = Path("reports/figures")

app = typer.Typer(help="Reproduce the figures of the paper, and draw those of chains of tasks.")


@app.command()
@deferred
def linear(
    vary: Axis,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder for pictures and CSV files.")] = DEFAULT_OUT,
    variant: Annotated[
        VariantName, one_of(VariantName, "Show the paper's quantity, or that of its public code.")
    ] = "paper",
    engine: Engine = "auto",
    device: Device = None,
    seed: Seed = 0,
    formats: Formats = ("png",),
    width: Width = None,
) -> Exit:
    """Draw test error against fine-tuning iteration, as in the paper, and compare it with theory."""
    from loraml_theory.harness.plotting import Files, written_as
    from sims.engines import get
    from sims.linear.figures import linear_figure
    from sims.linear.settings import VALUES

    prepare_folder(out)
    lines = []
    with writing(out), written_as(Files(tuple(formats), width)), computing() as progress:
        runner = get(engine, device)
        for axis in VALUES if vary == "all" else (vary,):
            began = perf_counter()
            paths = linear_figure(axis, out, runner, variant=variant, seed=seed, progress=progress)
            lines.append(f"{', '.join(map(str, paths))}: {perf_counter() - began:.1f} s, engine {runner.name}\n")
    return 0, "".join(lines)


@app.command()
@deferred
def shallow(
    vary: Axis,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder for pictures, CSV files and results.")
    ] = DEFAULT_OUT,
    variant: Annotated[
        VariantName, one_of(VariantName, "Show the error on fresh inputs, or the public code's in-sample error.")
    ] = "paper",
    runs: Annotated[
        int, typer.Option(metavar="R", parser=whole(1, 10_000), help="The number of repetitions, each on a new truth.")
    ] = 10,
    solver: Annotated[
        SolverName, one_of(SolverName, "How to retrain: as in the paper, or by taking the best of several descents.")
    ] = "adamw",
    epochs: Annotated[int, typer.Option(metavar="E", parser=Steps, help="AdamW's steps of retraining.")] = 40_000,
    tuning_epochs: Annotated[
        int, typer.Option(metavar="F", parser=Steps, help="The number of steps of fine-tuning.")
    ] = 15_000,
    engine: Annotated[
        DescentName, one_of(DescentName, "The engine; auto is torch on a CUDA device, else cpu.")
    ] = "auto",
    device: Device = None,
    precision: Annotated[
        PrecisionName, one_of(PrecisionName, "The precision of AdamW; errors are always computed in float64.")
    ] = "float32",
    seed: Seed = 0,
    formats: Formats = ("png",),
    width: Width = None,
) -> Exit:
    """Retrain two-layer networks by both methods, fine-tune them, and draw their errors; run it again to continue."""
    from loraml_theory.harness.plotting import Files, written_as
    from sims.shallow.descent import get
    from sims.shallow.results import Study
    from sims.shallow.settings import VALUES, ShallowCell

    prepare_folder(out)
    with writing(out), written_as(Files(tuple(formats), width)):
        runner = get(engine, device, precision=precision)
        study = Study(runner, seed=seed, runs=runs, folder=out, solver=solver)
        base = replace(ShallowCell(), epochs=epochs, tuning_epochs=tuning_epochs)
        axes = VALUES if vary == "all" else (vary,)
        return 0, "".join(_one(axis, out, study, variant=variant, base=base) for axis in axes)


@app.command()
@deferred
def continual(
    structures: Annotated[
        int, typer.Option(metavar="B", parser=whole(2, 10_000), help="The number of drawn structures.")
    ] = 100,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder for picture and CSV file.")] = DEFAULT_OUT,
    seed: Seed = 0,
    formats: Formats = ("png",),
    width: Width = None,
) -> Exit:
    """Draw what chains of tasks forget against learning rate and steps, theory over gradient descent."""
    from loraml_theory.harness.plotting import Files, written_as
    from sims.continual.figures import continual_figure

    prepare_folder(out)
    with writing(out), written_as(Files(tuple(formats), width)), computing() as progress:
        began = perf_counter()
        paths, text = continual_figure(out, structures=structures, seed=seed, progress=progress)
    return 0, f"{text}{', '.join(map(str, paths))}: {perf_counter() - began:.1f} s\n"


def _one(axis: str, out: Path, study: Study, **options: Any) -> str:
    """Make one figure, and return its summary."""
    from sims.shallow.figures import shallow_figure as write

    began = perf_counter()
    with computing() as progress:
        paths, found = write(axis, out, study, progress=progress, **options)
    text = rendered(lambda console: _show(console, found, study, options["variant"]))
    descent = study.descent
    seconds = f"{perf_counter() - began:.1f} s, engine {descent.name} on {descent.device}, {descent.precision}"
    return f"{text}{', '.join(map(str, paths))}: {seconds}\n"


def _show(console: Console, found: Sequence[Result], study: Study, variant: str) -> None:
    """Print one line per setting, and one for all: both medians, and their paired ratio."""
    import numpy as np
    from rich.table import Table

    from sims.shallow.settings import VARIANTS
    from sims.shallow.tables import median_interval, over_axis, paired, run_rows

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    pairs = paired(run_rows(found, study), column=VARIANTS[variant].column)
    for name in (found[0].vary, "rank", "LoRA-ML", "SR", "SR / LoRA-ML", "interval", "ahead in"):
        table.add_column(name, justify="right", no_wrap=True)
    for pair in pairs:
        medians = (f"{np.median(side):.3g}" for side in (pair.meta, pair.standard))
        table.add_row(str(pair.value), str(pair.rank), *medians, *_compared(pair.differences))
    table.add_row("all", "", "", "", *_compared(over_axis(pairs)))
    console.print(table)
    confidence = median_interval(pairs[0].differences).confidence
    quantity = VARIANTS[variant].column.replace("in_sample", "in-sample").replace("_", " ")
    console.print(
        f"medians over runs of the {quantity} after fine-tuning, and of its paired ratio; the interval\n"
        f"covers the latter with {100 * confidence:.3g} % for any distribution; all: geometric means over the settings",
        soft_wrap=True,
    )


def _compared(differences: np.ndarray) -> tuple[str, str, str]:
    """Return median ratio, interval, and number of runs in which LoRA-ML is ahead, from differences of logarithms."""
    from sims.shallow.tables import median_interval

    found = median_interval(differences)
    interval = f"\\[{10**found.low:.3g}, {10**found.high:.3g}]"
    return f"{10**found.median:.3g}", interval, f"{int((differences > 0).sum())} of {len(differences)}"
