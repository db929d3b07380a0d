"""`loraml advise`: the rank that a user's tasks need."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loraml_theory.harness.errors import InputError, install
from paper_checks.commands.deferred import Exit, deferred
from paper_checks.commands.options import Seed, real, whole
from paper_checks.commands.output import prepare_file, prepare_folder, rendered, write_files, writing
from paper_checks.commands.progress import shown_progress

if TYPE_CHECKING:
    from realdata.advisor.advising import Advice
    from realdata.advisor.tasks import Tasks


@deferred
def advise(
    context: typer.Context,
    tasks: Annotated[
        list[str],
        typer.Argument(metavar="NAME=PATH…", help="A task's checkpoint or LoRA adapter, or a bundle of this project."),
    ],
    base: Annotated[Path | None, typer.Option(metavar="FILE", help="The checkpoint of the adapters' base.")] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Leave out the weights whose names match, such as '*.classifier.*'; may be repeated.",
        ),
    ] = None,
    rank: Annotated[
        int | None,
        typer.Option(metavar="R", parser=whole(1), help="Advise on adapters of this rank, not of the estimated one."),
    ] = None,
    share: Annotated[
        float,
        typer.Option(
            metavar="P",
            parser=real(above=0, below=100),
            help="The percentage of the energy that an adapter should reach.",
        ),
    ] = 95,
    write_base: Annotated[
        Path | None, typer.Option(metavar="FILE.safetensors", help="Write the LoRA-ML base to this checkpoint.")
    ] = None,
    rank_pattern: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="Write the advised ranks as arguments of peft's LoraConfig."),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder for advice.json and advice.html.")] = Path(
        "reports/advise"
    ),
    seed: Seed = 0,
) -> Exit:
    """Say which rank your own tasks need, and whether meta-learned retraining would help."""
    try:
        from realdata.advisor import AdviceSettings, open_tasks
        from realdata.advisor import advise as look
    except ImportError as problem:
        raise InputError(f"advise: needs {problem.name}: {install('realdata')}") from None
    given = open_tasks(tasks, base=base, ignore=ignore or [])
    prepare_folder(out)
    if write_base is not None:
        _prepare_checkpoint(write_base)
    if rank_pattern is not None:
        _prepare_ranks(rank_pattern, given)
    settings = AdviceSettings(rank=rank, share=share / 100, seed=seed)
    with shown_progress() as progress, writing(write_base or out):
        found = look(given, settings, write_base=write_base, progress=progress)
    said = _write(found, out, context.obj)
    if rank_pattern is not None:
        _write_ranks(found, rank_pattern)
        said += f"Ranks: LoraConfig(**json.load(open({str(rank_pattern)!r})))\n"
    return 0, said


def _prepare_checkpoint(path: Path) -> None:
    """Check before the long computation that a checkpoint can be written there."""
    if path.suffix != ".safetensors":
        raise InputError(f"--write-base: got {str(path)!r}, expected a name that ends in .safetensors")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            return
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise InputError(f"{path}: is {kind}, expected the name of a file")


def _write(found: Advice, out: Path, command: str) -> str:
    """Write both reports, and return the summary."""
    from loraml_theory.harness.versions import environment
    from paper_checks.report.advice import page, summary
    from realdata.advisor.document import document, dumps

    text = document(found, environment(command))
    write_files(out, {"advice.json": dumps(text), "advice.html": page(text)})
    return rendered(lambda console: summary(console, text, str(out / "advice.html")))


def _prepare_ranks(path: Path, given: Tasks) -> None:
    """Check before the long computation that the ranks can be written there."""
    if path.suffix != ".json":
        raise InputError(f"--rank-pattern: got {str(path)!r}, expected a name that ends in .json")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    beside = [
        found for file in given.files for kind in ("*config.json", "*index.json") for found in file.parent.glob(kind)
    ]
    prepare_file(path, inputs=[*given.files, *beside], option="--rank-pattern")


def _write_ranks(found: Advice, path: Path) -> None:
    import json

    from realdata.advisor.rank_pattern import lora_arguments
    from realdata.advisor.verdict import overall

    text = json.dumps(lora_arguments(found, overall(found)), indent=1, ensure_ascii=False)
    write_files(path.parent, {path.name: text + "\n"})
