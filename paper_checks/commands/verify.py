"""`loraml verify`: check the claims."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from os.path import lexists, realpath
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loraml_theory.harness.errors import InputError, install
from loraml_theory.harness.processes import cores, prepare
from paper_checks import IMPORTS
from paper_checks.commands.deferred import Exit, deferred
from paper_checks.commands.options import Device, EngineName, Group, Ids, Profile, Seed, claim_ids, one_of, whole
from paper_checks.commands.output import prepare_folder, rendered, write_files
from paper_checks.commands.progress import computing

if TYPE_CHECKING:
    from paper_checks.claim import AnyClaim, Recorded
    from paper_checks.claim import Profile as AmountOfWork
    from paper_checks.evidence.instance import Instance
    from paper_checks.mutation.noticed import Matrix
    from paper_checks.verify import Run, Study

TRIES = 200
OF_FALSIFY = {"claim", "claims", "falsify", "profile", "seed", "tries"}


@deferred
def verify(
    context: typer.Context,
    structure: Annotated[
        Path | None,
        typer.Option(metavar="FILE.npz", help="Check this structure (A_star, U_star) instead of drawn ones."),
    ] = None,
    claim: Annotated[
        Ids | None,
        typer.Option(
            metavar="ID,ID…",
            parser=claim_ids,
            help="Check only these claims; `loraml claims` lists them.",
        ),
    ] = None,
    group: Group = "all",
    claims: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.py",
            help="Check the claims that this file states, or with --claim those named of all. The file is a program, "
            "and is executed: read one that is not yours first.",
        ),
    ] = None,
    falsify: Annotated[
        bool,
        typer.Option(
            "--falsify",
            help="Search for a counterexample to the claims of --claim or --claims, and print it as a program.",
        ),
    ] = False,
    tries: Annotated[
        int | None,
        typer.Option(
            metavar="N", parser=whole(1, 10**6), help=f"The structures that --falsify tries, {TRIES} if not given."
        ),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Take the structure's floats as exact numbers, for exact evidence.")
    ] = False,
    records: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR", help="Check the claims on experiments with the records in this folder; may be repeated."
        ),
    ] = None,
    mutants: Annotated[
        bool,
        typer.Option(
            "--mutants", help="Also run the checks on wrong formulas, and loosened checks: each must be noticed."
        ),
    ] = False,
    profile: Profile = "quick",
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder for verdicts.json and report.html.")] = Path(
        "reports/verify"
    ),
    unfolded: Annotated[bool, typer.Option("--unfolded", help="Write the page with all evidence open.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print verdicts.json instead of a table.")] = False,
    workers: Annotated[
        int | None,
        typer.Option(metavar="W", parser=whole(1, 999), help="The number of processes: one per core if not given."),
    ] = None,
    engine: Annotated[EngineName, one_of(EngineName, "The engine of the checks at scale of --profile full.")] = "auto",
    device: Device = None,
) -> Exit:
    """Check the claims, and write verdicts.json and report.html."""
    workers = workers or cores()
    if workers > 1 and not falsify and (claim, claims, structure) == (None, None, None):
        prepare(IMPORTS)  # while this process imports what it needs itself
    from paper_checks.claim import PROFILES
    from paper_checks.evidence import exact_evidence
    from paper_checks.report.terminal import one_row
    from paper_checks.verify import verify as run_checks
    from sims import engines

    if falsify:
        return _falsified(context, _asked(claim, claims, group), PROFILES[profile], seed, tries or TRIES)
    if tries is not None:
        raise InputError("--tries: expected --falsify with it")
    _check_folders(records or (), out)
    asked = _asked(claim, claims, group)
    chosen, experiments, without = _with_records(asked, records or (), by_id=claim is not None)
    level = replace(PROFILES[profile], engine=engine, device=device)
    if level.structures:
        engines.get(engine, device)  # a missing engine is reported now rather than after the other checks
    given, notes = _given(structure, seed, exact=exact)
    if mutants and given is not None:
        raise InputError("--mutants: expected no --structure, the mutants are tried on drawn structures")
    if not exact_evidence.available():
        notes = [*notes, exact_evidence.OMITTED]
    prepare_folder(out)
    with computing() as progress:
        progress(f"checking {len(chosen)} claims")
        run = run_checks(
            chosen,
            level,
            seed=seed,
            given=given,
            experiments=experiments,
            real=_real_study() if group != "continual" and (structure, claim, claims) == (None, None, None) else None,
            notes=[*notes, *without],
            workers=workers,
            found=lambda result: progress.keep(one_row(result)),
        )
        if mutants:
            run = replace(run, mutants=_mutants(run, progress))
        progress("report")
        text = _write_reports(run, out, context.obj, unfolded=unfolded)
    return run.exit_status, text if as_json else _table(run, out)


def _asked(ids: Ids | None, file: Path | None, group: str) -> Sequence[AnyClaim[Any]]:
    """Return the claims of these ids, or else those of the file, or else all, as far as they are of the group."""
    from paper_checks import registry

    own = () if file is None else registry.of_file(str(file))
    if ids is not None:
        return registry.get(ids, known=registry.of_group(group, known=[*registry.claims(), *own]))
    chosen = registry.of_group(group, known=None if file is None else own)
    if file is not None and not chosen:
        raise InputError(f"--group: got {group}, expected another: {file} states no claim of it")
    return chosen


def _falsified(
    context: typer.Context, asked: Sequence[AnyClaim[Any]], profile: AmountOfWork, seed: int, tries: int
) -> Exit:
    """Search for counterexamples; status 1 if a theorem has one."""
    if find_spec("hypothesis") is None:
        raise InputError(f"--falsify: needs Hypothesis: {install('testing')}")
    from paper_checks.claim import Claim
    from paper_checks.falsify import falsify
    from paper_checks.report.counterexample import text

    given = {p.name: p.opts[0] for p in context.command.params if _is_given(context, p.name)}
    if not given.keys() & {"claim", "claims"}:
        raise InputError("--falsify: expected --claims FILE.py or --claim ID,ID with it")
    if others := sorted(given[name] for name in given.keys() - OF_FALSIFY):
        raise InputError(
            f"--falsify: got {', '.join(others)} with it, expected only --claim, --claims, --profile, --seed, --tries"
        )
    for claim in asked:
        if not isinstance(claim, Claim):
            raise InputError(f"--falsify: {claim.id} is about experiments, expected claims about structures")
    with computing() as progress:
        found = [
            falsify(claim, profile, seed=seed, structures=tries, progress=progress)
            for claim in asked
            if isinstance(claim, Claim)
        ]
    refuted = any(search.counterexample and search.claim.nature == "theorem" for search in found)
    return int(refuted), "\n".join(map(text, found))


def _is_given(context: typer.Context, name: str | None) -> bool:
    source = context.get_parameter_source(name or "")
    return source is not None and source.name == "COMMANDLINE"


def _check_folders(records: Sequence[Path], out: Path) -> None:
    """Raise if a folder of records is given twice, which would count twice as evidence, or would lose its report."""
    places = [realpath(folder) for folder in records]
    for folder, place in zip(records, places, strict=True):
        if places.count(place) > 1:
            raise InputError(f"--records: got {str(folder)!r} twice, expected every folder once")
        if place == realpath(out) and lexists(folder / "experiment.json"):
            raise InputError(f"--out: got {str(out)!r}, which has its own report.html; expected another folder")


def _with_records(
    asked: Sequence[AnyClaim[Any]], folders: Sequence[Path], *, by_id: bool
) -> tuple[list[AnyClaim[Any]], list[Recorded], list[str]]:
    """Read the records; omit the empirical claims without any and report them, or refuse those requested by id."""
    from paper_checks.evidence.records import judged, read_records

    try:
        experiments = [read_records(folder) for folder in folders]
        chosen, without = judged(asked, experiments)
    except InputError as problem:
        raise InputError(f"--records: {problem}") from None
    if not without:
        return chosen, experiments, []
    if by_id:
        first = without[0]
        how = f"`{first.command}`, then `loraml verify --records DIR`"
        raise InputError(f"--claim: {first.id} needs records: {how}")
    makers = ", ".join(f"{claim.id} (`{claim.command}`)" for claim in without)
    return chosen, experiments, [f"Not checked without records, which `--records DIR` gives: {makers}"]


def _given(structure: Path | None, seed: int, *, exact: bool) -> tuple[list[Instance] | None, list[str]]:
    """Read the user's structure, if given."""
    from paper_checks.evidence import exact_evidence
    from paper_checks.evidence.given import given_instance

    if exact and structure is None:
        raise InputError("--exact: expected --structure FILE.npz with it")
    if exact and not exact_evidence.available():
        raise InputError(f"--exact: {exact_evidence.MISSING}")
    if structure is None:
        return None, []
    instance, notes = given_instance(structure, seed=seed, exact=exact)
    return [instance], notes


