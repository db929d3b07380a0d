"""The output of commands: checked before the long computation, written atomically after it, refused in one line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import StringIO
from os.path import lexists, realpath
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from loraml_theory.harness.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

WRITTEN = (".csv", ".html", ".json", ".md", ".pdf", ".png", ".svg")  # entries that commands write into a folder


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Report an error of the disk in one line, with the file it is about, or else `place`."""
    try:
        yield
    except OSError as problem:
        reason = problem.strerror or problem
        if problem.filename and lexists(problem.filename):
            raise InputError(f"{problem.filename}: {reason}") from None
        raise InputError(f"{place}: cannot be written ({reason})") from None
    except RecursionError:  # raised while missing parents are created
        raise InputError(f"{place}: cannot be written (too many nested folders)") from None


def prepare_folder(out: Path, *, inputs: Iterable[Path] = ()) -> None:
    """Create the folder and check before the long computation that it can be written, and that it is not an input."""
    from loraml_theory.harness.folders import check_folder

    if not str(out).strip() or str(out) == ".":
        raise InputError("--out: got the current folder, expected another folder")
    if lexists(out) and realpath(out) in map(realpath, inputs):
        raise InputError(f"--out: got {str(out)!r}, which is an input; expected another folder")
    with writing(out):
        check_folder(out)
        out.mkdir(parents=True, exist_ok=True)
        for entry in out.iterdir():
            if entry.suffix in WRITTEN and not entry.is_file():
                raise InputError(f"{entry}: is not a regular file, expected one that can be replaced, or none")
        with TemporaryFile(dir=out):
            pass


def prepare_file(path: Path, *, inputs: Iterable[Path] = (), option: str = "--out") -> None:
    """Check before the long computation that a file can be written there, and that it is not one of the inputs."""
    target = Path(realpath(path))
    if str(target) in map(realpath, inputs):
        raise InputError(f"{option}: got {str(path)!r}, which is an input; expected another file")
    with writing(path):
        if target.is_symlink() or (target.exists() and not target.is_file()):
            raise InputError(f"{path}: is not a regular file, expected the name of a file to write")
        with TemporaryFile(dir=target.parent):
            pass


def write_files(out: Path, contents: Mapping[str, str]) -> None:
    """Write complete texts to files of these names in `out`."""
    from loraml_theory.harness.atomic import write_whole

    with writing(out):
        for name, text in contents.items():
            (out / name).parent.mkdir(exist_ok=True)
            write_whole(out / name, text)
            if (out / name).read_bytes() != text.encode():
                raise OSError(None, "the content read back differs from the content written")


def rendered(show: Callable[[Console], None]) -> str:
    """Return what `show` prints, in colour where standard output is a terminal."""
    from rich.console import Console

    page = StringIO()
    show(Console(file=page, force_terminal=(sys.stdout is not None and sys.stdout.isatty()) or None, highlight=False))
    return page.getvalue()
