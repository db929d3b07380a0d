"""What a claim is, how evidence is judged, and how verdicts follow from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import TYPE_CHECKING, Literal, TypeAlias

from paper_checks.instance import Instance

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Kind: TypeAlias = Literal["exact", "certified", "numerical", "statistical"]
Relation: TypeAlias = Literal["equal", "at most", "at least", "slope"]
Nature: TypeAlias = Literal["theorem", "empirical"]


class Outcome(StrEnum):
    """What one piece of evidence says about the statement it was gathered for."""

    AGREES = "agrees"
    DISAGREES = "disagrees"
    UNDECIDED = "undecided"


class Verdict(StrEnum):
    """What all evidence together says about a claim."""

    SUPPORTED = "supported"
    REFUTED = "refuted"
    ASSUMPTIONS_NOT_MET = "assumptions_not_met"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Profile:
    """How much work a run of the checks does.

    Parameters
    ----------
    name
        ``quick`` or ``full``.
    trials
        Monte Carlo repetitions behind every statistical statement.
    starts
        Random starts of a solver per instance.
    structures
        Structures of every ensemble on which claims are checked at scale; 0 for none.
    engine, device
        What runs them, see `sims.engines.get`.
    """

    name: str
    trials: int
    starts: int
    structures: int = 0
    engine: str = "auto"
    device: str | None = None


PROFILES = {"quick": Profile("quick", 400, 6), "full": Profile("full", 4000, 20, structures=10_000)}


@dataclass(frozen=True)
class Evidence:
    """One measured value beside its prediction.

    Parameters
    ----------
    kind
        How the value was obtained.
    instance
        Name of the instance it was measured on.
    what
        The quantity, in words, with its normalisation.
    measured, predicted
        The two values to compare.
    relation
        ``equal`` and ``slope``: within `tolerance` of each other; ``at most``: measured <= predicted + tolerance;
        ``at least``: measured >= predicted - tolerance.
    tolerance
        Absolute, >= 0.
    reason
        Why the tolerance is what it is.
    interval
        Confidence interval of the measured value (statistical evidence); then the statement disagrees only
        where the whole interval, widened by the tolerance, does.
    decidable
        False where float64, or the sample, cannot tell: the outcome is then undecided whatever was measured.
    """

    kind: Kind
    instance: str
    what: str
    measured: float
    predicted: float
    relation: Relation
    tolerance: float
    reason: str
    interval: tuple[float, float] | None = None
    decidable: bool = True

    @property
    def outcome(self) -> Outcome:
        """Compare measured with predicted; non-finite values and what is not decidable are undecided."""
        low, high = self.interval or (self.measured, self.measured)
        if not (self.decidable and all(map(isfinite, (low, high, self.predicted, self.tolerance)))):
            return Outcome.UNDECIDED
        not_above = low <= self.predicted + self.tolerance
        not_below = high >= self.predicted - self.tolerance
        agrees = {"at most": not_above, "at least": not_below}.get(self.relation, not_above and not_below)
        return Outcome.AGREES if agrees else Outcome.DISAGREES


@dataclass(frozen=True)
class Note:
    """Something a check saw and shows without judging it."""

    instance: str
    text: str


@dataclass(frozen=True)
class Finding:
    """Whether an assumption holds on an instance (None: float64 cannot tell), and the number that says so."""

    holds: bool | None
    measured: float


@dataclass(frozen=True)
class Assumption:
    """A condition of a claim as a predicate on instances."""

    what: str
    test: Callable[[Instance], Finding]


Check: TypeAlias = Callable[[Instance, Profile], Iterable[Evidence | Note]]


@dataclass(frozen=True)
class Control:
    """A statement that is false, which the same check must refute.

    Parameters
    ----------
    what
        The broken assumption or the mutated statement.
    check
        The claim's own check, with the mutation as an argument.
    own_instance
        Draws the instance the control carries, from a seed.
    on_given
        True for a mutated statement, tried first on the instances at hand; False for a broken assumption,
        which only its own instance has.
    """

    what: str
    check: Check
    own_instance: Callable[[int], Instance]
    on_given: bool = True


ScaleCheck: TypeAlias = Callable[[int, Profile], Iterable[Evidence | Note]]
"""From a seed to what ensembles of random structures say."""


@dataclass(frozen=True)
class AtScale:
    """A claim's check on ensembles of structures that meet its assumptions almost surely.

    Parameters
    ----------
    check
        Draws its own structures from a seed, so many as the profile says.
    controls
        False statements, in words, with the check that must refute each.
    """

    check: ScaleCheck
    controls: tuple[tuple[str, ScaleCheck], ...]


@dataclass(frozen=True)
class Claim:
    """A statement of the paper with all that is needed to check it.

    Parameters
    ----------
    id, title, statement, source
        What is claimed and where.
    nature
        ``theorem``: a refutation fails the run; ``empirical``: it is reported.
    assumptions
        All must hold on an instance for the check to apply.
    check
        Yields evidence and notes.
    controls
        At least one.
    instances
        Draws the default instances from a seed.
    figure
        Draws the claim's picture on given axes for one instance.
    at_scale
        Run by profiles with structures, unless the user gives instances.
    """

    id: str
    title: str
    statement: str
    source: str
    nature: Nature
    assumptions: tuple[Assumption, ...]
    check: Check
    controls: tuple[Control, ...]
    instances: Callable[[int], list[Instance]]
    figure: Callable[[Axes, Instance], None] | None = None
    at_scale: AtScale | None = None


def gather(check: Check, instance: Instance, profile: Profile) -> tuple[list[Evidence], list[Note]]:
    """Run a check on one instance and part its evidence from its notes."""
    return parted(check(instance, profile))


def parted(found: Iterable[Evidence | Note]) -> tuple[list[Evidence], list[Note]]:
    """Part evidence from notes."""
    items = list(found)
    return [i for i in items if isinstance(i, Evidence)], [i for i in items if isinstance(i, Note)]


def judge(evidence: Iterable[Evidence]) -> Verdict:
    """Return refuted if any evidence disagrees, inconclusive if any is undecided or there is none, else supported."""
    outcomes = {e.outcome for e in evidence}
    if Outcome.DISAGREES in outcomes:
        return Verdict.REFUTED
    if outcomes == {Outcome.AGREES}:
        return Verdict.SUPPORTED
    return Verdict.INCONCLUSIVE


def applicable(claim: Claim, instances: Iterable[Instance]) -> Iterator[tuple[Instance, list[Finding]]]:
    """Pair every instance with the findings of the claim's assumptions on it."""
    for instance in instances:
        yield instance, [assumption.test(instance) for assumption in claim.assumptions]
