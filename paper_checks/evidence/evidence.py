"""Evidence: measured values beside their predictions, and what follows from the comparison."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf, isfinite
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["proved", "exact", "certified", "numerical", "statistical"]
Relation: TypeAlias = Literal["equal", "at most", "at least", "slope", "above"]


class Outcome(StrEnum):
    """The outcome of one piece of evidence for its statement."""

    AGREES = "agrees"
    DISAGREES = "disagrees"
    UNDECIDED = "undecided"


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
        ``at least``: measured >= predicted - tolerance; ``above``: measured > predicted + tolerance, to be shown
        by the whole interval.
    tolerance
        Absolute, >= 0.
    reason
        The reason for the tolerance.
    interval
        Confidence interval of the measured value (statistical evidence); then the statement disagrees only
        where the whole interval, widened by the tolerance, does. It agrees otherwise, except with ``above``: an
        interval that holds values on both sides is undecided.
    decidable
        False where float64, or the sample, cannot tell: the outcome is then always undecided.
    decides
        False for evidence that is shown but not used for the verdict.
    samples
        Size of the sample behind statistical evidence.
    key
        Name of the claim's key quantity (`AnyClaim.keys`) of which this is a value; empty for all other evidence.
    rounding
        Bound of the value's error, absolute: of rounding, and of what an iteration leaves. See
        `paper_checks.evidence.resolution`, as for the following.
    displaced
        The same value measured on an input that is wrong by its resolution.
    coarser
        Name of the reason for which the resolution is larger than the rule's.
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
    decides: bool = True
    samples: int | None = None
    key: str = ""
    rounding: float | None = None
    displaced: float | None = None
    coarser: str = ""

    def of(self, key: str) -> Evidence:
        """Return the same evidence as a value of a key quantity."""
        return replace(self, key=key)

    @property
    def outcome(self) -> Outcome:
        """Compare measured with predicted; non-finite and undecidable values are undecided."""
        low, high = self.interval or (self.measured, self.measured)
        if not (self.decidable and all(map(isfinite, (low, high, self.predicted, self.tolerance)))):
            return Outcome.UNDECIDED
        if self.relation == "above":
            if low > self.predicted + self.tolerance:
                return Outcome.AGREES
            return Outcome.DISAGREES if high < self.predicted - self.tolerance else Outcome.UNDECIDED
        not_above = low <= self.predicted + self.tolerance
        not_below = high >= self.predicted - self.tolerance
        agrees = {"at most": not_above, "at least": not_below}.get(self.relation, not_above and not_below)
        return Outcome.AGREES if agrees else Outcome.DISAGREES

    @property
    def share(self) -> float:
        """Return which part of what is tolerated, tolerance and half interval, lies between measured and predicted.

        0 where a bound is kept without the tolerance; more than 1 only where the evidence disagrees or, with
        ``above``, is undecided; infinite where nothing is tolerated, NaN where a value is not finite.
        """
        low, high = self.interval or (self.measured, self.measured)
        over, under = self.measured - self.predicted, self.predicted - self.measured
        if self.relation == "above":
            over, under = 0.0, self.predicted - low
        elif self.relation == "at most":
            under = 0.0
        elif self.relation == "at least":
            over = 0.0
        if over <= 0 and under <= 0:
            return 0.0
        half = 0.0 if self.relation == "above" else self.measured - low if over > 0 else high - self.measured
        tolerated = self.tolerance + half
        return max(over, under) / tolerated if tolerated else inf


@dataclass(frozen=True)
class Note:
    """An observation that a check shows without judging it.

    Parameters
    ----------
    instance
        Name of the instance.
    text
        One sentence.
    certificate
        Text of a certificate, which is written to the report's folder.
    """

    instance: str
    text: str
    certificate: str | None = None

    @property
    def file(self) -> str | None:
        """Path of the certificate, relative to the report."""
        name = re.sub(r"[^A-Za-z0-9]+", "-", self.instance).strip("-") or "instance"
        return None if self.certificate is None else f"certificates/{name}.json"
