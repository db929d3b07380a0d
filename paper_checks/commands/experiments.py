"""The common part of the commands of experiments on real models: options, running missing cells, and the report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from loraml_theory.harness.errors import InputError, install, one_line
from paper_checks.commands.deferred import Exit
from paper_checks.commands.options import listed, one_of, whole, whole_numbers
from paper_checks.commands.output import prepare_folder, writing

if TYPE_CHECKING:
    from realdata.experiments.folder import Failure
    from realdata.experiments.runner import Request

EXTRA = ("accelerate", "filelock", "peft", "safetensors", "torch", "transformers")
IMAGES = ("huggingface_hub", "PIL", "pyarrow")

ProfileName = Literal["cpu", "paper"]
DeviceName = Literal["auto", "cpu", "cuda"]
PrecisionName = Literal["no", "bf16", "fp16"]

Profile = Annotated[ProfileName, one_of(ProfileName, "The settings to start from: for a CPU, or those of the paper.")]
SettingsFile = Annotated[
    Path | None, typer.Option(metavar="FILE.toml", help="Keys that replace the profile's; --example prints them all.")
]
Methods = Annotated[
    Sequence[str] | None,
    typer.Option(
        metavar="M,M…",
        parser=listed("names of methods", str),
        help="How to retrain: standard, standard-longer, lora-ml, grouped-lora, last-layer-ml, reptile, fomaml, "
        "no-retraining.",
    ),
]
Finetune = Annotated[
    Sequence[str] | None,
    typer.Option(
        metavar="F,F…", parser=listed("kinds of fine-tuning", str), help="What to fine-tune: lora, last-layer, full."
    ),
]
Seeds = Annotated[
    Sequence[int] | None,
    typer.Option(
        metavar="S,S…",
        parser=whole_numbers("whole numbers >= 0 with commas between them"),
        help="The seeds of all random numbers, one for each repetition.",
    ),
]
Axes = Annotated[
    Sequence[str] | None,
    typer.Option(
        metavar="n,rank,quirk",
        parser=listed("names of axes", str),
        help="Axes to vary: n and rank over axes.n and axes.rank of the settings, quirk over the public code's quirks.",
    ),
]
Device = Annotated[DeviceName, one_of(DeviceName, "The device to compute on.")]
Precision = Annotated[PrecisionName, one_of(PrecisionName, "The mixed precision to compute in.")]
Workers = Annotated[
    int | None,
    typer.Option(
        metavar="W", parser=whole(1, 999), help="The number of processes: one per core if not given, or 1 on a GPU."
    ),
]
Example = Annotated[bool, typer.Option("--example", help="Print the profile's settings, with every key.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of an experiment.")]


def require_extra(more: Sequence[str] = ()) -> None:
    """Raise `InputError` that says how to install a missing package of the extra ``realdata``."""
    for module in (*EXTRA, *more):
        if find_spec(module) is None:
            raise InputError(f"experiments need {module}: {install('realdata')}")


@contextmanager
def settings_of(path: Path | None) -> Iterator[None]:
    """Name the file in errors of settings that are from a file."""
    try:
        yield
    except InputError as problem:
        raise InputError(f"{path}: {problem}" if path else str(problem)) from None


def carry_out(request: Request, out: Path) -> Exit:
    """Run the missing cells, write the report, and return it as a table; the status is 1 where a run failed."""
    from realdata.experiments.report import ReportError, write
    from realdata.experiments.terminal import shown

    new_runs, lost = compute(request, out)
    status = 1 if lost else 0
    with writing(out):
        try:
            found = write(out, switches=request.spec.switches)
        except ReportError:
            if not lost:
                raise
            return status, lost
    runs = f"{new_runs} run{'s' if new_runs != 1 else ''}"
    place = one_line(str(out / "report.html"))
    return status, f"{shown(found)}{lost}{runs} computed now. Report: {place}\n"


def compute(request: Request, out: Path) -> tuple[int, str]:
    """Do what is missing in a folder; return the number of new runs, and a line for each failure."""
    from realdata.experiments.runner import run
    from realdata.experiments.terminal import shown_progress

    prepare_folder(out, inputs=request.spec.inputs)
    with writing(out), shown_progress() as progress:
        ended = run(request, out, progress=progress)
    return ended.new_runs, failed(ended.failures)


def failed(failures: Iterable[Failure]) -> str:
    """Return a line for each failure."""
    return "".join(f"failed: {one_line(f'{id}: {what}')}\n" for id, what, _ in failures)


def write_report(
    folder: Path, *, switches: Mapping[str, tuple[str, str]], formats: Sequence[str], width: float | None
) -> Exit:
    """Rewrite the report of a folder, even if its experiment is not finished."""
    from loraml_theory.harness.plotting import Files
    from realdata.experiments.folder import read_failures
    from realdata.experiments.report import write
    from realdata.experiments.terminal import shown

    with writing(folder):
        found = write(folder, switches=switches, files=Files(tuple(formats), width))
        lost = failed(read_failures(folder))
    return 0, f"{shown(found)}{lost}Report: {one_line(str(folder / 'report.html'))}\n"
