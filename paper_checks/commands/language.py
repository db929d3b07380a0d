"""`loraml language`, `loraml language report` and `loraml language tasks`: their options, and what they do."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from loraml_theory.harness.errors import InputError, one_line
from loraml_theory.harness.input_files import read_toml
from paper_checks.commands import experiment_command
from paper_checks.commands.common import prepare_file, writing
from paper_checks.commands.experiment_command import Device, Finetune, Methods, Precision, Seeds, Workers

if TYPE_CHECKING:
    from realdata.experiments.options import Texts
    from realdata.experiments.runner import Request
    from realdata.language.settings import LanguageSettings

Work: TypeAlias = Callable[[], tuple[int, str]]

DEFAULT_OUT = Path("reports/language")

Settings = Annotated[
    Path | None, typer.Option(metavar="FILE.toml", help="Keys that replace the profile's; see --example.")
]

app = typer.Typer(
    help="Choose the true reply among twenty: retrain on personas, adapt to others; killed and run again, it goes on."
)


def register(loraml: typer.Typer) -> None:
    """Add the command to `loraml`."""
    loraml.add_typer(app, name="language")


@app.callback(invoke_without_command=True)
def language(
    context: typer.Context,
    data: Annotated[
        str | None,
        typer.Option(metavar="FILE,FILE…", help="Dialogues in the ParlAI format, such as ConvAI2; else made-up ones."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="An encoder: a package, a folder, or a name on a hub.")
    ] = None,
    profile: Annotated[str, typer.Option(metavar="cpu|paper", help="Settings that ship.")] = "cpu",
    settings: Settings = None,
    methods: Methods = None,
    finetune: Finetune = None,
    seeds: Seeds = None,
    axes: Annotated[str | None, typer.Option(metavar="rank", help="Vary the rank, by the values of axes.rank.")] = None,
    device: Device = "auto",
    precision: Precision = "no",
    workers: Workers = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder; what it has is not run again.")] = DEFAULT_OUT,
    example: Annotated[bool, typer.Option("--example", help="Print the profile's settings, with every key.")] = False,
) -> Work | None:
    """Choose the true reply among twenty: retrain on personas, adapt to others; killed and run again, it goes on."""
    if context.invoked_subcommand is not None:
        return None
    from realdata.experiments.options import Texts

    if example:
        return partial(show_example, profile)
    texts = Texts(methods=methods, finetune=finetune, seeds=seeds, axes=axes)
    where = {"device": device, "precision": precision, "workers": workers, "command": context.obj}
    return partial(run, data, model=model, profile=profile, settings=settings, texts=texts, where=where, out=out)


@app.command()
def report(folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of an experiment.")]) -> Work:
    """Write the report of a folder anew, also of one that is not finished."""
    return partial(experiment_command.report, folder, switches={})


@app.command()
def tasks(
    data: Annotated[str, typer.Option(metavar="FILE,FILE…", help="Dialogues in the ParlAI format.")],
    out: Annotated[Path, typer.Option(metavar="FILE.csv", help="The table to write.")],
    settings: Settings = None,
) -> Work:
    """Write which dialogue belongs to which persona's task, in which role."""
    return partial(write_table, data, settings=settings, out=out)


def run(
    data: str | None,
    *,
    model: str | None,
    profile: str,
    settings: Path | None,
    texts: Texts,
    where: dict[str, str | None],
    out: Path,
) -> tuple[int, str]:
    """Run what is missing of the experiment in `out`."""
    with experiment_command.refusing(out):
        _known(profile)
        if profile == "paper" and data is None:
            raise InputError("--profile: got paper, which is not for made-up dialogues; give --data FILE with ConvAI2")
        request = _request(data, model, profile, settings, texts=texts, where=where)
        experiment_command.require_extra()
        return experiment_command.carry_out(request, out)


def show_example(profile: str) -> tuple[int, str]:
    """Return the settings of a profile that ships, with every key."""
    from realdata.language.settings import example

    with experiment_command.refusing(DEFAULT_OUT):
        _known(profile)
    return 0, example(profile)


def write_table(data: str, *, settings: Path | None, out: Path) -> tuple[int, str]:
    """Write the table of tasks."""
    from realdata.language.experiment import assigned
    from realdata.language.parlai import read_dialogues
    from realdata.language.tasks_file import write_tasks

    files = _files(data)
    for path in (*files, *([] if settings is None else [settings])):
        if os.path.realpath(path) == os.path.realpath(out):
            raise InputError(f"--out: got {one_line(str(out))}, which is read from; expected the name of another file")
    with experiment_command.refusing(out):
        read = _settings("cpu", settings)
    prepare_file(out)
    try:
        uses = assigned(read, read_dialogues(files))
    except ValueError as problem:
        raise InputError(one_line(str(problem))) from None
    with writing(out):
        write_tasks(out, uses)
    by_role = {role: len({use.task for use in uses if use.role == role}) for role in ("retraining", "test", "unused")}
    return 0, (
        f"{one_line(str(out))}: {len(uses)} dialogues of {sum(by_role.values())} personas, {by_role['retraining']} to "
        f"retrain on, {by_role['test']} to test on\n"
    )


def _request(
    data: str | None,
    model: str | None,
    profile: str,
    path: Path | None,
    *,
    texts: Texts,
    where: dict[str, str | None],
) -> Request:
    """Read all options; no dialogue is read yet."""
    from realdata.experiments import options
    from realdata.experiments.runner import Request
    from realdata.language.experiment import LanguageSpec

    read = _settings("made" if data is None else profile, path, model=model)
    return Request(
        LanguageSpec(read, () if data is None else _files(data)),
        options.wanted(read.grid, read.axes, texts=texts, switches=()),
        device=options.one_of("--device", where["device"] or "auto", options.DEVICES),
        precision=options.one_of("--precision", where["precision"] or "no", options.PRECISIONS),
        workers=options.workers("--workers", where["workers"]),
        command=where["command"] or "",
    )


def _settings(profile: str, path: Path | None, *, model: str | None = None) -> LanguageSettings:
    from loraml_theory.harness.settings import SettingsError, overlaid
    from realdata.language.settings import settings

    changes = read_toml(path) if path is not None else {}
    if model is not None:
        changes = overlaid(changes, {"model": {"name": model}})
    try:
        return settings(profile, changes)
    except SettingsError as problem:
        raise SettingsError(f"{path}: {problem}" if path else str(problem)) from None


def _files(text: str) -> tuple[Path, ...]:
    files = tuple(Path(name.strip()) for name in text.split(",") if name.strip())
    if not files:
        raise InputError(f"--data: got {text!r}, expected names of files with commas between them")
    return files


def _known(profile: str) -> None:
    from realdata.experiments.options import one_of
    from realdata.language.settings import PROFILES

    one_of("--profile", profile, PROFILES)
