"""`loraml certify`: prove that a spurious minimum exists, and check such proofs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loraml_theory.harness.errors import InputError, one_line
from paper_checks.commands.deferred import Exit, deferred
from paper_checks.commands.options import Seed, whole, whole_numbers
from paper_checks.commands.output import prepare_file, writing
from paper_checks.commands.progress import computing

if TYPE_CHECKING:
    import numpy as np

    from loraml_theory.certified.prove import Proof
    from loraml_theory.certified.search import Effort

LARGEST_MEBIBYTES = 10  # far beyond any certificate
Tries = whole(1, 10**6)

app = typer.Typer(help="Prove that strict spurious minima exist (ML-5), and check such proofs.")


@app.command()
@deferred
def spurious(
    context: typer.Context,
    out: Annotated[Path, typer.Option(metavar="CERT.json", help="The certificate to write.")],
    structure: Annotated[
        Path | None, typer.Option(metavar="FILE.npz", help="Prove it for this structure, its numbers taken as exact.")
    ] = None,
    search: Annotated[
        Sequence[int] | None,
        typer.Option(
            metavar="d,k,T",
            parser=whole_numbers("three whole numbers d,k,T", count=3),
            help="Prove it for some structure of small integers of this size.",
        ),
    ] = None,
    structures: Annotated[
        int, typer.Option(metavar="N", parser=Tries, help="The largest number of structures to search.")
    ] = 200,
    starts: Annotated[
        int | None,
        typer.Option(
            metavar="M",
            parser=Tries,
            help="Random starts on each structure: 600 with --structure, otherwise 30.",
        ),
    ] = None,
    seed: Seed = 0,
) -> Exit:
    """Find a strict spurious minimum and prove it.

    The exit status is 0 if it is proved, and 1 if none was found, which proves nothing.
    """
    from paper_checks.evidence.exact_evidence import MISSING, available

    if (structure is None) == (search is None):
        raise InputError("certify spurious: expected one of --structure FILE.npz and --search d,k,T")
    if not available():
        raise InputError(f"certify spurious: {MISSING}")
    import numpy as np

    from loraml_theory.certified import certificate
    from loraml_theory.harness.atomic import write_whole
    from loraml_theory.harness.versions import versions

    prepare_file(out, inputs=[] if structure is None else [structure])
    rng = np.random.default_rng(seed)
    with computing() as progress:
        progress("searching for a strict spurious minimum")
        if structure is not None:
            proof, effort, about = _on_file(structure, rng, starts or 600)
        else:
            proof, effort, about = _over_integers(search or (), rng, structures, starts or 30)
    if proof is None:
        return 1, f"None found, nothing written. {looked(effort)} This does not prove that there is none.\n"
    used = versions("loraml-theory", "python-flint", "numpy")
    made = certificate.document(proof, {"command": context.obj, "seed": seed, "search": about, "versions": used})
    with writing(out):
        write_whole(out, certificate.dumps(made))
    value, curvature = made["value"], made["curvature"]["lower"]
    return 0, (
        f"Proved: a strict spurious minimum with {value['lower']} <= f <= {value['upper']}, the global minimum being "
        f"0, and Hessian >= {curvature}. {looked(effort)}\nCertificate: {out}\n"
    )


@app.command("check")
@deferred
def check(
    path: Annotated[Path, typer.Argument(metavar="CERT.json", help="The certificate to check.")],
) -> Exit:
    """Check a certificate with independent, exact arithmetic.

    The exit status is 0 if it is valid, 1 if it is not valid, and 2 if it cannot be read.
    """
    from loraml_theory.certified import check as independent
    from loraml_theory.harness.input_files import MEBIBYTE, read_text

    text = read_text(path, expected="a certificate", limit=LARGEST_MEBIBYTES * MEBIBYTE)
    try:
        content = independent.check(text)
    except independent.UnreadableError as problem:
        raise InputError(f"{path}: {problem}") from None
    except independent.InvalidError as problem:
        return 1, f"Not valid: {one_line(str(problem))}.\n"
    T, d, k = content.shape
    return 0, (
        f"Valid: at d = {d}, k = {k}, T = {T} a strict spurious minimum with f >= {float(content.lower):.7g}, the "
        f"global minimum being 0, and Hessian >= {float(content.curvature):.6g}. Checked in exact arithmetic.\n"
    )


def looked(effort: Effort) -> str:
    """Return a sentence on the effort of a search."""
    return (
        f"Searched {effort.structures} structure{'' if effort.structures == 1 else 's'} from {effort.starts} random "
        f"starts: {effort.stationary} ends stationary, {effort.candidates} of them distinct candidates, "
        f"{effort.proofs} proof{'' if effort.proofs == 1 else 's'} attempted."
    )


def _on_file(path: Path, rng: np.random.Generator, starts: int) -> tuple[Proof | None, Effort, dict[str, Any]]:
    import numpy as np

    from loraml_theory.certified import search
    from loraml_theory.certified.prove import MOST_UNKNOWNS
    from loraml_theory.harness.structure_file import read_structure

    truth, _ = read_structure(path)
    size = truth.T * truth.d * truth.k
    if size > MOST_UNKNOWNS:
        raise InputError(f"{one_line(str(path))}: got T d k = {size} unknowns, expected at most {MOST_UNKNOWNS}")
    largest = float(np.abs(truth.U_retraining).max())
    if not 1e-100 <= largest <= 1e100:
        raise InputError(f"{one_line(str(path))}: U_star: got entries up to {largest:.3g}, expected 1e-100 to 1e100")
    proof, effort = search.on_structure(rng, truth.U_retraining, starts=starts)
    return proof, effort, {"structure": path.name, "starts": starts}


def _over_integers(
    sizes: Sequence[int], rng: np.random.Generator, structures: int, starts: int
) -> tuple[Proof | None, Effort, dict[str, Any]]:
    from loraml_theory.certified import search
    from loraml_theory.certified.prove import MOST_UNKNOWNS

    d, k, T = sizes
    if not (1 <= k <= d and T >= 2 and d * k * T <= MOST_UNKNOWNS):
        raise InputError(
            f"--search: got d = {d}, k = {k}, T = {T}, expected 1 <= k <= d, T >= 2, d k T <= {MOST_UNKNOWNS}"
        )
    proof, effort = search.over_integers(rng, (T, d, k), structures=structures, starts=starts)
    about = {"integers": "-2..2", "structures": effort.structures, "starts": starts}
    return proof, effort, about
