"""`loraml advise`: its options, and what it does."""

from __future__ import annotations

import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from loraml_theory.harness.atomic import replacing
from loraml_theory.harness.errors import InputError
from paper_checks.commands import common as commands

if TYPE_CHECKING:
    from realdata.advisor.advising import Advice
    from realdata.advisor.layer import Settings

Work: TypeAlias = Callable[[], tuple[int, str]]

DEFAULT_OUT = Path("reports/advise")


def register(app: typer.Typer) -> None:
    """Add the command to `loraml`."""
    app.command()(advise)


def advise(
    context: typer.Context,
    tasks: Annotated[
        list[str],
        typer.Argument(metavar="NAME=PATH…", help="A task's checkpoint or LoRA adapter, or a bundle of this project."),
    ],
    base: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Checkpoint of the base of adapters."),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN", help="Leave out the weights whose names fit, such as '*.classifier.*'; repeat."
        ),
    ] = None,
    rank: Annotated[
        str | None, typer.Option(metavar="R", help="Rank of adapters to ask about, instead of the estimated one.")
    ] = None,
    share: Annotated[str, typer.Option(metavar="P", help="Per cent of the energy an adapter should reach.")] = "95",
    write_base: Annotated[
        Path | None, typer.Option(metavar="FILE.safetensors", help="Write the LoRA-ML base as a checkpoint.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for advice.json and advice.html.")] = DEFAULT_OUT,
    seed: Annotated[str, typer.Option("--seed", metavar="S", help="Root of every random number.")] = "0",
) -> Work:
    """Say which rank one's own tasks need, and whether meta-learned retraining would help."""
    return partial(
        run,
        tasks,
        base=base,
        ignore=ignore or [],
        rank=rank,
        share=share,
        write_base=write_base,
        out=out,
        seed=seed,
        command=context.obj,
    )


def run(
    words: list[str],
    *,
    base: Path | None,
    ignore: list[str],
    rank: str | None,
    share: str,
    write_base: Path | None,
    out: Path,
    seed: str,
    command: str,
) -> tuple[int, str]:
    """Look at the tasks, write advice.json and advice.html to `out`, and return what was found in words."""
    try:
        from realdata.advisor.advising import advise as look
        from realdata.advisor.tasks import open_tasks
    except ImportError as problem:
        raise InputError(f"advise: needs {problem.name}; install loraml-theory[realdata]") from None
    settings = _settings(rank, share, seed)
    given = open_tasks(words, base=base, ignore=ignore)
    commands.prepare_folder(out)
    if write_base is not None:
        _prepare_file(write_base)
    with commands.shown_progress() as progress, commands.writing(write_base or out):
        found = look(given, settings, write_base=write_base, progress=progress)
    return 0, _write(found, out, command)


def _settings(rank: str | None, share: str, seed: str) -> Settings:
    from realdata.advisor.layer import Settings

    wanted = None if rank is None else commands.whole_number("--rank", rank)
    if wanted == 0:
        raise InputError("--rank: got '0', expected a whole number >= 1")
    try:
        percent = float(share)
    except ValueError:
        percent = 0.0
    if not 0 < percent < 100:
        raise InputError(f"--share: got {share!r}, expected per cent between 0 and 100")
    return Settings(rank=wanted, share=percent / 100, seed=commands.whole_number("--seed", seed))


def _prepare_file(path: Path) -> None:
    """See that a file can be written there, before the long computation rather than after it."""
    if path.suffix != ".safetensors":
        raise InputError(f"--write-base: got {str(path)!r}, expected a name that ends in .safetensors")
    with commands.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            return
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise InputError(f"{path}: is {kind}, expected the name of a file")


def _write(found: Advice, out: Path, command: str) -> str:
    """Write both reports, complete in memory before the first byte is written, and return the summary."""
    from loraml_theory.harness.versions import environment
    from paper_checks.report.advice import page, summary
    from realdata.advisor.document import document, dumps

    provenance = environment(command)
    text = document(found, provenance)
    contents = {"advice.json": dumps(text), "advice.html": page(text)}
    with commands.writing(out):
        for name, content in contents.items():
            with replacing(out / name) as file:
                file.write(content.encode())
            if (out / name).read_bytes() != content.encode():
                raise OSError(None, "what is read back is not what was written")
    return commands.rendered(lambda console: summary(console, text, str(out / "advice.html")))
