"""The whole landscape of a structure at k = 1: every critical point, certified, and where descents end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from loraml_theory.adapters import Parameters
from loraml_theory.certified.critical_points import Point, UncertifiedError, certify, coordinates
from loraml_theory.critical_points.degenerate import degeneracy
from loraml_theory.critical_points.enumeration import enumerate_points
from loraml_theory.critical_points.equations import jacobian, spread
from loraml_theory.critical_points.start_sets import SHAPES, start_set
from loraml_theory.harness.errors import InputError
from loraml_theory.moments import population
from loraml_theory.objectives import ProjectedLoRAML
from loraml_theory.solvers import newton
from sims.atlas.landscape import SMALL, large_scale

LARGEST = 1e100
DEPENDENT = 1e-9
"""Factors whose singular values span more than this are taken for dependent: some files hold these up to rounding."""

MATCHED = 1e-5
"""An end of a descent is at a point if their shifts differ by at most this, relative to the structure's."""


class LandscapeError(InputError):
    """A structure whose critical points cannot be listed; the text says why."""


class IncompleteError(ArithmeticError):
    """Not every critical point was found or certified; the text says how many."""


@dataclass(frozen=True)
class Drained:
    """Where descents from random starts end.

    Parameters
    ----------
    start
        ``small`` or ``large``, as in the atlas.
    starts
        How many.
    ends
        Number of starts that end at each critical point, by its place in the list.
    elsewhere
        Number of those that end at none, unconverged.
    """

    start: str
    starts: int
    ends: dict[int, int]
    elsewhere: int


@dataclass(frozen=True)
class Landscape:
    """All critical points of a structure within the span of its factors.

    Parameters
    ----------
    d, T
        Sizes; k = 1.
    expected
        Number of sign orbits of a generic structure of this shape; as many were found and certified.
    points
        The points: real ones by value, then complex ones.
    factors
        The real points in the structure's own coordinates, ``(n, T, d)``.
    curvature
        Smallest eigenvalue of the Hessian at the real points, ``(n,)``, in floating point.
    """

    d: int
    T: int
    expected: int
    points: list[Point]
    factors: np.ndarray
    curvature: np.ndarray

    def count(self, kind: str) -> int:
        """Return the number of sign orbits of a kind."""
        return sum(point.kind == kind for point in self.points)


def whole_landscape(rng: np.random.Generator, U_star: np.ndarray) -> Landscape:
    """Find and certify all critical points within the span of the factors.

    Parameters
    ----------
    rng
        Source of the paths; the result does not depend on it.
    U_star
        Factors of the retraining tasks, ``(T, d, k)``, taken as exact.

    Raises
    ------
    LandscapeError
        If the shape has no start set, the factors are dependent, or critical points are not isolated.
    IncompleteError
        If a point is missing, or is not certified.
    """
    U = _factors(U_star)
    unit = 2.0 ** np.floor(np.log2(np.abs(U).max()))  # exact in float64
    spectrum = np.linalg.svd(U / unit, compute_uv=False)
    if spectrum[-1] <= DEPENDENT * spectrum[0]:
        raise LandscapeError(
            f"U_star: got singular values of the retraining factors from {spectrum[0]:.3g} to {spectrum[-1]:.3g}, "
            f"expected independent factors, a ratio above {DEPENDENT:g}"
        )
    exact = coordinates(U / unit)
    v = np.array([[float(entry.real.mid()) for entry in row] for row in exact.tolist()])
    start = start_set(v.shape[1], len(v))
    found = enumerate_points(rng, v[None], start)
    count = int(found.found[0])
    if count < len(start.u):
        raise _incomplete(rng, v, f"{count} of {len(start.u)} points found, the others are too long for float64")
    try:
        points = certify(exact, found.u[0])
    except UncertifiedError as problem:
        raise _incomplete(rng, v, f"{count} points found, not all certified: {problem}") from None
    points.sort(key=lambda point: (point.kind == "complex", point.value.real, point.value.imag))
    real = np.array([point.centre.real for point in points if point.kind != "complex"])
    hessians = 2 / len(v) * jacobian(real, spread(v))
    return Landscape(
        *(U.shape[1], len(U), len(start.u)),
        points=[_scaled(point, unit) for point in points],
        factors=real @ np.linalg.solve(v, U),
        curvature=np.linalg.eigvalsh(hessians)[:, 0] * unit**2,
    )


