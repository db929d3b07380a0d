"""Verdicts on many structures at once: masks, the numerical bounds behind them, and their counts."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
from array_api_compat import array_namespace, device

from loraml_theory.spectra import Bracket, inertia, rounding_level
from loraml_theory.structure import Array, GroundTruth, transpose

VISIBLE = 1e-2
"""A relative share of rounding above this hides a value from float64."""


class Masks(NamedTuple):
    """What came of every structure, bool ``(B,)`` each; the first that holds counts, in reverse order.

    Parameters
    ----------
    success
        The statement holds.
    undecided
        float64 cannot tell.
    unconverged
        A solver did not converge.
    elsewhere
        A solver ended stationary above the global minimum (ML-5): no minimiser to judge.
    """

    success: Array
    undecided: Array
    unconverged: Array
    elsewhere: Array


def masks(success: Array, undecided: Array, unconverged: Array | None = None, elsewhere: Array | None = None) -> Masks:
    """Return masks, with no structure unconverged or elsewhere where no solver ran."""
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
        """All of them."""
        return self.judged + self.undecided + self.unconverged + self.elsewhere

    def __add__(self, other: Tally) -> Tally:
        """Join the counts of a later block."""
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


def level(truth: GroundTruth) -> Array:
    """Return the size below which singular values are rounding of the largest W_t, ``(B,)``."""
    return rounding_level(truth.scale, truth.d)


def columns(U: Array) -> Array:
    """Return ``[U_1 .. U_m]``, ``(..., m, d, k) -> (..., d, mk)``."""
    xp = array_namespace(U)
    return xp.reshape(xp.moveaxis(U, -3, -2), (*U.shape[:-3], U.shape[-2], -1))


def smallest_singular_value(M: Array) -> Array:
    """Return sigma_min of ``(..., d, m)``; 0 where m > d, and the columns are dependent."""
    values = array_namespace(M).linalg.svdvals(M)
    return values[..., -1] if M.shape[-1] <= M.shape[-2] else 0 * values[..., -1]


def inertia_masks(M: Array, cut: Array, floor: Array, predicted: tuple[int, int]) -> tuple[Array, Array]:
    """Compare the inertia of M with a prediction: (holds, undecided).

    Parameters
    ----------
    M
        Symmetric up to rounding, ``(B, d, d)``.
    cut
        Level of rounding, ``(B,)``.
    floor
        Bound of theory on the smallest non-zero eigenvalue's modulus, ``(B,)``; a count below the prediction is
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


def recovery_condition(U: Array) -> Array:
    r"""Return ``1 / lambda_min(sum_t P_t^perp)``, the amplification of misfits in the base near the truth (ML-3).

    The batched counterpart of `loraml_theory.rates.off_tangent_spectrum`: symmetric matrices of the joint span, and
    the span times its complement.

    Parameters
    ----------
    U
        Factors of the retraining tasks, ``(..., T, d, k)``, each of full column rank.

    Returns
    -------
    ``(...)``; huge or infinite where A* is not identified.
    """
    xp = array_namespace(U)
    T, d, k = (int(n) for n in U.shape[-3:])
    q = min(d, T * k)
    spans = xp.linalg.qr(U)[0]
    joint = xp.linalg.svd(columns(spans), full_matrices=False)[0][..., :q]
    inside = transpose(joint)[..., None, :, :] @ spans
    off = xp.eye(q, dtype=U.dtype, device=device(U)) - inside @ transpose(inside)
    smallest = xp.linalg.eigvalsh(_on_symmetric(off))[..., 0]
    if q < d:
        smallest = xp.minimum(smallest, xp.linalg.eigvalsh(xp.sum(off, axis=-3))[..., 0])
    return 1 / xp.where(smallest > 0, smallest, xp.zeros_like(smallest) + 1e-300)


def _on_symmetric(off: Array) -> Array:
    """Return ``X -> sum_t off_t X off_t`` in the orthonormal basis ``(e_i e_j^T + e_j e_i^T)/norm``, i <= j."""
    xp, q = array_namespace(off), int(off.shape[-1])
    pairs = list(combinations_with_replacement(range(q), 2))

    def place(values: list[int]) -> Array:
        return xp.asarray(values, dtype=xp.int64, device=device(off))

    i, j = place([p[0] for p in pairs]), place([p[1] for p in pairs])
    norm = xp.asarray([2.0 if a == b else 2**0.5 for a, b in pairs], dtype=off.dtype, device=device(off))

    def part(rows: Array, others: Array) -> Array:
        return xp.take(xp.take(off, rows, axis=-2), others, axis=-1)

    total = xp.sum(part(i, i) * part(j, j) + part(i, j) * part(j, i), axis=-3)
    return 2 * total / (norm[:, None] * norm[None, :])
