"""`loraml certify`: prove that a spurious minimum exists, or a theorem for all instances, and check such proofs."""

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

    from loraml_theory.certified.check import Content
    from loraml_theory.certified.check_theorem import Theorem
    from loraml_theory.certified.identities import Identity
    from loraml_theory.certified.prove import Proof
    from loraml_theory.certified.search import Effort

LARGEST_K = 3  # of theorems: larger ones would take minutes, or more memory than there is
LARGEST_MEBIBYTES = 10  # far beyond any certificate
Tries = whole(1, 10**6)

app = typer.Typer(
    help="Prove that strict spurious minima exist (ML-5) or ML-3 for all structures, and check such proofs."
)


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


@app.command()
@deferred
def theorem(
    context: typer.Context,
    claim: Annotated[str, typer.Argument(metavar="CLAIM", help="The theorem: ML-3.")],
    out: Annotated[Path, typer.Option(metavar="CERT.json", help="The certificate to write.")],
    k: Annotated[int, typer.Option("--k", metavar="k", parser=whole(1, LARGEST_K), help="The rank of a task's shift.")],
    asymmetric: Annotated[bool, typer.Option("--asymmetric", help="Adapters U_t V_t^T in place of U_t U_t^T.")] = False,
    tasks: Annotated[
        int,
        typer.Option(metavar="N", parser=whole(2, 3), help="Independent tasks; with 2 there is no proof."),
    ] = 3,
) -> Exit:
    """Prove a theorem for every structure that meets its assumptions, by identities between polynomials.

    The exit status is 0 if it is proved, and 1 if no identities were found.
    """
    from paper_checks.evidence.exact_evidence import MISSING, available

    if claim != "ML-3":
        raise InputError(f"CLAIM: got {claim!r:.40}, expected ML-3")
    if not available():
        raise InputError(f"certify theorem: {MISSING}")
    from loraml_theory.certified import certificate, theorem
    from loraml_theory.certified.identities import NoIdentityError, find
    from loraml_theory.certified.minors import Ideal
    from loraml_theory.harness.atomic import write_whole
    from loraml_theory.harness.versions import versions

    prepare_file(out, inputs=[])
    ideal = Ideal(k, symmetric=not asymmetric, tasks=tasks)
    with computing() as progress:
        progress("searching for identities")
        try:
            identities = find(ideal)
        except NoIdentityError as problem:
            return 1, f"Not proved, nothing written: {problem}.\n"
    found = {"command": context.obj, "versions": versions("loraml-theory", "python-flint")}
    with writing(out):
        write_whole(out, certificate.dumps(theorem.document(ideal, identities, found)))
    return 0, f"Proved: ML-3 {_for_all(k, asymmetric)}, by {_listed(identities)}.\nCertificate: {out}\n"


@app.command("check")
@deferred
def check(
    path: Annotated[Path, typer.Argument(metavar="CERT.json", help="The certificate to check, of either kind.")],
) -> Exit:
    """Check a certificate with independent, exact arithmetic.

    The exit status is 0 if it is valid, 1 if it is not valid, and 2 if it cannot be read.
    """
    from loraml_theory.certified.check import Content, InvalidError

    try:
        _, proved = _verified(path)
    except InvalidError as problem:
        return 1, _not_valid(problem)
    return 0, _minimum_text(proved) if isinstance(proved, Content) else _theorem_text(proved)


@app.command()
@deferred
def export(
    path: Annotated[Path, typer.Argument(metavar="CERT.json", help="A certificate of a theorem.")],
    out: Annotated[Path, typer.Option(metavar="FILE.v", help="The file to write.")],
) -> Exit:
    """Check a certificate of a theorem and write it for the proof assistant Coq, whose kernel checks it again.

    The exit status is 0 if it is valid, 1 if it is not valid, and 2 if it cannot be read.
    """
    from loraml_theory.certified import coq
    from loraml_theory.certified.check import Content, InvalidError
    from loraml_theory.harness.atomic import write_whole

    prepare_file(out, inputs=[path])
    try:
        document, proved = _verified(path)
    except InvalidError as problem:
        return 1, _not_valid(problem)
    if isinstance(proved, Content):
        raise InputError(f"{path}: got a certificate of a spurious minimum, expected one of a theorem")
    with writing(out):
        write_whole(out, coq.exported(document))
    return 0, f"{_theorem_text(proved)}Written: {out}; check it with coqc\n"


def _verified(path: Path) -> tuple[dict[str, Any], Content | Theorem]:
    """Return the document of a certificate of either kind, and what it proves."""
    from loraml_theory.certified import check as independent
    from loraml_theory.certified import check_theorem
    from loraml_theory.harness.input_files import MEBIBYTE, read_text

    text = read_text(path, expected="a certificate", limit=LARGEST_MEBIBYTES * MEBIBYTE)
    try:
        document = independent.opened(text)
        of_theorem = document.get("kind") == check_theorem.KIND
        return document, check_theorem.check(document) if of_theorem else independent.verify(document)
    except independent.UnreadableError as problem:
        raise InputError(f"{path}: {problem}") from None


def _not_valid(problem: Exception) -> str:
    return f"Not valid: {one_line(str(problem))}.\n"


def _minimum_text(content: Content) -> str:
    T, d, k = content.shape
    return (
        f"Valid: at d = {d}, k = {k}, T = {T} a strict spurious minimum with f >= {float(content.lower):.7g}, the "
        f"global minimum being 0, and Hessian >= {float(content.curvature):.6g}. Checked in exact arithmetic.\n"
    )


def _theorem_text(proved: Theorem) -> str:
    said = _for_all(proved.k, proved.adapters == "asymmetric")
    return f"Valid: ML-3 {said}. {proved.terms} terms checked in exact arithmetic.\n"


def _for_all(k: int, asymmetric: bool) -> str:
    adapters = "asymmetric" if asymmetric else "symmetric"
    return (
        f"for every structure with an independent triple at k = {k}, any d >= {3 * k} and T >= 3, {adapters} adapters"
    )


def _listed(identities: list[Identity]) -> str:
    counts = ", ".join(str(len(each.terms)) for each in identities)
    return f"{len(identities)} identities of {counts} terms"


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