def _factors(U_star: np.ndarray) -> np.ndarray:
    T, d, k = U_star.shape
    if k != 1:
        raise LandscapeError(f"k: got {k}, expected 1: at k > 1 rotations of the factors leave no point isolated")
    if T == 2:
        raise LandscapeError("T: got 2, expected 3: with two tasks the critical points are one point and four curves")
    if (min(d, T), T) not in SHAPES:
        raise LandscapeError(f"d, T: got {d}, {T}, expected T = 3 and d >= 3, the shape whose points have been counted")
    U = np.asarray(U_star[..., 0])
    if not 1 / LARGEST <= np.abs(U).max() <= LARGEST:
        raise LandscapeError(f"U_star: got entries up to {np.abs(U).max():.3g}, expected 1e-100 to 1e100")
    return U


def _incomplete(rng: np.random.Generator, v: np.ndarray, said: str) -> Exception:
    """Return the reason: sets of positive dimension where some are seen, else what is `said`."""
    start = start_set(v.shape[1], len(v))
    why = degeneracy(rng, v, start)
    if why.on_sets:
        return LandscapeError(
            f"critical points are not isolated: {why.on_sets} of {len(start.u)} paths end on sets of positive "
            "dimension; expected a structure in more general position"
        )
    return IncompleteError(said)


def _scaled(point: Point, unit: float) -> Point:
    return replace(point, centre=point.centre * unit, radius=point.radius * unit, value=point.value * unit**4)


def descents(rng: np.random.Generator, landscape: Landscape, U_star: np.ndarray, *, starts: int) -> list[Drained]:
    """Run the atlas' Newton descents from small and large starts, in the population, and say where they end.

    Parameters
    ----------
    rng
        Source of the starts.
    landscape
        The landscape of the structure.
    U_star
        Its factors, ``(T, d, 1)``.
    starts
        Starts of each kind.
    """
    R = U_star @ np.swapaxes(U_star, -1, -2)
    objective = ProjectedLoRAML(population(R))
    shifts = landscape.factors[..., :, None] * landscape.factors[..., None, :]
    norm = np.linalg.norm(R)
    drained = []
    for name, scale in (("small", SMALL), ("large", float(large_scale(R)))):
        U = scale * rng.standard_normal((starts, *U_star.shape))
        ends = newton(objective, Parameters(U=U), relative_tolerance=1e-12, max_iterations=200).parameters.U
        gaps = np.linalg.norm((ends @ np.swapaxes(ends, -1, -2))[:, None] - shifts, axis=(-2, -1))
        gaps = np.sqrt(np.sum(gaps**2, axis=-1))
        nearest, near = gaps.argmin(axis=1), gaps.min(axis=1) <= MATCHED * norm
        which, counts = np.unique(nearest[near], return_counts=True)
        ended = {int(i): int(n) for i, n in zip(which, counts, strict=True)}
        drained.append(Drained(name, starts, ended, int((~near).sum())))
    return drained


def document(landscape: Landscape, drained: list[Drained]) -> dict[str, Any]:
    """Return a landscape in JSON's types; its schema is ``paper_checks/report/landscape.schema.json``."""
    points: list[dict[str, Any]] = []
    for i, point in enumerate(landscape.points):
        real = point.kind != "complex"
        points.append(
            {
                "value": point.value.real,
                "kind": point.kind,
                "index": point.index,
                "orbit": point.orbit,
                "value_imaginary": point.value.imag,
                "self_conjugate": point.self_conjugate,
                "curvature": float(landscape.curvature[i]) if real else None,
                "U": landscape.factors[i].tolist() if real else None,
            }
        )
    return {
        "schema": 1,
        "d": landscape.d,
        "k": 1,
        "T": landscape.T,
        "expected": landscape.expected,
        "found": len(points),
        "complete": len(points) == landscape.expected,
        "certified": True,
        "solutions": sum(point.orbit for point in landscape.points),
        "minima": {kind: landscape.count(kind) for kind in ("global", "spurious")},
        "points": points,
        "descents": [
            {
                "start": each.start,
                "starts": each.starts,
                "ends": [{"point": i, "starts": n} for i, n in sorted(each.ends.items())],
                "elsewhere": each.elsewhere,
            }
            for each in drained
        ],
    }
