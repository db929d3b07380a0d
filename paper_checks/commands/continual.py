"""`loraml continual`: low-rank adaptation to one task after another, and the report of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from loraml_theory.harness.errors import InputError, one_line
from paper_checks.commands import experiments
from paper_checks.commands.deferred import Exit, deferred
from paper_checks.commands.options import Formats, Width, listed, one_of
from paper_checks.commands.output import prepare_folder, writing

if TYPE_CHECKING:
    from realdata.continual.settings import ContinualSettings

ProfileName = Literal["features", "cpu", "paper"]
FactorName = Literal["down", "up"]
MORE = ("datasets",)

app = typer.Typer()


@app.callback(invoke_without_command=True)
@deferred
def continual(
    context: typer.Context,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The folder of a benchmark, a folder for each task; made-up if not given."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="The model: a package, a folder, or a name on a hub.")
    ] = None,
    profile: Annotated[
        ProfileName,
        one_of(ProfileName, "A map of frozen features, an encoder end to end, or a model that writes its answers."),
    ] = "features",
    settings: experiments.SettingsFile = None,
    methods: Annotated[
        Sequence[str] | None,
        typer.Option(
            metavar="M,M…", parser=listed("names of methods", str), help="The methods; --example names all of them."
        ),
    ] = None,
    starts: Annotated[
        Sequence[str] | None,
        typer.Option(
            metavar="S,S…",
            parser=listed("names of starts", str),
            help="What chains begin from: plain, and of features lora-ml and sr, retrained on the tasks of [start].",
        ),
    ] = None,
    orders: Annotated[
        str | None,
        typer.Option(metavar="1,2|FILE.json", help="Numbers of the settings' orders, or a file with other orders."),
    ] = None,
    which_factor: Annotated[
        FactorName | None, one_of(FactorName, "The factors that O-LoRA keeps apart: lora_A, as released, or lora_B.")
    ] = None,
    seeds: experiments.Seeds = None,
    tune: Annotated[
        bool, typer.Option("--tune", help="Choose each method's learning rate on validation parts, all alike.")
    ] = False,
    device: experiments.Device = "auto",
    precision: experiments.Precision = "no",
    workers: experiments.Workers = None,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder for results; finished chains in it are not repeated.")
    ] = Path("reports/continual"),
    example: experiments.Example = False,
) -> Exit:
    """Adapt to one task after another by each method, and measure what is kept; run it again to continue."""
    from realdata.continual import settings as continual_settings
    from realdata.continual.benchmark import read_orders
    from realdata.continual.experiment import ContinualSpec
    from realdata.continual.runner import ContinualRequest

    if example:
        return 0, continual_settings.example(profile)
    if profile != "features" and data is None:
        raise InputError(f"--profile: got {profile}, which is for texts; add --data DIR with a benchmark")
    changes: dict[str, Any] = {"grid": {}}
    if orders is not None and all(word.strip().isdecimal() for word in orders.split(",")):
        changes["grid"]["orders"] = [int(word) for word in orders.split(",")]
    elif orders is not None:
        read = read_orders(Path(orders))
        numbers = list(range(1, len(read) + 1))
        changes |= {"orders": [list(order) for order in read], "tuning": {"orders": [1]}}
        changes["grid"]["orders"] = numbers
    for name, values in (("methods", methods), ("starts", starts), ("seeds", seeds)):
        if values is not None:
            changes["grid"][name] = list(values)
    changes |= {} if model is None else {"model": {"name": model}}
    changes |= {} if which_factor is None else {"o_lora": {"factor": which_factor}}
    found = _settings("made" if data is None else profile, settings, changes)
    request = ContinualRequest(
        ContinualSpec(found, data),
        tune=tune,
        device=device,
        precision=precision,
        workers=workers,
        command=context.obj,
    )
    experiments.require_extra(MORE)
    return _carry_out(request, out)


@app.command()
@deferred
def report(folder: experiments.Folder, formats: Formats = ("png",), width: Width = None) -> Exit:
    """Rewrite the report of a folder, even if its experiment is not finished."""
    from loraml_theory.harness.plotting import Files
    from realdata.continual.report import shown, write

    with writing(folder):
        found = write(folder, files=Files(tuple(formats), width))
    failed = experiments.failed(found.failures)
    return 0, f"{shown(found)}{failed}Report: {one_line(str(folder / 'report.html'))}\n"


def _settings(profile: str, path: Path | None, changes: dict[str, Any]) -> ContinualSettings:
    from loraml_theory.harness.input_files import read_toml
    from loraml_theory.harness.settings import overlaid
    from realdata.continual.settings import settings

    with experiments.settings_of(path):
        return settings(profile, overlaid(read_toml(path) if path is not None else {}, changes))


def _carry_out(request: Any, out: Path) -> Exit:
    """Run what is missing, write the report, and return it as tables; the status is 1 where a chain failed."""
    from realdata.continual.report import shown, write
    from realdata.continual.runner import run
    from realdata.experiments.report import ReportError
    from realdata.experiments.terminal import shown_progress

    prepare_folder(out)
    with writing(out), shown_progress() as progress:
        ended = run(request, out, progress=progress)
    failed = experiments.failed(ended.failures)
    status = 1 if failed else 0
    with writing(out):
        try:
            found = write(out)
        except ReportError:
            if not failed:
                raise
            return status, failed
    chains = f"{ended.new_runs} chain{'s' if ended.new_runs != 1 else ''}"
    return status, f"{shown(found)}{failed}{chains} computed now. Report: {one_line(str(out / 'report.html'))}\n"
