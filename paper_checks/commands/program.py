"""The commands of `loraml` in the order a newcomer needs them, and how its words are read.

Typer only parses: each command returns its work as a callable, which `paper_checks.cli` runs outside of Typer, whose
treatment of interrupts, closed pipes and end-of-file errors differs between versions.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from loraml_theory.harness.errors import InputError, one_line
from paper_checks.commands import certify, continual, figure, language, records, vision
from paper_checks.commands.advise import advise
from paper_checks.commands.atlas import atlas
from paper_checks.commands.claims import claims
from paper_checks.commands.deferred import Work
from paper_checks.commands.landscape import landscape
from paper_checks.commands.power import power
from paper_checks.commands.rates import rates
from paper_checks.commands.retrain import retrain
from paper_checks.commands.structure import structure
from paper_checks.commands.sweep import sweep
from paper_checks.commands.verify import verify

PANELS: dict[str, dict[str, Any]] = {
    "Check": {"verify": verify, "claims": claims, "structure": structure, "certify": certify.app},
    "Simulate": {"sweep": sweep, "rates": rates, "figure": figure.app, "atlas": atlas, "landscape": landscape},
    "Real models": {
        "retrain": retrain,
        "advise": advise,
        "vision": vision.app,
        "language": language.app,
        "continual": continual.app,
        "power": power,
        "records": records.app,
    },
}
"""The commands and groups of commands by purpose."""
INTERRUPTED = 130


class InOrder(TyperGroup):
    """A group that lists its commands as `PANELS` does; Typer lists groups after commands."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """Return the names of all commands."""
        return [name for commands in PANELS.values() for name in commands]


app = typer.Typer(
    cls=InOrder,
    help="Check the theory of meta-learning with low-rank adaptations (LoRA-ML), simulate it, and apply it to models.",
    epilog="Examples:\n\n"
    "loraml verify: check every claim, and write a report to reports/verify\n\n"
    "loraml figure linear --vary T: draw a figure of the paper beside the theory",
    add_completion=False,
    pretty_exceptions_enable=False,
)
for panel, commands in PANELS.items():
    for name, command in commands.items():
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name, rich_help_panel=panel)
        else:
            app.command(name, rich_help_panel=panel)(command)


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


@cache
def _commands() -> Any:
    """Return Typer's command, made once: for a line of bad input this is most of the work."""
    return typer.main.get_command(app)


def parse(words: Sequence[str]) -> Work:
    """Return the work that the words after `loraml` ask for.

    Raises
    ------
    InputError
        If they ask for nothing that there is.
    KeyboardInterrupt
        Also where Typer takes it for an exit.
    """
    command = one_line(shlex.join(["loraml", *words]))
    try:
        parsed = _commands().main(list(words), prog_name="loraml", standalone_mode=False, obj=command)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except Exception as problem:
        # Typer's usage errors have no public base class in all versions, but they share this method.
        if not hasattr(problem, "format_message"):
            raise
        raise InputError(_in_our_form(problem)) from None
    if parsed == INTERRUPTED:  # by Typer, which says nothing
        raise KeyboardInterrupt
    return parsed if callable(parsed) else lambda: (int(parsed or 0), "")


def _in_our_form(problem: Any) -> str:
    """Return ``OPTION: got …, expected …`` for a value that our parsers refused, else Typer's message."""
    if isinstance(problem, typer.BadParameter) and problem.param is not None and problem.message.startswith("got "):
        return f"{problem.param.opts[0]}: {problem.message}"
    path = getattr(getattr(problem, "ctx", None), "command_path", "loraml")
    said = problem.format_message().replace("\n\t", " ").rstrip(".")  # Typer lists choices on several lines
    return f"{said}; see `{path} --help`"
