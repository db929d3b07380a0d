"""The runner: assumptions, then evidence, then the verdict, then the negative controls and near misses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import nan
from time import perf_counter
from typing import Any, TypeAlias, TypeVar

import numpy as np

from loraml_theory.harness.errors import InputError, one_line
from loraml_theory.harness.processes import Crew, Lost, Tick
from paper_checks import IMPORTS
from paper_checks.claim import (
    AnyClaim,
    Check,
    Control,
    Given,
    Picture,
    Profile,
    Recorded,
    Subject,
    Verdict,
    applicable,
    gather,
    judge,
    parted,
)
from paper_checks.evidence.evidence import Evidence, Note, Outcome
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.phrasing import comparison, headline, number, plural, quote
from paper_checks.evidence.remembered import Memory, remembering
from paper_checks.evidence.resolution import nearest_miss
from paper_checks.evidence.structure_facts import Fact, facts
from paper_checks.mutation.noticed import Matrix
from paper_checks.notation import unicode

Study: TypeAlias = Callable[[str, int], dict[str, Any]]
REAL = "real data"
S = TypeVar("S", bound=Subject)


@dataclass(frozen=True)
class AssumptionResult:
    """The result of one assumption on one subject; `holds` is None where float64 cannot tell."""

    what: str
    holds: bool | None
    measured: float
    instance: str


@dataclass(frozen=True)
class ControlResult:
    """The verdict on a false statement; `instance` refuted it, or was tried last, and `evidence` decided."""

    what: str
    instance: str
    verdict: Verdict
    evidence: Evidence | None = None


@dataclass(frozen=True)
class ClaimResult:
    """The results of one claim.

    Parameters
    ----------
    claim
        The claim itself.
    verdict, reason
        The verdict and its reason in one sentence.
    assumptions
        Findings on every subject: instances, or experiments.
        evidence, notes
        From the subjects that meet all assumptions.
    controls
        Empty where the claim does not apply.
    applied_to
        The subjects that meet all assumptions.
    seconds
        Wall time.
    picture
        The claim's picture, if it was drawn.
    """

    claim: AnyClaim[Any]
    verdict: Verdict
    reason: str
    assumptions: tuple[AssumptionResult, ...]
    evidence: tuple[Evidence, ...]
    notes: tuple[Note, ...]
    controls: tuple[ControlResult, ...]
    applied_to: tuple[Any, ...]
    seconds: float
    picture: Picture | None = None


@dataclass(frozen=True)
class Run:
    """The results of all requested claims, on `drawn` instances or the user's, and of the real data."""

    seed: int
    profile: Profile
    claims: tuple[ClaimResult, ...]
    real: dict[str, Any]
    notes: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    mutants: Matrix | None = None
    drawn: bool = True

    @property
    def exit_status(self) -> int:
        """0 when no theorem is refuted, and every control of one and every mutant is; 1 otherwise.

        A theorem that drawn instances leave inconclusive counts as refuted; on the user's it does not count. Neither
        do empirical claims.
        """
        theorems = [r for r in self.claims if r.claim.nature == "theorem"]
        failing = {Verdict.REFUTED, *([Verdict.INCONCLUSIVE] if self.drawn else [])}
        refuted = any(r.verdict in failing for r in theorems)
        missed = any(c.verdict is not Verdict.REFUTED for r in theorems for c in r.controls)
        escaped = self.mutants is not None and not self.mutants.sound
        return int(refuted or missed or escaped)


def verify(
    claims: Sequence[AnyClaim[Any]],
    profile: Profile,
    *,
    seed: int,
    given: Sequence[Instance] | None = None,
    experiments: Sequence[Recorded] = (),
    real: Study | None = None,
    notes: Iterable[str] = (),
    workers: int = 1,
    found: Callable[[ClaimResult], None] = lambda _: None,
) -> Run:
    """Check claims: theorems on their own drawn instances or on the given ones, empirical claims on experiments.

    Parameters
    ----------
    claims
        The claims, in this order.
    profile
        How much work to do.
    seed
        Root of every random number.
    given
        The user's instances; without them every theorem draws its own.
    experiments
        Experiments with records.
    real
        The study of real data, called with the profile's name and the seed; none by default.
    notes
        Sentences about the input, shown with the results.
    workers
        Number of processes; the results do not depend on it.
    found
        Called with each result, in the order in which they come.

    Raises
    ------
    InputError
        If a claim of one's own cannot be checked.
    """
    bench = Checks(tuple(claims), Given(seed, given, experiments), profile, real)
    results: dict[str, Any] = {}
    workers = min(workers, len(bench.jobs))
    for job, result in _in_turn(bench) if workers <= 1 else _side_by_side(bench, workers):
        if isinstance(result, InputError):
            raise result
        results[job] = result
        if isinstance(result, ClaimResult):
            found(result)
    study = results.pop(REAL, {})
    own = [fact for instance in given or () for fact in facts(instance, profile)]
    return Run(
        seed,
        profile,
        tuple(results[claim.id] for claim in claims),
        study,
        tuple(notes),
        tuple(own),
        drawn=given is None,
    )


