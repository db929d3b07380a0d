"""`loraml vision` and `loraml vision report`: their options, and what they do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from loraml_theory.harness.errors import InputError
from loraml_theory.harness.input_files import read_toml
from paper_checks.commands import common as commands
from paper_checks.commands import experiment_command
from paper_checks.commands.experiment_command import Axes, Device, Finetune, Methods, Precision, Seeds, Workers

if TYPE_CHECKING:
    from realdata.experiments.options import Texts
    from realdata.experiments.runner import Request

Work: TypeAlias = Callable[[], tuple[int, str]]

DEFAULT_OUT = Path("reports/vision")

app = typer.Typer(
    help="Retrain on four binary tasks of images and adapt to the fifth; killed and run again, it goes on."
)


def register(loraml: typer.Typer) -> None:
    """Add the command to `loraml`."""
    loraml.add_typer(app, name="vision")


@app.callback(invoke_without_command=True)
def vision(
    context: typer.Context,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Images, such as CIFAR-10; without it scikit-learn's digits.")
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Download CIFAR-10 to --data first.")] = False,
    profile: Annotated[str, typer.Option(metavar="cpu|paper", help="Settings that ship.")] = "cpu",
    settings: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Keys that replace the profile's; see --example.")
    ] = None,
    mode: Annotated[
        str | None, typer.Option(metavar="paper|reference", help="Sound practice, or what the public code does.")
    ] = None,
    methods: Methods = None,
    finetune: Finetune = None,
    seeds: Seeds = None,
    axes: Axes = None,
    device: Device = "auto",
    precision: Precision = "no",
    workers: Workers = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder; what it has is not run again.")] = DEFAULT_OUT,
    example: Annotated[bool, typer.Option("--example", help="Print the profile's settings, with every key.")] = False,
) -> Work | None:
    """Retrain on four binary tasks of images and adapt to the fifth; killed and run again, it goes on."""
    if context.invoked_subcommand is not None:
        return None
    from realdata.experiments.options import Texts

    texts = Texts(methods=methods, finetune=finetune, seeds=seeds, axes=axes, mode=mode)
    where = {"device": device, "precision": precision, "workers": workers, "command": context.obj}
    if example:
        return partial(show_example, profile)
    return partial(run, data, download=download, profile=profile, settings=settings, texts=texts, where=where, out=out)


@app.command()
def report(folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of an experiment.")]) -> Work:
    """Write the report of a folder anew, also of one that is not finished."""
    return partial(run_report, folder)


def run(
    data: Path | None,
    *,
    download: bool,
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
            raise InputError("--profile: got paper, which is not for the digits; give --data DIR with CIFAR-10")
        request = _request(data, profile, settings, texts=texts, where=where)
        experiment_command.require_extra(experiment_command.IMAGES)
        commands.prepare_folder(out)
        if download:
            _download(data)
        return experiment_command.carry_out(request, out)


def show_example(profile: str) -> tuple[int, str]:
    """Return the settings of a profile that ships, with every key."""
    from realdata.vision.settings import example

    with experiment_command.refusing(DEFAULT_OUT):
        _known(profile)
    return 0, example(profile)


def run_report(folder: Path) -> tuple[int, str]:
    """Write the report of a folder anew."""
    from realdata.vision.quirks import QUIRKS

    return experiment_command.report(folder, switches={quirk.name: (quirk.what, quirk.instead) for quirk in QUIRKS})


def _request(
    data: Path | None, profile: str, path: Path | None, *, texts: Texts, where: dict[str, str | None]
) -> Request:
    """Read all options; nothing is opened yet."""
    from loraml_theory.harness.settings import SettingsError
    from realdata.experiments import options
    from realdata.experiments.runner import Request
    from realdata.vision import settings as vision_settings
    from realdata.vision.experiment import VisionSpec
    from realdata.vision.quirks import NAMES

    changes = read_toml(path) if path is not None else None
    try:
        read = vision_settings.settings("digits" if data is None else profile, changes)
    except SettingsError as problem:
        raise SettingsError(f"{path}: {problem}" if path else str(problem)) from None
    return Request(
        VisionSpec(read, data),
        options.wanted(read.grid, read.axes, texts=texts, switches=NAMES),
        device=options.one_of("--device", where["device"] or "auto", options.DEVICES),
        precision=options.one_of("--precision", where["precision"] or "no", options.PRECISIONS),
        workers=options.workers("--workers", where["workers"]),
        command=where["command"] or "",
    )


def _known(profile: str) -> None:
    from realdata.experiments.options import one_of
    from realdata.vision.settings import PROFILES

    one_of("--profile", profile, PROFILES)


def _download(data: Path | None) -> None:
    from realdata.vision.download import download_cifar10

    if data is None:
        raise InputError("--download: goes with --data DIR, the folder to put CIFAR-10 into")
    download_cifar10(data)
