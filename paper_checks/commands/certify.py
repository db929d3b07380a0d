"""`loraml certify`: prove that a spurious minimum exists, and check such proofs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import numpy as np
import typer
from threadpoolctl import threadpool_limits

from loraml_theory.harness.atomic import write_whole
from loraml_theory.harness.errors import InputError, one_line
from loraml_theory.harness.input_files import MEBIBYTE, read_text
from loraml_theory.harness.structure_file import read_structure
from loraml_theory.harness.versions import versions
from paper_checks.commands import common as commands
from paper_checks.evidence.exact_evidence import MISSING, available

if TYPE_CHECKING:
    from loraml_theory.certified.prove import Proof
    from loraml_theory.certified.search import Effort

Work: TypeAlias = Callable[[], tuple[int, str]]

LARGEST_FILE = 10 * MEBIBYTE  # far beyond any certificate

certificates = typer.Typer(help="Prove that strict spurious minima exist (ML-5), and check such proofs.")


def register(app: typer.Typer) -> None:
    """Add the commands to `loraml`."""
    app.add_typer(certificates, name="certify")


@certificates.callback()
def _certificates() -> None:
    pass


@certificates.command()
def spurious(
    context: typer.Context,
    out: Annotated[Path, typer.Option(metavar="CERT.json", help="The certificate to write.")],
    structure: Annotated[
        Path | None, typer.Option(metavar="FILE.npz", help="Prove it on this structure, exactly as its numbers are.")
    ] = None,
    search: Annotated[
        str | None, typer.Option(metavar="d,k,T", help="Prove it on some structure of small integers of this size.")
    ] = None,
    structures: Annotated[str, typer.Option(metavar="N", help="How many structures to search at most.")] = "200",
    starts: Annotated[
        str | None, typer.Option(metavar="M", help="Random starts on each: 30, or 600 on a structure of yours.")
    ] = None,
    seed: Annotated[str, typer.Option("--seed", metavar="S", help="Root of every random number.")] = "0",
) -> Work:
    """Find a strict spurious minimum and prove it; 0: proved, 1: none was found, which proves nothing."""
    return partial(
        prove,
        out=out,
        structure=structure,
        search=search,
        structures=structures,
        starts=starts,
        seed=seed,
        command=context.obj,
    )


@certificates.command("check")
def _check(
    certificate: Annotated[Path, typer.Argument(metavar="CERT.json", help="The certificate to check.")],
) -> Work:
    """Check a certificate with independent, exact arithmetic; 0: valid, 1: not valid, 2: unreadable."""
    return partial(check, certificate)


def prove(
    *,
    out: Path,
    structure: Path | None,
    search: str | None,
    structures: str,
    starts: str | None,
    seed: str,
    command: str,
) -> tuple[int, str]:
    """Search for a strict spurious minimum, prove it, and write the certificate to `out`."""
    if (structure is None) == (search is None):
        raise InputError("certify spurious: expected one of --structure FILE.npz and --search d,k,T")
    root, count = commands.whole_number("--seed", seed), _positive("--structures", structures)
    if not available():
        raise InputError(f"certify spurious: {MISSING}")
    from loraml_theory.certified import certificate

    commands.prepare_file(out)
    tries = _positive("--starts", starts or ("600" if search is None else "30"))
    with commands.shown_progress() as progress, threadpool_limits(limits=1, user_api="blas"):
        progress("searching for a strict spurious minimum")
        if structure is not None:
            proof, effort, about = _on_file(structure, np.random.default_rng(root), tries)
        else:
            proof, effort, about = _over_integers(str(search), np.random.default_rng(root), count, tries)
    if proof is None:
        return 1, f"None found, nothing written. {looked(effort)} That is no proof that there is none.\n"
    used = versions("loraml-theory", "python-flint", "numpy")
    made = certificate.document(proof, {"command": command, "seed": root, "search": about, "versions": used})
    with commands.writing(out):
        write_whole(out, certificate.dumps(made))
    value, curvature = made["value"], made["curvature"]["lower"]
    return 0, (
        f"Proved: a strict spurious minimum with {value['lower']} <= f <= {value['upper']}, the global minimum being "
        f"0, and Hessian >= {curvature}. {looked(effort)}\nCertificate: {out}\n"
    )


def check(path: Path) -> tuple[int, str]:
    """Verify a certificate; say what it proves, or why it does not."""
    from loraml_theory.certified import check as independent

    text = read_text(path, expected="a certificate", limit=LARGEST_FILE)
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
    """Say how hard a search looked."""
    return (
        f"Looked at {effort.structures} structure{'' if effort.structures == 1 else 's'} from {effort.starts} random "
        f"starts: {effort.stationary} ends stationary, {effort.candidates} of them distinct candidates, "
        f"{effort.proofs} proof{'' if effort.proofs == 1 else 's'} tried."
    )


def _on_file(path: Path, rng: np.random.Generator, starts: int) -> tuple[Proof | None, Effort, dict[str, Any]]:
    from loraml_theory.certified import search
    from loraml_theory.certified.prove import MOST_UNKNOWNS

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
    sizes: str, rng: np.random.Generator, structures: int, starts: int
) -> tuple[Proof | None, Effort, dict[str, Any]]:
    from loraml_theory.certified import search
    from loraml_theory.certified.prove import MOST_UNKNOWNS

    words = sizes.split(",")
    if len(words) != 3:
        raise InputError(f"--search: got {sizes!r}, expected three whole numbers d,k,T")
    d, k, T = (commands.whole_number("--search", word.strip()) for word in words)
    if not (1 <= k <= d and T >= 2 and d * k * T <= MOST_UNKNOWNS):
        raise InputError(
            f"--search: got d = {d}, k = {k}, T = {T}, expected 1 <= k <= d, T >= 2, d k T <= {MOST_UNKNOWNS}"
        )
    proof, effort = search.over_integers(rng, (T, d, k), structures=structures, starts=starts)
    about = {"integers": "-2..2", "structures": effort.structures, "starts": starts}
    return proof, effort, about


def _positive(option: str, text: str) -> int:
    number = commands.whole_number(option, text)
    if not 1 <= number <= 10**6:
        raise InputError(f"{option}: got {text!r}, expected a whole number from 1 to 1000000")
    return number
