"""Look for strict spurious minima from random starts, and prove the first one that can be proved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loraml_theory.adapters import Parameters
from loraml_theory.certified.gauge import Floats
from loraml_theory.certified.prove import Proof, UnprovedError, prove
from loraml_theory.exact.rational import Rationals, rationals
from loraml_theory.landscape import curvature, gauge_dimension
from loraml_theory.moments import population
from loraml_theory.objectives import ProjectedLoRAML
from loraml_theory.solvers import newton
from loraml_theory.structure import frobenius

STATIONARY = 1e-11  # gradient over max_t ||R_t*||_F^{3/2}
ABOVE = 1e-5  # misfit over max_t ||R_t*||_F: an end closer to 0 is taken for an unconverged global minimum
STRICT = 1e-9  # smallest over largest eigenvalue
MOST_PROOFS = 5  # a batch
BATCH = 60  # starts


@dataclass(frozen=True)
class Effort:
    """The effort of a search: numbers of structures, starts, ends of each kind, and attempted proofs."""

    structures: int = 0
    starts: int = 0
    stationary: int = 0
    candidates: int = 0
    proofs: int = 0

    def __add__(self, other: Effort) -> Effort:
        return Effort(*(one + two for one, two in zip(vars(self).values(), vars(other).values(), strict=True)))


def on_structure(rng: np.random.Generator, U_star: Floats, *, starts: int) -> tuple[Proof | None, Effort]:
    """Run Newton from random starts, a batch at a time, until a strict spurious minimum among the ends is proved.

    Parameters
    ----------
    rng
        Source of the starts.
    U_star
        Factors of the retraining tasks, ``(T, d, k)``; the proof is about exactly these numbers.
    starts
        Largest number of starts.
    """
    power = 2.0 ** -np.floor(np.log2(max(float(np.abs(U_star).max()), np.finfo(float).tiny)))  # exact in float64
    exact, effort = rationals(U_star), Effort(structures=1)
    for first in range(0, starts, BATCH):
        count = min(BATCH, starts - first)
        ends, stationary = candidates(rng, U_star * power, starts=count)
        effort += Effort(0, count, stationary, len(ends))
        for U in ends[:MOST_PROOFS]:
            effort += Effort(proofs=1)
            proof = _attempt(exact, U / power)
            if proof:
                return proof, effort
    return None, effort


def over_integers(
    rng: np.random.Generator, shape: tuple[int, int, int], *, structures: int, starts: int, largest: int = 2
) -> tuple[Proof | None, Effort]:
    """Draw structures of integers from ``-largest`` to ``largest`` until a strict spurious minimum is proved on one.

    Parameters
    ----------
    rng
        Source of structures and starts.
    shape
        ``(T, d, k)``.
    structures, starts
        Largest numbers of structures, and of starts for each.
    largest
        Bound of the integers.
    """
    effort = Effort()
    for _ in range(structures):
        U_star = rng.integers(-largest, largest + 1, shape).astype(np.float64)
        proof, more = on_structure(rng, U_star, starts=starts)
        effort += more
        if proof:
            return proof, effort
    return None, effort


def candidates(rng: np.random.Generator, U_star: Floats, *, starts: int) -> tuple[list[Floats], int]:
    """Return ends that look like strict spurious minima, the best conditioned first, and how many are stationary.

    Only one of several ends with the same value is returned. Nothing is proved.
    """
    R = U_star @ np.swapaxes(U_star, -1, -2)
    objective, scale = ProjectedLoRAML(population(R)), float(np.max(frobenius(R)))
    if scale == 0.0:
        return [], 0
    drawn = np.sqrt(scale / U_star.shape[1]) * rng.standard_normal((starts, *U_star.shape))
    ends = newton(objective, Parameters(U=drawn), relative_tolerance=1e-14, max_iterations=100)
    still = ends.gradient_norm <= STATIONARY * scale**1.5
    above = still & (np.sqrt(2 * ends.value) > ABOVE * scale)
    gauge = gauge_dimension(U_star.shape[2], U_star.shape[0])
    found: dict[float, tuple[float, Floats]] = {}
    for i in np.flatnonzero(above):
        value = float(f"{ends.value[i]:.6g}")
        if value not in found:
            spectrum = curvature(objective, Parameters(U=ends.parameters.U[i]))
            found[value] = float(spectrum[gauge] / spectrum[-1]), ends.parameters.U[i]
    ordered = sorted(found.values(), key=lambda pair: -pair[0])
    return [U for strictness, U in ordered if strictness > STRICT], int(np.sum(still))


def _attempt(U_star: Rationals, U: Floats) -> Proof | None:
    try:
        return prove(U_star, U)
    except UnprovedError:
        return None
