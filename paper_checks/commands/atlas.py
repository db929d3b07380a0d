"""`loraml atlas`: map how often descents end in spurious minima."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loraml_theory.harness.errors import InputError
from paper_checks.commands.deferred import Exit, deferred
from paper_checks.commands.options import Device, Engine, Formats, Profile, Seed, Width
from paper_checks.commands.output import prepare_folder, writing
from paper_checks.commands.progress import computing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loraml_theory.harness.plotting import Files
    from sims.atlas.landscape import MapCell


@deferred
def atlas(
    complete: Annotated[
        bool,
        typer.Option(
            "--complete",
            help="Count all critical points of 100 structures (full: 1000) at d = 3, k = 1, T = 3 instead; "
            "if it is interrupted, run it again to continue.",
        ),
    ] = False,
    profile: Profile = "quick",
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder for atlas.png and atlas.csv, or complete.png and .csv.")
    ] = Path("reports/atlas"),
    engine: Engine = "auto",
    device: Device = None,
    seed: Seed = 0,
    formats: Formats = ("png",),
    width: Width = None,
) -> Exit:
    """Map how often descents end in spurious minima, over k/d, T, noise and starts."""
    from loraml_theory.harness.plotting import Files, written_as

    if complete:
        return _census(profile, out, seed, Files(tuple(formats), width))
    from loraml_theory.harness.processes import cores
    from sims import engines
    from sims.atlas.landscape import SCALES, survey
    from sims.atlas.report import draw, write_table

    ready = engines.get(engine, device)
    prepare_folder(out)
    with computing() as progress:
        cells = survey(SCALES[profile], ready, seed=seed, workers=cores(), progress=progress)
        progress("picture")
        with writing(out), written_as(Files(tuple(formats), width)):
            write_table(cells, out / "atlas.csv")
            pictures = draw(cells, out / "atlas.png")
    return 0, summary(cells) + f"Picture and table: {', '.join(map(str, pictures))}, {out / 'atlas.csv'}\n"


def _census(profile: str, out: Path, seed: int, files: Files) -> Exit:
    """Count the structures with a spurious minimum."""
    from loraml_theory.harness.plotting import written_as
    from loraml_theory.harness.processes import cores
    from paper_checks.evidence.exact_evidence import MISSING, available

    if not available():
        raise InputError(f"atlas --complete: {MISSING}")
    from sims.atlas.census import STRUCTURES, census, draw_census, summary, write_census

    prepare_folder(out)
    with writing(out), computing() as progress:
        found = census(out, STRUCTURES[profile], seed=seed, workers=cores(), progress=progress)
    with writing(out), written_as(files):
        write_census(found, out / "complete.csv")
        pictures = draw_census(found, out / "complete.png")
    return 0, summary(found) + f"Picture and table: {', '.join(map(str, pictures))}, {out / 'complete.csv'}\n"


def summary(cells: Sequence[MapCell]) -> str:
    """Return a table of how each method's starts on generic structures ended."""
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
