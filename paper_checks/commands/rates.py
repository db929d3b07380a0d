"""`loraml rates`: fit errors against sizes, and compare the slopes with theory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from loraml_theory.harness.errors import InputError, one_line
from paper_checks.commands.deferred import Exit, deferred
from paper_checks.commands.options import Engine, Formats, Width, one_of, real, whole
from paper_checks.commands.output import prepare_folder, rendered, writing
from paper_checks.commands.progress import computing, shown_chunks
from paper_checks.commands.sweep import require_pyarrow

if TYPE_CHECKING:
    from rich.console import Console

    from sims.rates.fits import Criteria, Rate

MARKS = {"agrees": "✓", "differs": "✗", "undecided": "?"}
MOST_PROCESSES = 8

Statistic = Literal["parameter", "in-sample", "base"]


@deferred
def rates(
    folder: Annotated[Path | None, typer.Argument(metavar="DIR", help="The folder of a sweep.")] = None,
    out: Annotated[Path, typer.Option(metavar="DIR2", help="The folder for slopes.json and pictures.")] = Path(
        "reports/rates"
    ),
    default: Annotated[
        bool,
        typer.Option("--default", help="First run the packaged sweep, in DIR, or in DIR2/sweep without DIR."),
    ] = False,
    statistic: Annotated[Statistic, one_of(Statistic, "The error to fit.")] = "parameter",
    margin: Annotated[
        float,
        typer.Option(metavar="M", parser=real(above=0, at_most=10), help="Slopes that differ by less are equivalent."),
    ] = 0.03,
    alpha: Annotated[
        float,
        typer.Option(metavar="A", parser=real(above=0, at_most=0.5), help="The error probability over all slopes."),
    ] = 0.05,
    engine: Engine = "auto",
    seed: Annotated[int, typer.Option(metavar="S", parser=whole(), help="The seed of the resampling.")] = 0,
    formats: Formats = ("png",),
    width: Width = None,
) -> Exit:
    """Fit errors against n, d, k, T and N, and test whether the slopes agree with theory.

    The exit status is 1 if a slope or a level differs from theory.
    """
    from loraml_theory.harness.plotting import Files, written_as
    from sims.rates.fits import Criteria

    if folder is None and not default:
        raise InputError("DIR: is missing, expected the folder of a sweep, or --default")
    criteria = Criteria(margin=margin, alpha=alpha, seed=seed)
    prepare_folder(out)
    require_pyarrow()
    source = folder or out / "sweep"
    if default:
        _run_default(source, engine)
    with writing(out), written_as(Files(tuple(formats), width)), computing() as progress:
        found = _fitted(source, out, statistic, criteria, progress)
    text = rendered(lambda console: _show(console, found, criteria))
    status = int(any("differs" in (rate.verdict, rate.level_verdict) for rate in found))
    return status, f"{text}{out / 'slopes.json'}: {len(found)} slopes\n"


def _fitted(source: Path, out: Path, statistic: str, criteria: Criteria, progress: Any) -> Sequence[Rate]:
    """Fit and write everything."""
    from sims.rates.fits import fit_rates, write_slopes
    from sims.rates.plots import write_pictures
    from sims.rates.tables import root_seed
    from sims.sweep.store import read_rows

    progress("reading rows")
    columns = read_rows(source)
    progress("fitting slopes")
    found = fit_rates(columns, root=root_seed(source), statistic=statistic, criteria=criteria)
    if not found:
        raise InputError(
            f"{one_line(str(source))}: no method has converged rows with a prediction at two values of n, d, k, T or N"
        )
    write_slopes(out / "slopes.json", found)
    progress("drawing")
    write_pictures(out, found, statistic=statistic)
    return found


def _run_default(folder: Path, engine: str) -> None:
    """Run the missing part of the default sweep on all cores."""
    from loraml_theory.harness.processes import cores
    from sims.rates.fits import default_spec
    from sims.sweep.executors import local
    from sims.sweep.running import run

    with writing(folder), local(min(cores(), MOST_PROCESSES)) as executor, shown_chunks() as progress:
        run(default_spec(), folder, engine=engine, executor=executor, progress=progress)


def _show(console: Console, found: Sequence[Rate], criteria: Criteria) -> None:
    """Print one line per slope, in 80 columns."""
    from rich.table import Table

    from loraml_theory.harness.plotting import decimals

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("method", "axis"):
        table.add_column(name)
    for name in ("slope", f"{100 * criteria.confidence:g} % interval", "theory", "power", "level"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    names = _names(found)
    for rate, name in zip(found, names, strict=True):
        row = rate.row()
        table.add_row(
            name,
            row["axis"],
            decimals(row["slope"]),
            f"\\[{', '.join(map(decimals, rate.interval))}]",
            decimals(row["predicted"]),
            f"{row['power']:.2f}",
            decimals(row["level"]) + ("" if rate.level_verdict == "agrees" else MARKS[rate.level_verdict]),
            f"{MARKS[rate.verdict]} {rate.verdict}",
        )
    console.print(table)
    for rate, name in zip(found, names, strict=True):
        if rate.verdict == "undecided":
            console.print(f"{name}, {rate.data.axis}: {_what_would_decide(rate)}")
    console.print(
        f"theory: slope of the predicted curve over the same points; agrees within {criteria.margin:g}\n"
        f"level: measured over predicted error, agrees within {criteria.level_margin:g} unless marked\n"
        f"error probability over all {len(found)} slopes: {criteria.alpha:g} (Holm)"
    )


def _what_would_decide(rate: Rate) -> str:
    """Say how many seeds would decide a slope, as an estimate."""
    now, margin = len(rate.data.table.errors), rate.criteria.margin
    if rate.would_decide is None:
        return f"{rate.data.unconverged} of {rate.data.rows} rows did not converge; more seeds would not decide"
    said = f"would show agreement within {margin:g} (if it holds, 4 times of 5)"
    return f"about {rate.would_decide} seeds, not {now}, {said}"


def _names(found: Sequence[Rate]) -> list[str]:
    """Return each rate's method, with what distinguishes it from the others in brackets."""
    groups = [rate.data.group for rate in found]
    telling = [key for key in groups[0] if key != "method" and len({group[key] for group in groups}) > 1]
    details = [[group[key] for key in telling if group[key] != "none"] for group in groups]
    return [
        group["method"] + (f" ({', '.join(words)})" if words else "")
        for group, words in zip(groups, details, strict=True)
    ]
