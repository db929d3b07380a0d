"""`loraml atlas`: its options, and what it does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer
from threadpoolctl import threadpool_limits

from loraml_theory.harness.errors import InputError
from paper_checks.commands import common as commands

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sims.atlas.landscape import Cell

Work: TypeAlias = Callable[[], tuple[int, str]]

DEFAULT_OUT = Path("reports/atlas")


def register(app: typer.Typer) -> None:
    """Add the command to `loraml`."""
    app.command()(atlas)


def atlas(
    profile: Annotated[str, typer.Option(metavar="quick|full", help="How much of the map to draw.")] = "quick",
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for atlas.png and atlas.csv.")] = DEFAULT_OUT,
    engine: Annotated[str, typer.Option(metavar="auto|cpu|torch|cupy", help="What computes.")] = "auto",
    device: Annotated[str | None, typer.Option(metavar="DEVICE", help="Where, such as cpu or cuda.")] = None,
    seed: Annotated[str, typer.Option(metavar="S", help="Root of every random number.")] = "0",
) -> Work:
    """Map how often descents end in spurious minima, over k/d, T, noise and starts."""
    return partial(run, profile=profile, out=out, engine=engine, device=device, seed=seed)


def run(*, profile: str, out: Path, engine: str, device: str | None, seed: str) -> tuple[int, str]:
    """Survey the landscape, write atlas.png and atlas.csv to `out`, and return a summary."""
    from sims import engines
    from sims.atlas.landscape import SCALES, survey
    from sims.atlas.report import draw, write_table

    if profile not in SCALES:
        raise InputError(f"--profile: got {profile!r}, expected {' or '.join(SCALES)}")
    root = commands.whole_number("--seed", seed)
    ready = engines.get(engine, device)
    commands.prepare_folder(out)
    with commands.shown_progress() as progress, threadpool_limits(limits=1, user_api="blas"):
        cells = survey(SCALES[profile], ready, seed=root, progress=progress)
        progress("picture")
        with commands.writing(out):
            write_table(cells, out / "atlas.csv")
            draw(cells, out / "atlas.png")
    return 0, summary(cells) + f"Picture and table: {out / 'atlas.png'}, {out / 'atlas.csv'}\n"


def summary(cells: Sequence[Cell]) -> str:
    """Say for each method what share of the starts on generic structures ended where."""
    lines = [f"{'solver, start':42} {'reached':>8} {'spurious':>9} {'not converged':>14}"]
    shares: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for cell in cells:
        if cell.kind == "generic":
            total = cell.starts * len(cell.reached)
            found = tuple(float(x.sum()) / total for x in (cell.reached, cell.spurious, cell.unconverged))
            shares.setdefault((cell.solver, cell.start), []).append((found[0], found[1], found[2]))
    for (solver, start), found_there in shares.items():
        means = [sum(column) / len(found_there) for column in zip(*found_there, strict=True)]
        percent = [f"{100 * mean:.1f} %" for mean in means]
        lines.append(f"{f'{solver}, {start}':42} {percent[0]:>8} {percent[1]:>9} {percent[2]:>14}")
    return "\n".join([*lines, "Means over the map; intervals are in the table.", ""])
