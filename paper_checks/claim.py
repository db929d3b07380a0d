"""Claims, how evidence is judged, and how verdicts follow from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeAlias, TypeVar

from paper_checks.evidence.evidence import Evidence, Note, Outcome
from paper_checks.evidence.instance import Instance

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Nature: TypeAlias = Literal["theorem", "empirical"]
Group: TypeAlias = Literal["paper", "continual"]
READABLE = 20  # largest d that is legible in figures of singular values


class Subject(Protocol):
    """The subject of a check: an instance, or an experiment."""

    @property
    def name(self) -> str:
        """Name in every table."""
        ...


class Recorded(Subject, Protocol):
    """An experiment with its records."""

    @property
    def kind(self) -> str:
        """The kind of experiment."""
        ...


S = TypeVar("S", bound=Subject)


class Verdict(StrEnum):
    """The verdict of all evidence on a claim."""

    SUPPORTED = "supported"
    REFUTED = "refuted"
    ASSUMPTIONS_NOT_MET = "assumptions_not_met"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Profile:
    """The amount of work of a run.

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
        The engine of these checks, see `sims.engines.get`.
    """

    name: str
    trials: int
    starts: int
    structures: int = 0
    engine: str = "auto"
    device: str | None = None


PROFILES = {"quick": Profile("quick", 400, 6), "full": Profile("full", 4000, 20, structures=10_000)}


@dataclass(frozen=True)
class Picture:
    """One figure: a data URI, and its caption."""

    uri: str
    caption: str


@dataclass(frozen=True)
class Finding:
    """Whether an assumption holds on a subject (None: float64 cannot tell), and the deciding number."""

    holds: bool | None
    measured: float


@dataclass(frozen=True)
class Assumption(Generic[S]):
    """A condition of a claim as a predicate on subjects."""

    what: str
    test: Callable[[S], Finding]


Check: TypeAlias = Callable[[S, Profile], Iterable[Evidence | Note]]


@dataclass(frozen=True)
class Control(Generic[S]):
    """A false statement, which the same check must refute.

    Parameters
    ----------
    what
        The broken assumption or the mutated statement.
    check
        The claim's own check, with the mutation as an argument.
    own_instance
        Draws the control's own instance from a seed.
    on_given
        True for a mutated statement, tried first on the claim's subjects; False for a broken assumption, which only
        the control's own instance has.
    key
        The key quantity whose values must refute it; empty where any evidence may.
    """

    what: str
    check: Check[S]
    own_instance: Callable[[int], S]
    on_given: bool = True
    key: str = ""

    def judged(self, evidence: Iterable[Evidence]) -> list[Evidence]:
        """Return the evidence that must refute it."""
        return [item for item in evidence if self.key in ("", item.key)]


ScaleCheck: TypeAlias = Callable[[int, Profile], Iterable[Evidence | Note]]
"""Maps a seed to evidence from ensembles of random structures."""


@dataclass(frozen=True)
class AtScale:
    """A claim's check on ensembles of structures that meet its assumptions almost surely.

    Parameters
    ----------
    check
        Draws its own structures from a seed, as many as the profile says.
    controls
        False statements, in words, with the check that must refute each.
    """

    check: ScaleCheck
    controls: tuple[tuple[str, ScaleCheck], ...]

    def of(self, seed: int, profile: Profile) -> Beyond:
        """Return the checks for one seed and profile."""
        controls = tuple((what, partial(check, seed, profile)) for what, check in self.controls)
        return Beyond(partial(self.check, seed, profile), controls)


@dataclass(frozen=True)
class Beyond:
    """Evidence that is not about one subject: a proof for all of them, or ensembles.

    Parameters
    ----------
    check
        Yields the evidence.
    controls
        False statements or proofs, in words, with the check that must refute each.
    """

    check: Callable[[], Iterable[Evidence | Note]]
    controls: tuple[tuple[str, Callable[[], Iterable[Evidence | Note]]], ...]


@dataclass(frozen=True)
class Given:
    """The input of a run.

    Parameters
    ----------
    seed
        Root of every random number.
    instances
        The user's; None where claims draw their own.
        experiments
        Experiments whose records were given.
    """

    seed: int
    instances: Sequence[Instance] | None = None
    experiments: Sequence[Recorded] = ()


def _of_id(id_: str, file: str) -> AnyClaim[Any]:
    from paper_checks import registry

    return registry.get([id_], known=registry.of_file(file) if file else None)[0]


@dataclass(frozen=True, kw_only=True)
class AnyClaim(Generic[S]):
    """A statement of the paper with everything needed to check it.

    Parameters
    ----------
    id, title, statement, source
        The claim and its source.
    nature
        ``theorem``: a refutation fails the run; ``empirical``: it is reported.
    assumptions
        All must hold on a subject for the check to apply.
    check
        Yields evidence and notes.
    controls
        At least one.
    figure
        Draws the claim's picture on given axes for one subject.
    at_scale
        Run by profiles with structures, unless the user gives instances.
    for_all
        A proof for every subject that meets the assumptions; checked wherever the claim applies.
    unit
        Unit of the evidence, if it is the same for all.
    keys
        Names of the quantities that are the point of the claim, the first of which is shown beside it.
    group
        ``paper``: of the paper and what builds on it; ``continual``: of adaptation to one task after another.
    existential
        Whether the claim says that something exists: where the check yields no evidence that decides, it was looked
        for and not found, and the claim says nothing about the subject.
    file
        The file of claims of one's own that states it; empty where it is found by its id alone.
    """

    noun: ClassVar[str]

    id: str
    title: str
    statement: str
    source: str
    nature: Nature
    assumptions: tuple[Assumption[S], ...]
    check: Check[S]
    controls: tuple[Control[S], ...]
    figure: Callable[[Axes, S], None] | None = None
    at_scale: AtScale | None = None
    for_all: Beyond | None = None
    unit: str = ""
    keys: tuple[str, ...] = ()
    group: Group = "paper"
    existential: bool = False
    file: str = ""

    def __reduce__(self) -> tuple[Callable[[str, str], AnyClaim[Any]], tuple[str, str]]:
        """Pickle a claim by its id and file: another process looks it up."""
        return _of_id, (self.id, self.file)

    def subjects(self, given: Given) -> Sequence[S]:
        """Return the subjects of the check."""
        raise NotImplementedError

    def scope(self, subjects: Sequence[S]) -> str:  # noqa: ARG002
        """Return a sentence that says on what the verdict rests, if the statement does not."""
        return ""

    def most_telling(self, subjects: Sequence[S]) -> S:
        """Choose the subject of the figure."""
        return subjects[0]


@dataclass(frozen=True, kw_only=True)
class Claim(AnyClaim[Instance]):
    """A claim about structures of the linear model.

    Parameters
    ----------
    instances
        Draws the default instances from a seed.
    """

    noun: ClassVar[str] = "instance"

    instances: Callable[[int], list[Instance]]

    def subjects(self, given: Given) -> Sequence[Instance]:
        """Return the user's instances, or drawn ones."""
        return self.instances(given.seed) if given.instances is None else given.instances

    def most_telling(self, subjects: Sequence[Instance]) -> Instance:
        """Choose the first with the most retraining tasks among those small enough to read."""
        small = [i for i in subjects if i.truth.d <= READABLE] or subjects[:1]
        return max(small, key=lambda i: i.truth.T)


def gather(check: Check[S], subject: S, profile: Profile) -> tuple[list[Evidence], list[Note]]:
    """Run a check on one subject and separate evidence from notes."""
    return parted(check(subject, profile))


def parted(found: Iterable[Evidence | Note]) -> tuple[list[Evidence], list[Note]]:
    """Separate evidence from notes."""
    items = list(found)
    return [i for i in items if isinstance(i, Evidence)], [i for i in items if isinstance(i, Note)]


def judge(evidence: Iterable[Evidence]) -> Verdict:
    """Return refuted if any evidence disagrees, inconclusive if any is undecided or there is none, else supported.

    Evidence that does not decide is ignored.
    """
    outcomes = {e.outcome for e in evidence if e.decides}
    if Outcome.DISAGREES in outcomes:
        return Verdict.REFUTED
    if outcomes == {Outcome.AGREES}:
        return Verdict.SUPPORTED
    return Verdict.INCONCLUSIVE


def applicable(claim: AnyClaim[S], subjects: Iterable[S]) -> Iterator[tuple[S, list[Finding]]]:
    """Pair every subject with the findings of the claim's assumptions on it."""
    for subject in subjects:
        yield subject, [assumption.test(subject) for assumption in claim.assumptions]
