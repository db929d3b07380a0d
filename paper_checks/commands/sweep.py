"""`loraml sweep`: simulate the cells of a spec."""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from loraml_theory.harness.errors import InputError, install
from paper_checks.commands.deferred import Exit, deferred
from paper_checks.commands.options import Device, Engine, one_of, whole
from paper_checks.commands.output import writing
from paper_checks.commands.progress import shown_chunks

if TYPE_CHECKING:
    from sims.sweep.executors import Executor

ExecutorName = Literal["local", "dask"]


@deferred
def sweep(
    spec: Annotated[
        Path | None, typer.Argument(metavar="SPEC.toml", help="The spec of the sweep; --example prints such a file.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder for rows.parquet; only missing rows are computed.")
    ] = None,
    engine: Engine = "auto",
    device: Device = None,
    executor: Annotated[ExecutorName, one_of(ExecutorName, "Compute on this machine, or on a Dask cluster.")] = "local",
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="The Dask scheduler; if not given, a cluster is started on this machine."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="W",
            parser=whole(1, 9999),
            help="The number of processes on this machine: 1 if not given, with dask one per core.",
        ),
    ] = None,
    example: Annotated[bool, typer.Option("--example", help="Print a spec that documents every key.")] = False,
) -> Exit:
    """Simulate the cells of a spec; if it is interrupted, run it again to continue."""
    from sims.sweep import spec as specs

    if example:
        return 0, specs.example()
    if spec is None or out is None:
        raise InputError(f"{'SPEC.toml' if spec is None else '--out'}: is missing; see `loraml sweep --help`")
    require_pyarrow()
    from sims.sweep.running import run

    wanted = specs.read(spec)
    with writing(out), _executor(executor, scheduler, workers) as where, shown_chunks() as progress:
        new = run(wanted, out, engine=engine, device=device, executor=where, progress=progress)
    return 0, _summary(out, new)


def require_pyarrow() -> None:
    """Raise `InputError` that says how to install pyarrow, unless it is installed."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise InputError(f"sweeps need pyarrow: {install('sims')}") from None


def _executor(name: ExecutorName, scheduler: str | None, workers: int | None) -> AbstractContextManager[Executor]:
    from sims.sweep import executors

    if scheduler is not None and (name != "dask" or workers is not None):
        raise InputError("--scheduler: expected --executor dask, and no --workers")
    return executors.dask(scheduler, workers) if name == "dask" else executors.local(workers or 1)


def _summary(out: Path, new: int) -> str:
    from sims.sweep.store import read_table

    with writing(out):
        table = read_table(out)
    ended = Counter(table["status"].to_pylist())
    counts = ", ".join(f"{count} {status}" for status, count in sorted(ended.items()))
    return f"{out / 'rows.parquet'}: {table.num_rows} rows ({counts}); {new} chunks computed now\n"