@dataclass(frozen=True)
class Checks:
    """A bench that checks each of some claims by its id, and runs the study of real data by the name `REAL`."""

    claims: tuple[AnyClaim[Any], ...]
    given: Given
    profile: Profile
    real: Study | None = None
    memory: Memory = field(default_factory=dict, compare=False)  # of the claims checked in this process

    @property
    def jobs(self) -> list[str]:
        """The claims in their order, then the study."""
        return [*(claim.id for claim in self.claims), *([] if self.real is None else [REAL])]

    def do(self, job: str, _tick: Tick | None = None) -> ClaimResult | dict[str, Any] | InputError:
        """Check a claim and draw its picture, or run the study; return what is wrong with a claim of one's own."""
        given, profile = self.given, self.profile
        if job == REAL and self.real is not None:
            return self.real(profile.name, given.seed)
        claim = next(claim for claim in self.claims if claim.id == job)
        at_scale = given.instances is None and profile.structures > 0
        try:
            with remembering(self.memory):
                return drawn(check(claim, claim.subjects(given), profile, seed=given.seed, at_scale=at_scale))
        except InputError as problem:
            return problem


def _in_turn(bench: Checks) -> Iterator[tuple[str, Any]]:
    for job in bench.jobs:
        yield job, bench.do(job)


def _side_by_side(bench: Checks, workers: int) -> Iterator[tuple[str, Any]]:
    """Check claims in several processes, from the last job on: those take longest.

    Raises
    ------
    RuntimeError
        If one of them fails; its text has the traceback.
    """
    jobs = bench.jobs
    with Crew(lambda: jobs.pop() if jobs else None, bench, size=workers, imports=IMPORTS) as crew:
        for job, result in crew:
            if isinstance(result, Lost):
                raise RuntimeError(f"{job}: {result.what}\n{result.details}")
            yield job, result


def drawn(result: ClaimResult) -> ClaimResult:
    """Return the result with its picture."""
    from paper_checks.report.figures import picture

    return replace(result, picture=picture(result.claim, result.applied_to, result.evidence))


@remembering()
def check(
    claim: AnyClaim[S], subjects: Sequence[S], profile: Profile, *, seed: int, at_scale: bool = False
) -> ClaimResult:
    """Check one claim on some subjects and, if asked, on ensembles; and its controls where it applies."""
    started = perf_counter()
    assumptions: list[AssumptionResult] = []
    evidence: list[Evidence] = []
    notes: list[Note] = []
    applied_to: list[S] = []
    verdicts: list[Verdict] = []
    for subject, findings in applicable(claim, subjects):
        for assumption, finding in zip(claim.assumptions, findings, strict=True):
            found = AssumptionResult(assumption.what, finding.holds, finding.measured, subject.name)
            assumptions.append(found)
        holds = {finding.holds for finding in findings}
        if False in holds:
            verdicts.append(Verdict.ASSUMPTIONS_NOT_MET)
        elif None in holds:
            verdicts.append(Verdict.INCONCLUSIVE)
        else:
            seen, said = examine(claim.check, subject, profile)
            existing = any(item.decides for item in seen) or not claim.existential
            verdicts.append(judge(seen) if existing else Verdict.ASSUMPTIONS_NOT_MET)
            evidence += seen
            notes += said
            applied_to.append(subject)
    controls = [_control(c, applied_to, profile, seed=seed) for c in claim.controls] if applied_to else []
    beyond = [claim.for_all] if claim.for_all and applied_to else []
    if at_scale and claim.at_scale:
        beyond.append(claim.at_scale.of(seed, profile))
    for each in beyond:
        seen, said = parted(each.check())
        verdicts.append(judge(seen))
        evidence += seen
        notes += said
        controls += [_control_beyond(*control) for control in each.controls]
    controls += _near_misses(claim, evidence)
    verdict = _combine(verdicts)
    return ClaimResult(
        claim=claim,
        verdict=verdict,
        reason=claim.scope(subjects) + _reason(claim, verdict, assumptions, evidence, applied_to),
        assumptions=tuple(assumptions),
        evidence=tuple(evidence),
        notes=tuple(notes),
        controls=tuple(controls),
        applied_to=tuple(applied_to),
        seconds=perf_counter() - started,
    )


