"""`loraml language`: the experiment on dialogues, its report, and the table of its tasks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loraml_theory.harness.errors import InputError, one_line
from paper_checks.commands import experiments
from paper_checks.commands.deferred import Exit, deferred
from paper_checks.commands.options import Formats, Width, listed
from paper_checks.commands.output import prepare_file, writing

if TYPE_CHECKING:
    from realdata.language.settings import LanguageSettings

Files = listed("names of files", Path)

app = typer.Typer()


@app.callback(invoke_without_command=True)
@deferred
def language(
    context: typer.Context,
    data: Annotated[
        Sequence[Path] | None,
        typer.Option(
            metavar="FILE,FILE…",
            parser=Files,
            help="Dialogues in the ParlAI format, such as ConvAI2; made-up dialogues if not given.",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="The encoder: a package, a folder, or a name on a hub.")
    ] = None,
    profile: experiments.Profile = "cpu",
    settings: experiments.SettingsFile = None,
    methods: experiments.Methods = None,
    finetune: experiments.Finetune = None,
    seeds: experiments.Seeds = None,
    axes: Annotated[
        Sequence[str] | None,
        typer.Option(
            metavar="rank",
            parser=listed("names of axes", str),
            help="Vary the rank over the values of axes.rank in the settings.",
        ),
    ] = None,
    device: experiments.Device = "auto",
    precision: experiments.Precision = "no",
    workers: experiments.Workers = None,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder for results; finished runs in it are not repeated.")
    ] = Path("reports/language"),
    example: experiments.Example = False,
) -> Exit:
    """Retrain on some personas to choose the true reply among twenty, and adapt to others; run it again to continue."""
    from realdata.experiments.options import Asked, wanted
    from realdata.experiments.runner import Request
    from realdata.language import settings as language_settings
    from realdata.language.experiment import LanguageSpec

    if example:
        return 0, language_settings.example(profile)
    if profile == "paper" and data is None:
        raise InputError("--profile: got paper, which is not for made-up dialogues; add --data FILE with ConvAI2")
    read = _settings("made" if data is None else profile, settings, model=model)
    asked = Asked(methods=methods, finetune=finetune, seeds=seeds, axes=axes)
    request = Request(
        LanguageSpec(read, tuple(data or ())),
        wanted(read.grid, read.axes, asked=asked, switches=()),
        device=device,
        precision=precision,
        workers=workers,
        command=context.obj,
    )
    experiments.require_extra()
    return experiments.carry_out(request, out)


@app.command()
@deferred
def report(folder: experiments.Folder, formats: Formats = ("png",), width: Width = None) -> Exit:
    """Rewrite the report of a folder, even if its experiment is not finished."""
    return experiments.write_report(folder, switches={}, formats=formats, width=width)


@app.command()
@deferred
def tasks(
    data: Annotated[
        Sequence[Path], typer.Option(metavar="FILE,FILE…", parser=Files, help="Dialogues in the ParlAI format.")
    ],
    out: Annotated[Path, typer.Option(metavar="FILE.csv", help="The table to write.")],
    settings: experiments.SettingsFile = None,
) -> Exit:
    """Write a table of the dialogues with their persona and role."""
    from realdata.language.experiment import assigned
    from realdata.language.parlai import read_dialogues
    from realdata.language.tasks_file import write_tasks

    prepare_file(out, inputs=[*data, *([] if settings is None else [settings])])
    read = _settings("cpu", settings)
    try:
        uses = assigned(read, read_dialogues(tuple(data)))
    except ValueError as problem:
        raise InputError(str(problem)) from None
    with writing(out):
        write_tasks(out, uses)
    by_role = {role: len({use.task for use in uses if use.role == role}) for role in ("retraining", "test", "unused")}
    return 0, (
        f"{one_line(str(out))}: {len(uses)} dialogues of {sum(by_role.values())} personas, {by_role['retraining']} to "
        f"retrain on, {by_role['test']} to test on\n"
    )


def _settings(profile: str, path: Path | None, *, model: str | None = None) -> LanguageSettings:
    from loraml_theory.harness.input_files import read_toml
    from loraml_theory.harness.settings import overlaid
    from realdata.language.settings import settings

    changes = read_toml(path) if path is not None else {}
    if model is not None:
        changes = overlaid(changes, {"model": {"name": model}})
    with experiments.settings_of(path):
        return settings(profile, changes)
