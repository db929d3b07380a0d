"""Verdicts on many structures at once: masks, and their counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from loraml_theory.spectra import Bracket, inertia
from loraml_theory.structure import Array


class Masks(NamedTuple):
    """The outcome of every structure, bool ``(B,)`` each; where several hold, the last one counts.

    Parameters
    ----------
    success
        The statement holds.
    undecided
        float64 cannot tell.
    unconverged
        A solver did not converge.
    elsewhere
        A solver ended at a stationary point above the global minimum (ML-5): there is no minimiser to judge.
    """

    success: Array
    undecided: Array
    unconverged: Array
    elsewhere: Array


def masks(success: Array, undecided: Array, unconverged: Array | None = None, elsewhere: Array | None = None) -> Masks:
    """Return masks; without a solver, no structure is unconverged or elsewhere."""
    none = success & ~success
    return Masks(
        success, undecided, none if unconverged is None else unconverged, none if elsewhere is None else elsewhere
    )


@dataclass(frozen=True)
class Tally:
    """Counts of structures; `judged` of all were decided, `success` of these hold.

    Parameters
    ----------
    success, failure, undecided, unconverged, elsewhere
        See `Masks`.
    first_failure
        Number of the first structure that fails, in its ensemble.
    """

    success: int = 0
    failure: int = 0
    undecided: int = 0
    unconverged: int = 0
    elsewhere: int = 0
    first_failure: int | None = None

    @property
    def judged(self) -> int:
        """Structures that succeed or fail."""
        return self.success + self.failure

    @property
    def structures(self) -> int:
        """All structures."""
        return self.judged + self.undecided + self.unconverged + self.elsewhere

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.success + other.success,
            self.failure + other.failure,
            self.undecided + other.undecided,
            self.unconverged + other.unconverged,
            self.elsewhere + other.elsewhere,
            other.first_failure if self.first_failure is None else self.first_failure,
        )


def count(found: Masks, *, first: int = 0) -> Tally:
    """Count masks of a block whose first structure has the number `first`."""
    success, undecided, unconverged, elsewhere = (np.asarray(mask) for mask in found)
    unconverged = unconverged & ~elsewhere
    undecided = undecided & ~elsewhere & ~unconverged
    judged = ~(elsewhere | unconverged | undecided)
    failed = np.flatnonzero(judged & ~success)
    return Tally(
        int(np.sum(judged & success)),
        len(failed),
        int(np.sum(undecided)),
        int(np.sum(unconverged)),
        int(np.sum(elsewhere)),
        first + int(failed[0]) if len(failed) else None,
    )


def inertia_masks(M: Array, cut: Array, floor: Array, predicted: tuple[int, int]) -> tuple[Array, Array]:
    """Compare the inertia of M with a prediction: (holds, undecided).

    Parameters
    ----------
    M
        Symmetric up to rounding, ``(B, d, d)``.
    cut
        Level of rounding, ``(B,)``.
        floor
        The theory's bound on the smallest non-zero eigenvalue's modulus, ``(B,)``; a count below the prediction is
        decidable only where this is clearly above rounding.
    predicted
        Numbers of positive and negative eigenvalues.
    """
    positive, negative = inertia(M, cut)
    holds = _equals(positive, predicted[0]) & _equals(negative, predicted[1])
    clear = (positive.low == positive.high) & (negative.low == negative.high)
    enough = (positive.high >= predicted[0]) & (negative.high >= predicted[1])
    return holds, ~(clear & ((floor > 10 * cut) | enough))


def _equals(found: Bracket, predicted: int) -> Array:
    return (found.low == predicted) & (found.high == predicted)


def at_most(found: Bracket, bound: int) -> tuple[Array, Array]:
    """Compare ranks with a bound: (holds, undecided)."""
    return found.high <= bound, (found.low <= bound) & (found.high > bound)