def examine(check: Check[S], subject: S, profile: Profile) -> tuple[list[Evidence], list[Note]]:
    """Run a check on one subject; where float64 overflows or divides by zero, nothing is decided."""
    try:
        with np.errstate(divide="raise", over="raise", invalid="raise"):
            return gather(check, subject, profile)
    except (ArithmeticError, np.linalg.LinAlgError) as problem:
        what = f"the whole check: {one_line(str(problem))}"
        reason = "outside of what float64 can hold or resolve"
        nothing = Evidence("numerical", subject.name, what, nan, nan, "equal", 0.0, reason, decidable=False)
        return [nothing], []


def _combine(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the claim's verdict from those of its subjects, without subjects that do not meet the assumptions."""
    counted = {v for v in verdicts if v is not Verdict.ASSUMPTIONS_NOT_MET}
    if Verdict.REFUTED in counted:
        return Verdict.REFUTED
    if Verdict.INCONCLUSIVE in counted:
        return Verdict.INCONCLUSIVE
    return Verdict.SUPPORTED if counted else Verdict.ASSUMPTIONS_NOT_MET


def _control(control: Control[S], applied_to: Sequence[S], profile: Profile, *, seed: int) -> ControlResult:
    """Try a false statement until a subject refutes it, its own one last."""
    for subject in applied_to if control.on_given else ():
        seen = control.judged(examine(control.check, subject, profile)[0])
        if judge(seen) is Verdict.REFUTED:
            return ControlResult(control.what, subject.name, Verdict.REFUTED, headline(seen))
    own = control.own_instance(seed)
    seen = control.judged(examine(control.check, own, profile)[0])
    return ControlResult(control.what, own.name, judge(seen), headline(seen))


def _control_beyond(what: str, false: Callable[[], Iterable[Evidence | Note]]) -> ControlResult:
    """Try a false statement on its ensembles, or a false proof."""
    seen, _ = parted(false())
    return ControlResult(what, seen[0].instance, judge(seen), headline(seen))


def _near_misses(claim: AnyClaim[S], evidence: Sequence[Evidence]) -> list[ControlResult]:
    """Make each value of a theorem's evidence wrong by its resolution; return the one that comes nearest to passing."""
    miss, count = nearest_miss(evidence if claim.nature == "theorem" else ())
    if miss is None:
        return []
    what = f"near miss: each of {plural(count, 'value')} wrong by its resolution"
    return [ControlResult(what, miss.instance, judge([miss]), miss)]


def _reason(
    claim: AnyClaim[S],
    verdict: Verdict,
    assumptions: Sequence[AssumptionResult],
    evidence: Sequence[Evidence],
    applied_to: Sequence[S],
) -> str:
    """Return the reason for the verdict in one sentence."""
    judged = [item for item in evidence if item.decides]
    if verdict is Verdict.SUPPORTED:
        counted_on = [item for item in judged if item.kind != "proved"]
        ensembles = {e.instance for e in counted_on} - {subject.name for subject in applied_to}
        also = f" and {plural(len(ensembles), 'ensemble')}" if ensembles else ""
        said = quote(claim.keys, judged, noun=claim.noun)
        counted = f"{plural(len(counted_on), 'value')} on {plural(len(applied_to), claim.noun)}{also} as predicted."
        return f"{said}. {counted}" if said else counted
    if verdict is Verdict.ASSUMPTIONS_NOT_MET:
        unmet = next((a for a in assumptions if a.holds is False), None)
        if unmet:
            return f"Needs {_found(unmet)}."
        looked_for = next((item for item in evidence if not item.decides), None)
        if looked_for:
            return f"Looked for and not found: {looked_for.what} on {looked_for.instance}; {looked_for.reason}."
        return f"There is no {claim.noun} to check it on."
    item = headline(evidence)
    if item and item.outcome is Outcome.DISAGREES:
        return f"{comparison(item)}."
    undecided = next((a for a in assumptions if a.holds is None), None)
    if item and item.outcome is Outcome.UNDECIDED:
        return f"Cannot be decided: {comparison(item)}."
    if undecided:
        return f"Cannot be decided whether it applies: {_found(undecided)}."
    seen = {item.instance for item in judged}
    silent = next((subject.name for subject in applied_to if subject.name not in seen), "the ensembles")
    return f"The check found nothing to judge on {silent}."


def _found(assumption: AssumptionResult) -> str:
    return f"{unicode(assumption.what)}; {assumption.instance} has {number(assumption.measured)}"
