"""Mutation: whether the claims' checks notice a false statement, a wrong formula, or that they were loosened."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from paper_checks.claim import AnyClaim, Claim, Profile, Verdict, applicable, judge
from paper_checks.evidence.drawn import draw
from paper_checks.evidence.instance import Instance
from paper_checks.mutation.edits import Mutant
from paper_checks.mutation.noticed import Matrix, MutantResult, Notice
from paper_checks.verify import ClaimResult, check, examine

PROFILE = Profile("mutants", trials=600, starts=3)
SHAPES = (
    ("integer", 8, 1, 2),
    ("generic", 8, 1, 3),
    ("generic", 8, 1, 2),
    ("integer", 12, 2, 3),
    ("spurious", 4, 1, 3),
)
"""Ensembles for every claim that applies; small, since a wrong formula is wrong at every size."""

LARGEST = 12  # dimension of the instances on which loosened checks are tried
OF_VERDICTS = {Verdict.REFUTED: Notice.REFUTED, Verdict.INCONCLUSIVE: Notice.WITHHELD}


def mutated_theorems(results: Iterable[ClaimResult]) -> list[MutantResult]:
    """Return the negative controls of the claims that a run checked: the statements themselves, mutated."""
    return [
        MutantResult(
            f"{result.claim.id}, {control.what}",
            "",
            "theorem",
            (result.claim.id,),
            {result.claim.id: OF_VERDICTS.get(control.verdict, Notice.SUPPORTED)},
        )
        for result in results
        if isinstance(result.claim, Claim)
        for control in result.controls
    ]


def matrix(
    mutants: Sequence[Mutant],
    claims: Sequence[AnyClaim[Any]],
    *,
    seed: int,
    theorems: Sequence[MutantResult] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> Matrix:
    """Try every mutant that one of the claims must notice on all claims.

    Parameters
    ----------
    mutants
        Mutants of code.
        claims
        Claims about experiments are ignored.
        seed
        Root of every random number.
        theorems
        Mutated theorems and loosened checks with their results.
        progress
        Called with the name of the next step.
    """
    tried = [claim for claim in claims if isinstance(claim, Claim)]
    subjects = {claim.id: _subjects(claim, seed) for claim in tried}
    unmutated = {claim.id: _notice(claim, subjects[claim.id]) for claim in tried}
    results = list(theorems)
    for mutant in mutants:
        must = tuple(id_ for id_ in mutant.noticed_by if id_ in subjects)
        if not must:
            continue
        progress(f"mutant: {mutant.what}")
        with mutant.applied():
            notices = {claim.id: _notice(claim, subjects[claim.id]) for claim in tried}
        results.append(MutantResult(mutant.what, mutant.change, "code", must, notices))
    return Matrix(unmutated, tuple(results))


def loosened_checks(
    mutants: Sequence[Mutant],
    claims: Sequence[AnyClaim[Any]],
    *,
    seed: int,
    progress: Callable[[str], None] = lambda _: None,
) -> list[MutantResult]:
    """Try every loosened check on the claims that must notice it, with their controls and near misses."""
    tried = {claim.id: claim for claim in claims if isinstance(claim, Claim)}
    results = []
    for mutant in mutants:
        must = tuple(id_ for id_ in mutant.noticed_by if id_ in tried)
        if not must:
            continue
        progress(f"loosened check: {mutant.what}")
        with mutant.applied():
            notices = {id_: _notice_of_controls(tried[id_], seed) for id_ in must}
        results.append(MutantResult(mutant.what, mutant.change, "check", must, notices))
    return results


def _notice_of_controls(claim: Claim, seed: int) -> Notice:
    """Check a claim as a run does, on its smaller instances."""
    small = [subject for subject in claim.instances(seed) if subject.truth.d <= LARGEST]
    try:
        result = check(claim, small, PROFILE, seed=seed)
    except Exception:
        return Notice.CRASHED
    if any(control.verdict is not Verdict.REFUTED for control in result.controls):
        return Notice.MISSED
    return OF_VERDICTS.get(result.verdict, Notice.SUPPORTED)


def _subjects(claim: Claim, seed: int) -> list[Instance]:
    """Draw instances on which the right code supports a claim, so that a mutant that changes this is noticed."""
    drawn = [draw(*shape, seed) for shape in SHAPES]
    met = [subject for subject, findings in applicable(claim, drawn) if all(f.holds for f in findings)]
    return [subject for subject in met if _verdict(claim, subject) is not Verdict.INCONCLUSIVE]


def _notice(claim: Claim, subjects: Sequence[Instance]) -> Notice:
    """Run a claim's check until an instance refutes it; code that cannot run is not a refutation."""
    notice = Notice.SUPPORTED if subjects else Notice.NOTHING
    for subject in subjects:
        try:
            verdict = _verdict(claim, subject)
        except Exception:
            notice = Notice.CRASHED
        else:
            if verdict is Verdict.REFUTED:
                return Notice.REFUTED
            if verdict is Verdict.INCONCLUSIVE:
                notice = Notice.WITHHELD
    return notice


def _verdict(claim: Claim, subject: Instance) -> Verdict:
    return judge(examine(claim.check, subject, PROFILE)[0])
