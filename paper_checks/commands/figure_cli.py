"""The commands `loraml figure` and `loraml rates`: options in, work out, as in `paper_checks.cli`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from paper_checks.commands import figure_commands, shallow_commands

Work: TypeAlias = Callable[[], tuple[int, str]]

figures = typer.Typer(help="Reproduce the paper's figures.")

Engine = Annotated[str, typer.Option(metavar="auto|cpu|torch|cupy", help="What computes.")]
Seed = Annotated[str, typer.Option("--seed", metavar="S", help="Root of every random number.")]


def register(app: typer.Typer) -> None:
    """Add both commands to `loraml`."""
    app.add_typer(figures, name="figure")
    app.command()(rates)


@figures.callback()
def _figures() -> None:
    pass


@figures.command()
def linear(
    vary: Annotated[str, typer.Option(metavar="d|T|N|n|k|all", help="What varies; `all` makes five figures.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for pictures and CSV.")] = (
        figure_commands.DEFAULT_FIGURES
    ),
    variant: Annotated[
        str, typer.Option(metavar="paper|reference", help="The paper's quantity, or that of its public code.")
    ] = "paper",
    engine: Engine = "auto",
    device: Annotated[str | None, typer.Option(metavar="DEVICE", help="Where, such as cpu or cuda.")] = None,
    seed: Seed = "0",
) -> Work:
    """Draw test error against fine-tuning iteration, as the paper does and with theory beside it."""
    return partial(
        figure_commands.linear_figure, vary=vary, out=out, variant=variant, engine=engine, device=device, seed=seed
    )


@figures.command()
def shallow(
    vary: Annotated[str, typer.Option(metavar="d|T|N|n|k|all", help="What varies; `all` makes five figures.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for pictures, CSV and kept results.")] = (
        figure_commands.DEFAULT_FIGURES
    ),
    variant: Annotated[
        str,
        typer.Option(metavar="paper|reference", help="Error on fresh inputs, or the public code's in-sample error."),
    ] = "paper",
    runs: Annotated[str, typer.Option(metavar="R", help="Repetitions, each with a truth of its own.")] = "10",
    solver: Annotated[
        str, typer.Option(metavar="adamw|second-order", help="Of retraining: the paper's, or the best of several ends.")
    ] = "adamw",
    epochs: Annotated[str, typer.Option(metavar="E", help="AdamW's steps of retraining.")] = "40000",
    tuning_epochs: Annotated[str, typer.Option(metavar="F", help="Steps of fine-tuning.")] = "15000",
    engine: Annotated[str, typer.Option(metavar="auto|cpu|torch", help="What computes.")] = "auto",
    device: Annotated[str | None, typer.Option(metavar="DEVICE", help="Where, such as cpu or cuda.")] = None,
    precision: Annotated[str, typer.Option(metavar="float32|float64", help="Of AdamW; errors are in float64.")] = (
        "float32"
    ),
    seed: Seed = "0",
) -> Work:
    """Retrain two-layer networks by both methods, fine-tune them, and draw their errors; run again, it goes on."""
    return partial(
        shallow_commands.shallow_figure,
        vary=vary,
        out=out,
        variant=variant,
        numbers={"runs": runs, "epochs": epochs, "tuning-epochs": tuning_epochs},
        solver=solver,
        descent={"engine": engine, "device": device, "precision": precision},
        seed=seed,
    )


def rates(
    folder: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="Folder of a sweep.")] = None,
    out: Annotated[Path, typer.Option(metavar="DIR2", help="Folder for slopes.json and pictures.")] = (
        figure_commands.DEFAULT_RATES
    ),
    default: Annotated[
        bool, typer.Option("--default", help="Run the sweep that ships into DIR (DIR2/sweep), then fit.")
    ] = False,
    statistic: Annotated[str, typer.Option(metavar="parameter|in-sample|base", help="The error to fit.")] = "parameter",
    margin: Annotated[str, typer.Option(metavar="M", help="Slopes this close are equivalent.")] = "0.03",
    alpha: Annotated[str, typer.Option(metavar="A", help="Error probability over all slopes.")] = "0.05",
    engine: Engine = "auto",
    seed: Annotated[str, typer.Option("--seed", metavar="S", help="Of the resampling.")] = "0",
) -> Work:
    """Fit errors against n, d, k, T and N, and say whether the slopes agree with theory."""
    return partial(
        figure_commands.rates,
        folder,
        out=out,
        default=default,
        statistic=statistic,
        numbers={"margin": margin, "alpha": alpha, "seed": seed},
        engine=engine,
    )
