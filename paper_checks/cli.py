"""The command `loraml`: options in, one of `paper_checks.commands` out.

Typer only parses: each function here returns the work as a callable, which `main` runs outside of it. So what Typer
makes of interrupts, closed pipes and end-of-file errors, which differs between versions, plays no part.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from loraml_theory.structure_file import one_line

Work: TypeAlias = Callable[[], int]

app = typer.Typer(
    help="Check the linear theory of meta-learning with low-rank adaptations, claim by claim.",
    add_completion=False,
    pretty_exceptions_enable=False,
)

Seed = Annotated[int, typer.Option("--seed", min=0, help="Root of every random number.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        from paper_checks.report.verdicts import version

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
    structure: Annotated[
        Path | None,
        typer.Option(metavar="FILE.npz", help="Check this structure instead of drawn ones: A_star (d, d), U_star (T+1, d, k)."),
    ] = None,
    claim: Annotated[
        str | None, typer.Option(metavar="ID,ID…", help="Check these claims only; see `loraml claims`.")
    ] = None,
    profile: Annotated[str, typer.Option(metavar="quick|full", help="How much work to do.")] = "quick",
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for verdicts.json and report.html.")] = Path("reports/verify"),
    as_json: Annotated[bool, typer.Option("--json", help="Print verdicts.json instead of the table.")] = False,
) -> Work:
    """Check the claims; write verdicts.json and report.html."""
    from paper_checks import commands

    return partial(
        commands.verify, structure=structure, claim=claim, profile=profile, seed=seed, out=out, as_json=as_json
    )


@app.command()
def claims(
    ids: Annotated[str | None, typer.Argument(metavar="[ID,ID…]", help="Show these in full, with their controls.")] = None,
) -> Work:
    """List the claims with their statements, assumptions and sources."""
    from paper_checks import commands

    return partial(commands.claims, ids)


@app.command()
def structure(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="What to draw; a wrong one names those that exist.")],
    out: Annotated[Path, typer.Option(metavar="FILE.npz", help="The file to write.")],
    d: Annotated[int, typer.Option("--d", help="Dimension.")] = 10,
    k: Annotated[int, typer.Option("--k", help="Rank of each task's shift.")] = 1,
    T: Annotated[int, typer.Option("--T", help="Number of retraining tasks; the test task is one more.")] = 3,
    seed: Seed = 0,
) -> Work:
    """Draw a structure and write it to a file that `verify --structure` reads."""
    from paper_checks import commands

    return partial(commands.structure, kind, d=d, k=k, T=T, seed=seed, out=out)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit: 0 all well, 1 a theorem refuted or a control not, 2 bad input, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = _run(words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        status = _complain("interrupted", 130)
    except BrokenPipeError:
        _silence_stdout()
        status = 0
    except OSError as problem:
        _silence_stdout()
        status = _complain(...)
    sys.exit(status)
