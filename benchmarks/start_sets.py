"""Find all critical points of a generic complex structure at k = 1, and write them as a start set.

    python benchmarks/start_sets.py --m 3 --T 3 --out start-3-3.npy

By monodromy: loops of structures, from one to a random one and back on another arc, permute the critical points with
a given number of factors that are not 0; those that are found go around again until QUIET loops find no other. The
first ones are made backwards, from a random point and a structure on which it is critical, and, since it is alone in
its orbit, the truth. By symmetry the first s factors stand for any s; the others are tracked from permuted structures.

A loop that finds nothing is evidence, not proof, that nothing is missing: docs/landscape.md says what counts agree.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from math import comb
from pathlib import Path
from time import process_time

import numpy as np
from scipy.spatial import cKDTree

from loraml_theory.critical_points.equations import function, outer, size, spread
from loraml_theory.critical_points.tracking import Arc, track

CHUNK = 4000
SAME = 1e-6
BULGE = 1.5  # wide arcs permute more points than narrow ones
PATHS = 300  # at least, without news, that end a search


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Draw complex normal numbers of variance 1."""
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)


def along(u: np.ndarray, start: np.ndarray, end: np.ndarray, rng: np.random.Generator, tolerance: float) -> np.ndarray:
    """Track points from a structure to another on a random arc; return the regular ends."""
    bulge, found = BULGE * normal(rng, *start.shape), []
    for first in range(0, len(u), CHUNK):
        some = u[first : first + CHUNK]
        ends = track(some, Arc(*(np.broadcast_to(x, some.shape) for x in (start, end, bulge))), tolerance=tolerance)
        found.append(ends.u[ends.error <= 1e-8 * size(ends.u)])
    return np.concatenate([*found, u[:0]])


def key(u: np.ndarray) -> np.ndarray:
    """Return real coordinates that do not depend on signs, relative to the point's size."""
    E = outer(u, u).reshape(len(u), -1)
    forms = np.stack([np.cos(np.arange(E.shape[1]) ** 2.0 + i) for i in range(3)], axis=-1)
    seen = E @ forms / (size(u)[:, None] ** 2 + 1e-3)
    return np.concatenate([seen.real, seen.imag], axis=1)


def joined(known: np.ndarray, more: np.ndarray) -> np.ndarray:
    """Return the known points and those of the others that are new."""
    if len(known) and len(more):
        more = more[cKDTree(key(known)).query(key(more))[0] > SAME]
    if not len(more):
        return known
    groups = cKDTree(key(more)).query_ball_point(key(more), SAME)
    return np.concatenate([known, more[[min(group) == i for i, group in enumerate(groups)]]])


def backwards(rng: np.random.Generator, T: int, m: int, s: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a point with s factors, and solve for a structure on which it is critical, by Gauss–Newton steps."""
    while True:
        u, v = normal(rng, T, m), normal(rng, T, m)
        u[s:] = 0
        for _ in range(100):
            F, h = function(u, spread(v))[:s].reshape(-1), 1e-7
            units = np.eye(T * m).reshape(-1, T, m)
            D = np.stack([(function(u, spread(v + h * e))[:s].reshape(-1) - F) / h for e in units], axis=-1)
            step = np.linalg.lstsq(D, F, rcond=None)[0].reshape(T, m)
            v = v - step * min(1.0, 1 / float(np.abs(step).max()))
            if np.abs(step).max() < 1e-12:
                return u, v


def orbit(rng: np.random.Generator, v: np.ndarray, s: int, *, tolerance: float, quiet: int) -> np.ndarray:
    """Return all critical points of v whose first s factors, and no others, are not 0."""
    T, m = v.shape
    if s == 0:
        return np.zeros((1, T, m), dtype=complex)
    points, still, began = v[None][: int(s == T)], 0, process_time()
    while len(points) < 1 + int(s == T):
        u, there = backwards(rng, T, m, s)
        points = joined(points, along(u[None], there, v, rng, tolerance))
    while still < max(quiet, PATHS / len(points)):
        middle, count = normal(rng, T, m), len(points)
        ends = along(along(points, v, middle, rng, tolerance), middle, v, rng, tolerance)
        ends = ends[np.abs(ends[:, :s]).max(axis=2).min(axis=1) > 1e-6 * np.abs(ends).max(axis=(1, 2))]
        points = joined(points, ends)
        still = 0 if len(points) > count else still + 1
        print(
            f"  {s} factors: {len(points)} points, {count - len(ends)} lost, {process_time() - began:.0f} s", flush=True
        )
    return points


def everywhere(rng: np.random.Generator, v: np.ndarray, points: np.ndarray, s: int, tolerance: float) -> np.ndarray:
    """Return the points of every choice of s factors, tracked from the structure with permuted tasks."""
    found = []
    for support in combinations(range(len(v)), s):
        order = np.argsort([*support, *(t for t in range(len(v)) if t not in support)])
        moved = points[:0]
        while len(moved) < len(points):
            moved = joined(moved, along(points[:, order], v[order], v, rng, tolerance))
        found.append(moved)
    return np.concatenate(found)


def main() -> None:
    """Run the search."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--m", type=int, default=3)
    parser.add_argument("--T", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tolerance", type=float, default=1e-2)
    parser.add_argument("--quiet", type=int, default=10, help="loops without news that end the search")
    parser.add_argument("--out", type=Path, default=None)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    v = normal(rng, given.T, given.m)
    v *= np.sqrt(given.T * given.m) / np.linalg.norm(v)
    orbits, solutions, sets = 0, 0, []
    for s in range(given.T + 1):
        points = orbit(rng, v, s, tolerance=given.tolerance, quiet=given.quiet)
        count = comb(given.T, s) * len(points)
        orbits, solutions = orbits + count, solutions + 2**s * count
        print(f"{s} factors: {comb(given.T, s)} times {len(points)}", flush=True)
        if given.out is not None:
            sets.append(everywhere(rng, v, points, s, given.tolerance))
    print(f"m = {given.m}, T = {given.T}: {orbits} points up to signs, {solutions} in all")
    if given.out is not None:
        np.save(given.out, np.concatenate([v[None], *sets]))


if __name__ == "__main__":
    main()
