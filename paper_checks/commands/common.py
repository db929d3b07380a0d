"""What the commands of `loraml` do; each returns an exit status and the text for standard output."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from math import log2
from os.path import realpath
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from loraml_theory.harness import versions
from loraml_theory.harness.atomic import replacing
from loraml_theory.harness.errors import InputError, one_line
from loraml_theory.harness.structure_file import MAX_ENTRIES, read_structure, write_structure
from loraml_theory.structure import GroundTruth
from paper_checks import registry
from paper_checks.claim import PROFILES, AnyClaim, Given, Profile, Recorded
from paper_checks.evidence import exact_evidence
from paper_checks.evidence.empirical import EmpiricalClaim
from paper_checks.evidence.experiment import ExperimentError
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.records import read_records
from paper_checks.verify import Run, Study
from paper_checks.verify import verify as run_checks
from sims import engines

if TYPE_CHECKING:
    from rich.console import Console

    from paper_checks.mutation.noticed import Matrix

SCALES = (1e-100, 1e100)

DEFAULT_OUT = Path("reports/verify")
WRITTEN = (".csv", ".html", ".json", ".md", ".png")  # what commands write right into a folder


def verify(
    *,
    structure: Path | None,
    claim: str | None,
    profile: str,
    seed: str,
    out: Path,
    as_json: bool,
    command: str,
    engine: str = "auto",
    device: str | None = None,
    exact: bool = False,
    mutants: bool = False,
    records: Sequence[Path] = (),
) -> tuple[int, str]:
    """Check claims, write verdicts.json and report.html to `out`, and return the table or the JSON text."""
    asked = registry.claims() if claim is None else registry.get(_listed("--claim", claim))
    try:
        experiments = [read_records(folder) for folder in records]
        chosen, without = _with_records(asked, experiments, by_id=claim is not None)
    except ExperimentError as problem:
        raise InputError(f"--records: {problem}") from None
    level, root = replace(_profile(profile), engine=engine, device=device), whole_number("--seed", seed)
    if level.structures:
        engines.get(engine, device)  # what is not there is said now rather than after the other checks
    given, notes = _given(structure, root, exact=exact)
    if mutants and given is not None:
        raise InputError("--mutants: expected no --structure with it, the mutants are tried on drawn structures")
    if not exact_evidence.available():
        notes.append(exact_evidence.OMITTED)
    prepare_folder(out)
    # the matrices are small and many: one BLAS thread is faster than two, many times so beside other work
    with shown_progress() as progress, threadpool_limits(limits=1, user_api="blas"):
        run = run_checks(
            chosen,
            level,
            seed=root,
            given=given,
            experiments=experiments,
            real=_real_study() if structure is None and claim is None else None,
            notes=[*notes, *without],
            progress=progress,
        )
        if mutants:
            run = replace(run, mutants=_mutants(run, progress))
        progress("report")
        text = _write_reports(run, out, command)
    return run.exit_status, text if as_json else _table(run, out)


def claims(ids: str | None) -> tuple[int, str]:
    """Return every claim in short, or some in full."""
    from paper_checks.report.terminal import show_claims, show_list

    if ids is None:
        return 0, rendered(lambda console: show_list(console, registry.claims()))
    chosen = registry.get(_listed("claims", ids))
    return 0, rendered(lambda console: show_claims(console, chosen))


def structure(kind: str, *, sizes: dict[str, str], seed: str, out: Path) -> tuple[int, str]:
    """Draw a structure of sizes d, k and T and write it to `out`."""
    from loraml_theory.zoo import KINDS

    d, k, T = (whole_number(f"--{name}", sizes[name]) for name in "dkT")
    rng = np.random.default_rng(whole_number("--seed", seed))
    if kind not in KINDS:
        raise InputError(f"KIND: got {kind!r}, expected one of {', '.join(sorted(KINDS))}")
    if d * max(d, (T + 1) * k) > MAX_ENTRIES:
        raise InputError(f"--d, --k, --T: got {d}, {k}, {T}, expected at most {MAX_ENTRIES} numbers")
    prepare_file(out)
    try:
        truth = KINDS[kind](rng, d, k, T)
    except ValueError as problem:
        raise InputError(f"{kind} with d = {d}, k = {k}, T = {T}: {problem}") from None
    with writing(out):
        write_structure(out, truth)
    return 0, f"{out}: {kind}, d = {truth.d}, k = {truth.k}, T = {truth.T}, seed {seed}\n"


def _listed(option: str, text: str) -> list[str]:
    """Split a comma-separated list."""
    ids = [word.strip() for word in text.split(",") if word.strip()]
    if not ids:
        raise InputError(f"{option}: got {text!r}, expected ids of claims with commas between them")
    return ids


def whole_number(option: str, text: str) -> int:
    """Read a whole number from 0 to 10^18 - 1."""
    if not (text.isdecimal() and text.isascii() and len(text) <= 18):
        raise InputError(f"{option}: got {text!r}, expected a whole number >= 0 of at most 18 digits")
    return int(text)


def _profile(name: str) -> Profile:
    if name not in PROFILES:
        raise InputError(f"--profile: got {name!r}, expected {' or '.join(PROFILES)}")
    return PROFILES[name]


def _given(structure: Path | None, seed: int, *, exact: bool) -> tuple[list[Instance] | None, list[str]]:
    """Read the user's structure, if there is one, as an instance under the file's name."""
    if exact and structure is None:
        raise InputError("--exact: expected --structure FILE.npz with it")
    if exact and not exact_evidence.available():
        raise InputError(f"--exact: {exact_evidence.MISSING}")
    if structure is None:
        return None, []
    truth, notes = read_structure(structure)
    name = one_line(structure.name)
    with np.errstate(over="ignore"):
        scale = float(truth.scale)
    if not SCALES[0] <= scale <= SCALES[1]:
        raise InputError(
            f"{one_line(str(structure))}: A_star, U_star: got max_t ||A_star + U_t U_t^T||_F = {scale:.3g}, "
            f"expected {SCALES[0]:g} to {SCALES[1]:g}"
        )
    exact = exact or exact_evidence.whole_numbers(truth)
    if not exact:
        notes = [*notes, "exact evidence omitted: not all entries are whole numbers, and --exact was not given"]
    elif truth.d > exact_evidence.LARGEST and exact_evidence.available():
        notes = [*notes, f"exact evidence omitted: d = {truth.d} > {exact_evidence.LARGEST}"]
    power = round(log2(scale) / 2)
    if abs(power) > 10:  # exact in float64: A_star by a power of 4, the factors by its root
        truth = GroundTruth(truth.A_star * 4.0**-power, truth.U_star * 2.0**-power)
        notes = [*notes, f"checked in units of 4^{power}, A_star / 4^{power} and U_star / 2^{power}"]
    return [Instance(name, truth, seed, exact)], [f"{name}: {note}" for note in notes]


def _with_records(
    asked: Sequence[AnyClaim[Any]], experiments: Sequence[Recorded], *, by_id: bool
) -> tuple[list[AnyClaim[Any]], list[str]]:
    """Leave out the empirical claims without records, or refuse if they were asked for by id; say which and how.

    Raises
    ------
    InputError
        If a claim asked for by id has no records.
    ExperimentError
        If there are records that no claim asked for is about, or that do not say on what data they are.
    """
    there = Given(0, experiments=experiments)
    empirical = [claim for claim in asked if isinstance(claim, EmpiricalClaim)]
    without = [claim for claim in empirical if not claim.subjects(there)]
    lines = [f"{claim.id} needs records: `{claim.command}`, then `loraml verify --records DIR`" for claim in without]
    if lines and by_id:
        raise InputError(f"--claim: {lines[0]}")
    for experiment in experiments:
        about = [claim for claim in empirical if claim.experiment == experiment.kind]
        if not about:
            raise ExperimentError(f"{experiment.name}: no claim asked for is about an experiment {experiment.kind!r}")
        for claim in about:
            claim.described(experiment)  # what it lacks is said now rather than after the other checks
    return [claim for claim in asked if claim not in without], [f"left out: {line}" for line in lines]


def _mutants(run: Run, progress: Callable[[str], None]) -> Matrix:
    from paper_checks.mutation.matrix import matrix, mutated_theorems
    from paper_checks.mutation.mutants import MUTANTS

    chosen = [result.claim for result in run.claims]
    return matrix(MUTANTS, chosen, seed=run.seed, theorems=mutated_theorems(run.claims), progress=progress)


def _real_study() -> Study:
    from realdata.completion.digits import study

    return study


def prepare_folder(out: Path) -> None:
    """Make the folder and see that it can be written, before the long computation rather than after it."""
    if not str(out).strip() or str(out) == ".":
        raise InputError("--out: got the current folder, expected the name of a folder of its own")
    with writing(out):
        if out.exists() and not out.is_dir():
            raise InputError(f"{out}: is a file, expected a folder or a name that is free")
        out.mkdir(parents=True, exist_ok=True)
        for entry in out.iterdir():
            if entry.suffix in WRITTEN and not entry.is_file():
                raise InputError(f"{entry}: is not a regular file, expected one that can be replaced, or nothing")
        with TemporaryFile(dir=out):
            pass


def prepare_file(path: Path) -> None:
    """See that a file can be written there, before the long computation rather than after it."""
    with writing(path):
        target = Path(realpath(path))
        if target.is_symlink() or (target.exists() and not target.is_file()):
            raise InputError(f"{path}: is not a regular file, expected the name of a file to write")
        with TemporaryFile(dir=target.parent):
            pass


def _write_reports(run: Run, out: Path, command: str) -> str:
    """Write the reports, complete in memory before the first byte is written, and return the JSON text."""
    from paper_checks.report import html, verdicts

    environment = versions.environment(command)
    text = verdicts.dumps(verdicts.document(run, environment))
    page = html.render(run, environment)
    notes = [note for result in run.claims for note in result.notes]
    certificates = [(note.file, note.certificate) for note in notes if note.file and note.certificate]
    with writing(out):
        for name, content in (*certificates, ("verdicts.json", text), ("report.html", page)):
            (out / name).parent.mkdir(exist_ok=True)
            with replacing(out / name) as file:
                file.write(content.encode())
    return text


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError into the one line that says what cannot be written."""
    try:
        yield
    except OSError as problem:
        raise InputError(f"{path}: cannot be written ({problem.strerror})") from None
    except RecursionError:  # folders that are not there are made from the innermost out
        raise InputError(f"{path}: cannot be written (too many folders in folders)") from None


def _table(run: Run, out: Path) -> str:
    from paper_checks.report.terminal import show_run

    return rendered(lambda console: show_run(console, run, str(out / "report.html")))


def rendered(show: Callable[[Console], None]) -> str:
    """Return what `show` prints, in colour where standard output is a terminal."""
    from rich.console import Console

    page = StringIO()
    show(Console(file=page, force_terminal=(sys.stdout is not None and sys.stdout.isatty()) or None, highlight=False))
    return page.getvalue()


@contextmanager
def shown_progress() -> Iterator[Callable[[str], None]]:
    """Yield a function that shows on standard error what is being done, if that is a terminal."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("") as status:
        yield lambda text: status.update(Text(text))
