"""What the commands of experiments on real models share: run what is missing, write the report, say what came out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loraml_theory.harness.errors import InputError, one_line
from paper_checks.commands import common as commands
from realdata.experiments.folder import read_failures
from realdata.experiments.report import ReportError

if TYPE_CHECKING:
    from realdata.experiments.runner import Request

EXTRA = ("accelerate", "filelock", "peft", "safetensors", "torch", "transformers")
IMAGES = ("huggingface_hub", "PIL", "pyarrow")

Methods = Annotated[
    str | None,
    typer.Option(metavar="M,M…", help="standard, lora-ml, last-layer-ml, reptile, fomaml, no-retraining."),
]
Finetune = Annotated[str | None, typer.Option(metavar="F,F…", help="lora, last-layer, full.")]
Seeds = Annotated[str | None, typer.Option(metavar="S,S…", help="Roots of every random number.")]
Axes = Annotated[
    str | None, typer.Option(metavar="n,rank,quirk", help="Vary these, by the values of axes.n, axes.rank.")
]
Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda", help="Where.")]
Precision = Annotated[str, typer.Option(metavar="no|bf16|fp16", help="Mixed precision.")]
Workers = Annotated[str | None, typer.Option(metavar="W", help="Processes; one per core, on a GPU one.")]


def require_extra(more: Sequence[str] = ()) -> None:
    """Raise `InputError` that says how to install what is missing of the extra ``realdata``."""
    for module in (*EXTRA, *more):
        if find_spec(module) is None:
            raise InputError(f"experiments need {module}: pip install 'loraml-theory[realdata]'")


@contextmanager
def refusing(place: Path) -> Iterator[None]:
    """Put what the disk refuses in one line; it names `place` if it names no file."""
    try:
        yield
    except OSError as problem:
        raise InputError(f"{problem.filename or place}: {problem.strerror or problem}") from None


def carry_out(request: Request, out: Path) -> tuple[int, str]:
    """Run what is missing, write the report, and return it as a table; the status is 1 where something failed."""
    from realdata.experiments.report import write
    from realdata.experiments.runner import run
    from realdata.experiments.terminal import shown, shown_progress

    commands.prepare_folder(out)
    with refusing(out):
        with shown_progress() as progress:
            ended = run(request, out, progress=progress)
        failed = "".join(f"failed: {one_line(f'{id}: {what}')}\n" for id, what, _ in ended.failures)
        status = 1 if ended.failures else 0
        try:
            found = write(out, switches=request.spec.switches)
        except ReportError:
            if not failed:
                raise
            return status, failed
        runs = f"{ended.new_runs} run{'s' if ended.new_runs != 1 else ''}"
        place = one_line(str(out / "report.html"))
        return status, f"{shown(found)}{failed}{runs} computed now. Report: {place}\n"


def report(folder: Path, *, switches: Mapping[str, tuple[str, str]]) -> tuple[int, str]:
    """Write the report of a folder anew, also of one that is not finished."""
    from realdata.experiments.report import write
    from realdata.experiments.terminal import shown

    with refusing(folder):
        found = write(folder, switches=switches)
        failed = "".join(f"failed: {one_line(f'{id}: {what}')}\n" for id, what, _ in read_failures(folder))
    return 0, f"{shown(found)}{failed}Report: {one_line(str(folder / 'report.html'))}\n"
