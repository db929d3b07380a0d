"""`loraml records`: the records of an experiment as one small text file, and a folder from one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paper_checks.commands import experiments
from paper_checks.commands.deferred import Exit, deferred
from paper_checks.commands.output import prepare_file, prepare_folder, writing

app = typer.Typer(help="Keep the records of an experiment in one text file.")


@app.command()
@deferred
def pack(
    folder: experiments.Folder,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Written: JSON Lines, one record a line.")],
) -> Exit:
    """Write the records of a folder of loraml vision, language, retrain or continual into a file."""
    from realdata.experiments.folder import BEGUN
    from realdata.experiments.packed import pack as packed
    from realdata.experiments.records import RUNS

    own = [folder / BEGUN, folder / RUNS / file.name, *(folder / RUNS).glob("*.json")]
    prepare_file(file, inputs=own, option="FILE")
    with writing(file):
        count = packed(folder, file)
    return 0, f"{count} records written to {file}\n"


@app.command()
@deferred
def unpack(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What loraml records pack wrote.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder; --out of the command that goes on.")],
) -> Exit:
    """Write packed records into a new folder, of which reports are made and in which the experiment goes on."""
    from realdata.experiments.packed import unpack as unpacked

    prepare_folder(folder)
    with writing(folder):
        count = unpacked(file, folder)
    return 0, f"{count} records written to {folder}\n"