def _mutants(run: Run, progress: Callable[[str], None]) -> Matrix:
    from paper_checks.mutation.loosened import LOOSENED
    from paper_checks.mutation.matrix import loosened_checks, matrix, mutated_theorems
    from paper_checks.mutation.mutants import MUTANTS

    chosen = [result.claim for result in run.claims]
    known = mutated_theorems(run.claims) + loosened_checks(LOOSENED, chosen, seed=run.seed, progress=progress)
    return matrix(MUTANTS, chosen, seed=run.seed, theorems=known, progress=progress)


def _real_study() -> Study:
    from realdata.completion.digits import study

    return study


def _write_reports(run: Run, out: Path, command: str, *, unfolded: bool) -> str:
    """Write the reports and the certificates, and return the JSON text."""
    from loraml_theory.harness.versions import environment
    from paper_checks.report import html, verdicts

    made_by = environment(command)
    text = verdicts.dumps(verdicts.document(run, made_by))
    page = html.render(run, made_by, unfolded=unfolded)
    notes = [note for result in run.claims for note in result.notes]
    certificates = {note.file: note.certificate for note in notes if note.file and note.certificate}
    write_files(out, {**certificates, "verdicts.json": text, "report.html": page})
    return text


def _table(run: Run, out: Path) -> str:
    from paper_checks.report.terminal import show_run

    return rendered(lambda console: show_run(console, run, str(out / "report.html")))
