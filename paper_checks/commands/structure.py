"""`loraml structure`: draw a structure and write it to a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loraml_theory.harness.errors import InputError
from paper_checks.commands.deferred import Exit, deferred
from paper_checks.commands.options import Seed, whole
from paper_checks.commands.output import prepare_file, writing
from paper_checks.legend import KINDS
from paper_checks.notation import unicode

KINDS_SAID = "; ".join(f"{kind}: {unicode(line)}" for kind, line in KINDS.items())


@deferred
def structure(
    kind: Annotated[
        str,
        typer.Argument(metavar="KIND", help=f"The kind. {KINDS_SAID}."),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE.npz", help="The file to write.")],
    d: Annotated[int, typer.Option("--d", metavar="N", parser=whole(), help="The dimension.")] = 10,
    k: Annotated[int, typer.Option("--k", metavar="N", parser=whole(), help="The rank of each task's shift.")] = 1,
    T: Annotated[
        int,
        typer.Option(
            "--T", metavar="N", parser=whole(), help="The number of retraining tasks; the test task is one more."
        ),
    ] = 3,
    seed: Seed = 0,
) -> Exit:
    """Draw a structure and write it to a file that `verify --structure` reads."""
    import numpy as np

    from loraml_theory import zoo
    from loraml_theory.harness.structure_file import MAX_ENTRIES, write_structure

    if kind not in zoo.KINDS:
        raise InputError(f"KIND: got {kind!r}, expected one of {', '.join(sorted(zoo.KINDS))}")
    if d * max(d, (T + 1) * k) > MAX_ENTRIES:
        raise InputError(f"--d, --k, --T: got {d}, {k}, {T}, expected at most {MAX_ENTRIES} numbers")
    prepare_file(out)
    try:
        truth = zoo.KINDS[kind](np.random.default_rng(seed), d, k, T)
    except ValueError as problem:
        raise InputError(f"{kind} with d = {d}, k = {k}, T = {T}: {problem}") from None
    with writing(out):
        write_structure(out, truth)
    return 0, f"{out}: {kind}, d = {truth.d}, k = {truth.k}, T = {truth.T}, seed {seed}\n"
