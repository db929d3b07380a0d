"""What `loraml figure` and `loraml rates` do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from threadpoolctl import threadpool_limits

from loraml_theory.harness.errors import InputError, one_line
from paper_checks.commands import common as commands
from paper_checks.commands import sweep as sweep_command

if TYPE_CHECKING:
    from rich.console import Console

    from sims.rates.fits import Criteria, Rate

MARKS = {"agrees": "✓", "differs": "✗", "undecided": "?"}
MOST_PROCESSES = 8
DEFAULT_FIGURES, DEFAULT_RATES = Path("reports/figures"), Path("reports/rates")


def linear_figure(*, vary: str, out: Path, variant: str, engine: str, device: str | None, seed: str) -> tuple[int, str]:
    """Reproduce one of the paper's linear figures, or all."""
    from sims.engines import get
    from sims.linear.figures import linear_figure as write
    from sims.linear.settings import VALUES, VARIANTS

    if vary not in (*VALUES, "all"):
        raise InputError(f"--vary: got {vary!r}, expected {', '.join(VALUES)} or all")
    if variant not in VARIANTS:
        raise InputError(f"--variant: got {variant!r}, expected {' or '.join(VARIANTS)}")
    root = commands.whole_number("--seed", seed)
    commands.prepare_folder(out)
    lines = []
    with refusing(out), commands.shown_progress() as progress, threadpool_limits(limits=1, user_api="blas"):
        runner = get(engine, device)
        for axis in VALUES if vary == "all" else (vary,):
            began = perf_counter()
            paths = write(axis, out, runner, variant=variant, seed=root, progress=progress)
            lines.append(f"{', '.join(map(str, paths))}: {perf_counter() - began:.1f} s, engine {runner.name}\n")
    return 0, "".join(lines)


def rates(
    folder: Path | None, *, out: Path, default: bool, statistic: str, numbers: dict[str, str], engine: str
) -> tuple[int, str]:
    """Fit the rates of a sweep, or of the default one, which is run where it is not there yet.

    The status is 1 where a slope or a level differs from its prediction.
    """
    from sims.rates.tables import STATISTICS

    if folder is None and not default:
        raise InputError("DIR: is missing, expected the folder of a sweep, or --default")
    if statistic not in STATISTICS:
        raise InputError(f"--statistic: got {statistic!r}, expected {', '.join(STATISTICS)}")
    criteria = _criteria(numbers)
    commands.prepare_folder(out)
    sweep_command.require_pyarrow()
    source = folder or out / "sweep"
    if default:
        _run_default(source, engine)
    with refusing(out), commands.shown_progress() as progress, threadpool_limits(limits=1, user_api="blas"):
        found = _fitted(source, out, statistic, criteria, progress)
    text = commands.rendered(lambda console: _show(console, found, criteria))
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
    """Run what is missing of the default sweep, on all cores."""
    from loraml_theory.harness.processes import cores
    from sims.rates.fits import default_spec
    from sims.sweep.executors import local
    from sims.sweep.running import run

    with refusing(folder), local(min(cores(), MOST_PROCESSES)) as executor, sweep_command.shown_progress() as progress:
        run(default_spec(), folder, engine=engine, executor=executor, progress=progress)


def _criteria(numbers: dict[str, str]) -> Criteria:
    from sims.rates.fits import Criteria

    bounds = {"margin": (0.0, 10.0), "alpha": (0.0, 0.5)}
    values: dict[str, float] = {}
    for name, (low, high) in bounds.items():
        try:
            values[name] = float(numbers[name])
        except ValueError:
            values[name] = -1.0
        if not low < values[name] <= high:
            raise InputError(f"--{name}: got {numbers[name]!r}, expected a number above {low:g}, at most {high:g}")
    root = commands.whole_number("--seed", numbers["seed"])
    return Criteria(margin=values["margin"], alpha=values["alpha"], seed=root)


@contextmanager
def refusing(out: Path) -> Iterator[None]:
    """Put what the disk refuses in one line; it names `out` if it names no file."""
    try:
        yield
    except OSError as problem:
        raise InputError(f"{problem.filename or out}: {problem.strerror or problem}") from None


def _show(console: Console, found: Sequence[Rate], criteria: Criteria) -> None:
    """Print one line a slope, in 80 columns."""
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
    console.print(
        f"theory: slope of the predicted curve over the same points; agrees within {criteria.margin:g}\n"
        f"level: measured over predicted error, agrees within {criteria.level_margin:g} unless marked\n"
        f"error probability over all {len(found)} slopes: {criteria.alpha:g} (Holm)"
    )


def _names(found: Sequence[Rate]) -> list[str]:
    """Return each rate's method, with what else tells it from the others' in brackets."""
    groups = [rate.data.group for rate in found]
    telling = [key for key in groups[0] if key != "method" and len({group[key] for group in groups}) > 1]
    details = [[group[key] for key in telling if group[key] != "none"] for group in groups]
    return [
        group["method"] + (f" ({', '.join(words)})" if words else "")
        for group, words in zip(groups, details, strict=True)
    ]
