r"""Stationary points at T = 2 that are not global, enclosed, with a proved bound on their curvature (ML-4).

With F = [U_1*, U_2*] of full column rank and J = diag(I_k, -I_k), ``M = R_1* - R_2* = F J F^T`` has the eigenvectors
``v = F y`` of its non-zero eigenvalues from those of the small matrix: ``J F^T F y = lambda y``. Factors made of
columns ``sqrt(|lambda|) v / ||v||``, U_1 of positive and U_2 of negative eigenvalues, and of vectors of ker M that
both share, have ``Delta U_1 = Delta U_2 = 0`` exactly, Delta = U_1 U_1^T - U_2 U_2^T - M: they are stationary, whatever
their roundings, and balls around them contain the true points.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from flint import acb_mat, arb, ctx, fmpq

from loraml_theory.certified import balls
from loraml_theory.certified.balls import Balls
from loraml_theory.certified.gauge import Floats
from loraml_theory.exact import reduced
from loraml_theory.exact.rational import Rationals, diagonal, matrix, rationals
from loraml_theory.exact.spaces import kernel

PRECISION = 192  # bits


@dataclass(frozen=True, eq=False)
class Saddle:
    """A stationary point that is not a global minimum: its origin in words, and balls around it, ``(2, d, k)``."""

    origin: str
    U: Balls

    @property
    def midpoint(self) -> Floats:
        """The balls' midpoints in floating point."""
        return np.array([float(ball.mid()) for ball in self.U.reshape(-1)]).reshape(self.U.shape)


def saddles(U_star: Rationals) -> list[Saddle]:
    """Enclose the points of i < k positive or j < k negative leading eigenpairs, alone and with a shared kernel vector.

    Parameters
    ----------
    U_star
        Factors of the two retraining tasks, ``(2, d, k)``, of joint rank 2k.

    Raises
    ------
    ValueError
        If the number of tasks is not two, or the eigenvalues cannot be isolated.
    """
    if len(U_star) != 2:
        raise ValueError(f"U_star: got {len(U_star)} tasks, expected 2")
    d, k = int(U_star.shape[1]), int(U_star.shape[2])
    found = []
    with ctx.workprec(PRECISION):
        positive, negative = _eigencolumns(U_star)
        shared = kernel(U_star[0] @ U_star[0].T - U_star[1] @ U_star[1].T)
        for i, j in product(range(k + 1), repeat=2):
            if (i, j) == (k, k):
                continue
            U: Balls = np.full((2, d, k), arb(0), dtype=object)
            U[0, :, :i], U[1, :, :j] = positive[:, :i], negative[:, :j]
            name = f"{i} positive and {j} negative eigenpairs"
            found.append(Saddle(name, U))
            if shared.shape[1] and max(i, j) < k:
                both = U.copy()
                both[:, :, k - 1] = balls.balls(shared[:, 0])
                found.append(Saddle(f"{name} and a shared kernel vector", both))
    return found


def _eigencolumns(U_star: Rationals) -> tuple[Balls, Balls]:
    """Return ``sqrt(|lambda|) v / ||v||`` of the k positive and k negative eigenvalues, the largest moduli first."""
    k = int(U_star.shape[2])
    F = np.concatenate(list(U_star), axis=1)
    small = matrix(diagonal([1] * k + [-1] * k) @ F.T @ F)
    values, vectors = acb_mat(small).eig(right=True)
    columns: list[tuple[arb, Balls]] = []
    for position, eigenvalue in enumerate(values):
        # isolated eigenvalues of a real matrix with real spectrum are real, and so is a multiple of the eigenvector
        y = [vectors[row, position] for row in range(2 * k)]
        largest = max(y, key=lambda entry: float(abs(entry).mid()))
        v = balls.balls(F) @ np.array([(entry / largest).real for entry in y], dtype=object)
        columns.append((eigenvalue.real, v * (abs(eigenvalue.real) / np.sum(v * v)).sqrt()))
    above = sorted((c for c in columns if c[0] > 0), key=lambda c: -float(c[0].mid()))
    below = sorted((c for c in columns if c[0] < 0), key=lambda c: float(c[0].mid()))
    if len(above) != k or len(below) != k:
        raise ValueError(
            f"U_star: got {len(above)} positive and {len(below)} negative eigenvalues, expected {k} of each"
        )
    return np.stack([c[1] for c in above], axis=1), np.stack([c[1] for c in below], axis=1)


def value_bound(U_star: Rationals, U: Balls) -> fmpq:
    """Return a number that g exceeds, or equals, at every point in the balls."""
    with ctx.workprec(PRECISION):
        return balls.below(reduced.value(U, balls.balls(U_star)))


def curvature_bound(U_star: Rationals, U: Balls, direction: Floats) -> fmpq:
    r"""Return an upper bound of ``D^2 g(U)[V, V] / ||V||^2`` for every point in the balls; V is `direction`, exactly.

    Below 0 it proves that no point in the balls is a local minimum, if one of them is stationary: that point.
    """
    V = rationals(direction)
    with ctx.workprec(PRECISION):
        form = reduced.second_order(U, balls.balls(U_star), balls.balls(V))
        return balls.above(form / arb(np.sum(V * V)))
