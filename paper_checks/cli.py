"""The command `loraml`: options in, one of `paper_checks.commands.common` out.

Typer only parses: each function here returns the work as a callable, which `main` runs outside of it. So what
Typer makes of interrupts, closed pipes and end-of-file errors, which differs between versions, plays no part.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from loraml_theory.harness.errors import InputError, one_line
from paper_checks.commands import advise as advise_command
from paper_checks.commands import atlas as atlas_command
from paper_checks.commands import certify as certify_command
from paper_checks.commands import common as commands
from paper_checks.commands import figure_cli
from paper_checks.commands import language as language_command
from paper_checks.commands import sweep as sweep_command
from paper_checks.commands import vision as vision_command

Work: TypeAlias = Callable[[], tuple[int, str]]

app = typer.Typer(
    help="Check the linear theory of meta-learning with low-rank adaptations, claim by claim.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
figure_cli.register(app)
atlas_command.register(app)
certify_command.register(app)
vision_command.register(app)
language_command.register(app)
advise_command.register(app)

Seed = Annotated[str, typer.Option("--seed", metavar="S", help="Root of every random number.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        from loraml_theory.harness.versions import version

        typer.echo(f"loraml {version('loraml-theory')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def verify(
    context: typer.Context,
    structure: Annotated[
        Path | None,
        typer.Option(metavar="FILE.npz", help="Check this structure (A_star, U_star) instead of drawn ones."),
    ] = None,
    claim: Annotated[
        str | None, typer.Option(metavar="ID,ID…", help="Check these claims only; see `loraml claims`.")
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Take the structure's floats as they stand, for exact evidence.")
    ] = False,
    records: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Check the claims on experiments by the records of this one; repeatable."),
    ] = None,
    mutants: Annotated[
        bool, typer.Option("--mutants", help="Try the checks on wrong formulas too: each must be noticed.")
    ] = False,
    profile: Annotated[str, typer.Option(metavar="quick|full", help="How much work to do.")] = "quick",
    seed: Seed = "0",
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for verdicts.json and report.html.")
    ] = commands.DEFAULT_OUT,
    as_json: Annotated[bool, typer.Option("--json", help="Print verdicts.json instead of a table.")] = False,
    engine: Annotated[
        str, typer.Option(metavar="auto|cpu|torch|cupy", help="What computes the checks at scale of --profile full.")
    ] = "auto",
    device: Annotated[str | None, typer.Option(metavar="DEVICE", help="Where, such as cpu or cuda.")] = None,
) -> Work:
    """Check the claims; write verdicts.json and report.html."""
    return partial(
        commands.verify,
        structure=structure,
        claim=claim,
        records=records or (),
        profile=profile,
        seed=seed,
        out=out,
        as_json=as_json,
        engine=engine,
        device=device,
        exact=exact,
        mutants=mutants,
        command=context.obj,
    )


@app.command()
def claims(
    ids: Annotated[
        str | None, typer.Argument(metavar="[ID,ID…]", help="Show these in full, with their controls.")
    ] = None,
) -> Work:
    """List the claims with their statements, assumptions and sources."""
    return partial(commands.claims, ids)


@app.command()
def structure(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="What to draw; see the README.")],
    out: Annotated[Path, typer.Option(metavar="FILE.npz", help="The file to write.")],
    d: Annotated[str, typer.Option("--d", metavar="N", help="Dimension.")] = "10",
    k: Annotated[str, typer.Option("--k", metavar="N", help="Rank of each task's shift.")] = "1",
    T: Annotated[str, typer.Option("--T", metavar="N", help="Retraining tasks; the test task is one more.")] = "3",
    seed: Seed = "0",
) -> Work:
    """Draw a structure and write it to a file that `verify --structure` reads."""
    return partial(commands.structure, kind, sizes={"d": d, "k": k, "T": T}, seed=seed, out=out)


@app.command()
def sweep(
    spec: Annotated[
        Path | None, typer.Argument(metavar="SPEC.toml", help="What to simulate; --example shows one.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for rows.parquet; goes on with what is missing.")
    ] = None,
    engine: Annotated[str, typer.Option(metavar="auto|cpu|torch|cupy", help="What computes.")] = "auto",
    device: Annotated[str | None, typer.Option(metavar="DEVICE", help="Where, such as cpu or cuda.")] = None,
    executor: Annotated[str, typer.Option(metavar="local|dask", help="This machine, or a Dask cluster.")] = "local",
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Dask scheduler; a cluster of this machine if not given.")
    ] = None,
    workers: Annotated[
        str | None, typer.Option(metavar="W", help="Processes on this machine; 1, or with dask one a core.")
    ] = None,
    example: Annotated[bool, typer.Option("--example", help="Print a spec that documents every key.")] = False,
) -> Work:
    """Simulate the cells of a spec; killed and run again, it goes on."""
    return partial(
        sweep_command.sweep,
        spec,
        out=out,
        engine=engine,
        device=device,
        executor=executor,
        scheduler=scheduler,
        workers=workers,
        example=example,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `loraml` and exit: 0 well, 1 a theorem refuted or a control of one not, 2 bad input, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        status, text = _parse(words)()
        _print(text)
    except InputError as problem:
        status = _complain(f"error: {problem}", status=2)
    except KeyboardInterrupt:
        status = _complain("interrupted", status=130)
    sys.exit(status)


def _parse(words: Sequence[str]) -> Work:
    command = one_line(shlex.join(["loraml", *words]))
    try:
        parsed = app(list(words), prog_name="loraml", standalone_mode=False, obj=command)
    except Exception as problem:
        # Typer's usage errors have no public base class in all versions; what they share is this method.
        if not hasattr(problem, "format_message"):
            raise
        path = getattr(getattr(problem, "ctx", None), "command_path", "loraml")
        raise InputError(f"{problem.format_message().rstrip('.')}; see `{path} --help`") from None
    return parsed if callable(parsed) else lambda: (int(parsed or 0), "")


def _print(text: str) -> None:
    if sys.stdout is None:  # closed by the caller
        return
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as problem:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at exit
        if not isinstance(problem, BrokenPipeError):  # a reader that has seen enough is no error
            raise InputError(f"standard output: cannot be written ({problem.strerror})") from None


def _complain(text: str, *, status: int) -> int:
    if sys.stderr is not None:
        sys.stderr.write(f"loraml: {one_line(text)}\n")
    return status
