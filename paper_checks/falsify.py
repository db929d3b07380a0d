"""The search for a counterexample to a claim: structures that meet its assumptions and on which its check disagrees.

Half of the structures are drawn by Hypothesis, from those of `loraml_theory.testing`, whose examples shrink. The other
half are on climbs from the drawn ones that are nearest to a refutation: steps in all entries that keep the assumptions
and do not decrease their strains. Needs Hypothesis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from heapq import nlargest
from math import inf
from random import Random
from tempfile import TemporaryDirectory
from typing import TypeAlias

import numpy as np
from hypothesis import Phase, find, reject, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.errors import NoSuchExample, Unsatisfiable

from loraml_theory.harness.errors import InputError
from loraml_theory.harness.seeds import derived_seed, generator
from loraml_theory.structure import GroundTruth
from loraml_theory.testing import ground_truths
from paper_checks.claim import Claim, Profile
from paper_checks.evidence.evidence import Evidence, Outcome
from paper_checks.evidence.instance import Instance
from paper_checks.verify import examine

CLIMBS = 3
FIRST_STEP = 0.3  # of the largest entry
REFUTED = (inf,)
GROWTH, DECAY = 1.5, 0.9  # of the step: kept in balance by one success in five
DIGITS = range(17)


Strains: TypeAlias = tuple[float, ...]
"""Compared by the largest, then by the next: a bound that every structure attains hides nothing behind it."""


@dataclass(frozen=True)
class Search:
    """The end of a search.

    Parameters
    ----------
    claim
        The claim.
    seed, profile
        Those with which its check ran.
    checked, unmet
        Number of structures on which it ran, and of those drawn that do not meet the assumptions.
    counterexample
        A structure on which it disagrees, the smallest found; None without any.
    nearest
        The evidence that disagrees there, or else that of the largest `strain` of all; None without any.
    """

    claim: Claim
    seed: int
    profile: Profile
    checked: int
    unmet: int
    counterexample: Instance | None
    nearest: Evidence | None


def falsify(
    claim: Claim,
    profile: Profile,
    *,
    seed: int,
    structures: int,
    progress: Callable[[str], None] = lambda _: None,
) -> Search:
    """Search for a counterexample among this many structures; a counterexample is then made smaller with some more.

    Parameters
    ----------
    claim
        The claim.
    profile
        The amount of work of its check.
    seed
        Root of every random number: the same seed finds the same.
    structures
        Number of structures that meet the assumptions, half of them drawn. Up to ten times as many are drawn where
        they do not meet them, and up to 500 while a counterexample shrinks.
    progress
        Called with how far the search is.

    Raises
    ------
    InputError
        If the check of a claim of one's own fails.
    """
    tried = Tried(claim, profile, seed, progress)
    drawn = (structures + 1) // 2
    found = _drawn(tried, drawn)
    for number, (best, start) in enumerate([] if found else tried.nearest_first()):
        found = _climbed(tried, start, best, (structures - drawn + number) // CLIMBS, number)
        if found:
            found = _rounded(tried, found)
            break
    counterexample = None if found is None else tried.instance(found)
    against = tried.nearest if found is None else tried.against(found)
    return Search(claim, seed, profile, tried.checked, tried.unmet, counterexample, against)


class Tried:
    """The structures on which a claim was checked, those nearest to a refutation, and the evidence nearest to one."""

    def __init__(self, claim: Claim, profile: Profile, seed: int, progress: Callable[[str], None]) -> None:
        self.claim, self.profile, self.seed, self.progress = claim, profile, seed, progress
        self.checked, self.unmet = 0, 0
        self.nearest: Evidence | None = None
        self._seen: list[tuple[Strains, int, GroundTruth]] = []

    def instance(self, truth: GroundTruth, *, another: int = 0) -> Instance:
        """Return the structure as an instance that is named after its size."""
        return Instance(f"d={truth.d} k={truth.k} T={truth.T}", truth, self.seed + another)

    def strains(self, truth: GroundTruth) -> Strains | None:
        """Return the strains of the claim's evidence on a structure, the largest first, or `REFUTED`.

        None where the assumptions do not hold.
        """
        instance = self.instance(truth)
        if not all(assumption.test(instance).holds for assumption in self.claim.assumptions):
            self.unmet += 1
            return None
        evidence = [item for item in self._evidence(instance) if item.outcome is not Outcome.UNDECIDED]
        self.checked += 1
        if self._disagreeing(truth, evidence):
            return REFUTED
        nearest = max(evidence, key=strain, default=None)
        if nearest and (self.nearest is None or strain(nearest) > strain(self.nearest)):
            self.nearest = nearest
        if self.checked % 10 == 0:
            self.progress(f"{self.claim.id}: {self.checked} structures checked, no counterexample so far")
        found = tuple(sorted(map(strain, evidence), reverse=True))
        self._seen.append((found, -self.checked, truth))
        return found

    def against(self, truth: GroundTruth) -> Evidence | None:
        """Return evidence that disagrees on a structure."""
        return next(iter(self._disagreeing(truth, self._evidence(self.instance(truth)))), None)

    def nearest_first(self) -> list[tuple[Strains, GroundTruth]]:
        """Return the few structures on which the claim was nearest to a refutation, with their strains."""
        return [(found, truth) for found, _, truth in nlargest(CLIMBS, self._seen)]

    def _evidence(self, instance: Instance) -> list[Evidence]:
        return [item for item in examine(self.claim.check, instance, self.profile)[0] if item.decides]

    def _disagreeing(self, truth: GroundTruth, evidence: list[Evidence]) -> list[Evidence]:
        """Return what disagrees; samples only where a second sample disagrees too, since many are looked at."""
        found = [item for item in evidence if item.outcome is Outcome.DISAGREES]
        if found and all(item.kind == "statistical" for item in found):
            again = self._evidence(self.instance(truth, another=1))
            return found if any(item.outcome is Outcome.DISAGREES for item in again) else []
        return found


def strain(evidence: Evidence) -> float:
    """Return how near evidence is to a disagreement: from 0 to 1 where it agrees, more where it does not.

    It is the share that it uses of what is tolerated; for a bound b, tolerance included, it is
    ``1 + (m - b) / (|m| + |b|)`` with m the end of the interval that is nearest to keeping it, and ``b - m`` for a
    lower one, since a bound that is kept has a share of 0 however near it is.
    """
    low, high = evidence.interval or (evidence.measured, evidence.measured)
    if evidence.relation == "at most":
        over, size = low - (evidence.predicted + evidence.tolerance), abs(evidence.predicted + evidence.tolerance)
    elif evidence.relation == "at least":
        over, size = evidence.predicted - evidence.tolerance - high, abs(evidence.predicted - evidence.tolerance)
    else:
        return evidence.share
    size += abs(low if evidence.relation == "at most" else high)
    return 1 + over / size if size else 1.0


def _drawn(tried: Tried, count: int) -> GroundTruth | None:
    """Draw structures, and return the smallest on which the claim is refuted."""

    def fails(truth: GroundTruth) -> bool:
        try:
            found = tried.strains(truth)
        except InputError:  # the smallest structure of which the check fails is the one to name
            return True
        return reject() if found is None else found == REFUTED

    how = settings(
        database=None, deadline=None, derandomize=False, max_examples=count, phases=(Phase.generate, Phase.shrink)
    )
    with _nothing_kept():
        try:
            truth = find(
                st.one_of(ground_truths(exact=True), ground_truths()),
                fails,
                settings=how,
                random=Random(derived_seed(tried.seed, "draw", tried.claim.id)),
            )
        except (NoSuchExample, Unsatisfiable):
            return None
    tried.strains(truth)
    return truth


@contextmanager
def _nothing_kept() -> Iterator[None]:
    """Keep Hypothesis from writing into the current folder."""
    with TemporaryDirectory() as folder:
        set_hypothesis_home_dir(folder)
        try:
            yield
        finally:
            set_hypothesis_home_dir(None)


def _climbed(tried: Tried, at: GroundTruth, best: Strains, count: int, number: int) -> GroundTruth | None:
    """Step from a structure to others of no smaller strains, and return the first on which the claim is refuted.

    A step is normal in every entry, relative to the largest one; its size follows from its success: the evolution
    strategy (1+1) with the rule of one success in five.
    """
    rng, step = generator(tried.seed, "climb", tried.claim.id, number), FIRST_STEP
    for _ in range(count):
        near = GroundTruth(
            *(x + step * np.max(np.abs(x)) * rng.standard_normal(x.shape) for x in (at.A_star, at.U_star))
        )
        found = tried.strains(near)
        if found == REFUTED:
            return near
        if found is None or found < best:
            step *= DECAY
            continue
        step *= GROWTH if found > best else 1.0
        at, best = near, found
    return None


def _rounded(tried: Tried, truth: GroundTruth) -> GroundTruth:
    """Return the structure with A* = 0, if that refutes too, and with as few decimals as refute."""
    for A in (np.zeros_like(truth.A_star), truth.A_star):
        for digits in DIGITS:
            rounded = GroundTruth(A.round(digits), truth.U_star.round(digits))
            if tried.strains(rounded) == REFUTED:
                return rounded
    return truth
