"""`loraml vision`: the experiment on images, and its report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from loraml_theory.harness.errors import InputError
from paper_checks.commands import experiments
from paper_checks.commands.deferred import Exit, deferred
from paper_checks.commands.options import Formats, Width, one_of
from paper_checks.commands.output import prepare_folder, writing

ModeName = Literal["paper", "reference"]

app = typer.Typer()


@app.callback(invoke_without_command=True)
@deferred
def vision(
    context: typer.Context,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Images, such as CIFAR-10; scikit-learn's digits if not given."),
    ] = None,
    adapt_to: Annotated[
        Path | None,
        typer.Option(
            "--adapt-to",
            metavar="DIR",
            help="Adapt to the last two classes of these images, after retraining on all of --data's; digits for "
            "scikit-learn's.",
        ),
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Download CIFAR-10 to --data first.")] = False,
    profile: experiments.Profile = "cpu",
    settings: experiments.SettingsFile = None,
    mode: Annotated[
        ModeName | None, one_of(ModeName, "Follow sound practice, or reproduce the public reference code.")
    ] = None,
    methods: experiments.Methods = None,
    finetune: experiments.Finetune = None,
    seeds: experiments.Seeds = None,
    axes: experiments.Axes = None,
    device: experiments.Device = "auto",
    precision: experiments.Precision = "no",
    workers: experiments.Workers = None,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder for results; finished runs in it are not repeated.")
    ] = Path("reports/vision"),
    example: experiments.Example = False,
) -> Exit:
    """Retrain on four binary tasks of images and adapt to a fifth; if it is interrupted, run it again to continue."""
    from loraml_theory.harness.input_files import read_toml
    from realdata.experiments.options import Asked, wanted
    from realdata.experiments.runner import Request
    from realdata.vision import settings as vision_settings
    from realdata.vision.experiment import VisionSpec
    from realdata.vision.quirks import NAMES

    if example:
        return 0, vision_settings.example(profile)
    if profile == "paper" and data is None:
        raise InputError("--profile: got paper, which is not for the digits; add --data DIR with CIFAR-10")
    changes = read_toml(settings) if settings is not None else None
    with experiments.settings_of(settings):
        read = vision_settings.settings("digits" if data is None else profile, changes)
    asked = Asked(methods=methods, finetune=finetune, seeds=seeds, axes=axes, mode=mode)
    request = Request(
        VisionSpec(read, data, adapt_to),
        wanted(read.grid, read.axes, asked=asked, switches=NAMES),
        device=device,
        precision=precision,
        workers=workers,
        command=context.obj,
    )
    experiments.require_extra(experiments.IMAGES)
    prepare_folder(out, inputs=request.spec.inputs)
    if download:
        _download(data)
    return experiments.carry_out(request, out)


@app.command()
@deferred
def report(folder: experiments.Folder, formats: Formats = ("png",), width: Width = None) -> Exit:
    """Rewrite the report of a folder, even if its experiment is not finished."""
    from realdata.vision.quirks import QUIRKS

    switches = {quirk.name: (quirk.what, quirk.instead) for quirk in QUIRKS}
    return experiments.write_report(folder, switches=switches, formats=formats, width=width)


def _download(data: Path | None) -> None:
    from realdata.vision.download import download_cifar10

    if data is None:
        raise InputError("--download: expected --data DIR with it, the folder for CIFAR-10")
    with writing(data):
        download_cifar10(data)
