"""`loraml landscape`: every critical point of a structure, counted and certified."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loraml_theory.harness.errors import InputError, one_line
from paper_checks.commands.deferred import Exit, deferred
from paper_checks.commands.options import Seed, whole
from paper_checks.commands.output import prepare_folder, write_files
from paper_checks.commands.progress import computing

if TYPE_CHECKING:
    from numpy.random import Generator

    from loraml_theory.structure import GroundTruth


@deferred
def landscape(
    context: typer.Context,
    structure: Annotated[
        Path, typer.Option(metavar="FILE.npz", help="The structure (A_star, U_star), its numbers taken as exact.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder for landscape.json and landscape.html.")] = Path(
        "reports/landscape"
    ),
    starts: Annotated[
        int, typer.Option(metavar="N", parser=whole(1, 10**5), help="The descents from small and from large starts.")
    ] = 200,
    seed: Seed = 0,
) -> Exit:
    """List every critical point of LoRA-ML on a structure with k = 1 and T = 3, and prove what each one is.

    The exit status is 0 if all are found and proved, and 1 if some are out of reach: then nothing is written.
    """
    from paper_checks.evidence.exact_evidence import MISSING, available

    if not available():
        raise InputError(f"landscape: {MISSING}")
    import numpy as np

    from loraml_theory.harness.structure_file import read_structure
    from sims.atlas.complete import IncompleteError, LandscapeError

    truth, _ = read_structure(structure)
    prepare_folder(out)
    try:
        made = _found(np.random.default_rng(seed), truth, starts)
    except LandscapeError as problem:
        raise InputError(f"{one_line(str(structure))}: {problem}") from None
    except IncompleteError as problem:
        return 1, f"Incomplete, nothing written: {problem}.\n"
    return 0, _write(made | _about(context.obj, structure, truth, seed), out)


def _found(rng: Generator, truth: GroundTruth, starts: int) -> dict[str, Any]:
    """Return the document of the landscape, its points and where descents end."""
    from sims.atlas.complete import descents, document, whole_landscape

    with computing() as progress:
        progress("critical points")
        whole = whole_landscape(rng, truth.U_retraining)
        progress("descents")
        return document(whole, descents(rng, whole, truth.U_retraining, starts=starts))


def _about(command: str, structure: Path, truth: GroundTruth, seed: int) -> dict[str, Any]:
    from loraml_theory.harness.versions import now, versions

    return {
        "structure": {"file": structure.name, "U_star": truth.U_retraining[..., 0].tolist()},
        "seed": seed,
        "environment": {
            "command": command,
            "date": now(),
            **versions("loraml-theory", "numpy", "python-flint"),
        },
    }


def _write(made: dict[str, Any], out: Path) -> str:
    """Write the document and its page, and return a summary."""
    import json

    from paper_checks.report.landscape import page, summary

    text = json.dumps(made, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_files(out, {"landscape.json": text, "landscape.html": page(made)})
    return f"{summary(made)}\nPage: {out / 'landscape.html'}\n"
