r"""Proofs about critical points of LoRA-ML at k = 1: that they exist, differ, are real or not, and their index.

Each point is enclosed by Krawczyk's operator in complex ball arithmetic: its box holds exactly one zero of F
(`loraml_theory.critical_points.equations`), a regular one. What maps zeros to zeros then decides the rest. A change of
signs of some u_t, alone or after complex conjugation, that maps the enclosure into its box leaves the zero unmoved:

- u_t = 0 if the box is symmetric in u_t;
- u_t is real or imaginary if the conjugate of the enclosure, or its negative, lies in the box;
- the point is the truth if v, up to signs, lies in the box.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal, TypeAlias

import numpy as np
from flint import acb, acb_mat, arb, arb_mat, ctx, fmpq_mat
from numpy.typing import NDArray

from loraml_theory.critical_points.equations import jacobian, spread
from loraml_theory.exact.rational import rationals

PRECISION = 192  # bits
RADII = (1e-12, 1e-20)  # of the box, relative to the point
STEPS, FINE, SLOW = 20, 1e-30, 1e-3  # Newton steps at most, the last one relative to the point, a slow contraction
WELL = 1e11  # largest condition at which an inverse in floating point will do
ZERO = 1e-7  # a vector this much shorter than the point is tried as 0
ROUNDING = 1e-15  # of a centre, relative to the point; more than float64 has

Floats: TypeAlias = NDArray[np.float64]
Points: TypeAlias = NDArray[np.complex128]
Kind = Literal["global", "spurious", "saddle", "complex"]


class UncertifiedError(ArithmeticError):
    """The proof failed; the text says which step."""


@dataclass(frozen=True, eq=False)
class Point:
    """What is proved about a sign orbit of critical points.

    Parameters
    ----------
    centre, radius
        The points lie within `radius` of `centre`, ``(T, m)``, in every real and imaginary part, up to signs.
    kind
        ``global`` is the truth; ``spurious`` a minimum that is not; ``complex`` has no real base, or no real factors.
    value
        g there, its real part and its imaginary part, rounded; proved to be positive at real points but the truth.
    index
        Number of negative eigenvalues of the Hessian, all others being positive; None where complex.
    orbit
        Number of points, two to the number of factors that are not 0.
    self_conjugate
        Whether the shifts u_t u_t^T are real; a complex point may be, with an imaginary factor.
    """

    centre: Points
    radius: float
    kind: Kind
    value: complex
    index: int | None
    orbit: int
    self_conjugate: bool


def coordinates(U: Floats) -> acb_mat:
    """Return structures' coordinates ``(T, m)`` in the span of T <= d factors ``(T, d)``, or the factors if T > d.

    The coordinates, in an orthonormal basis, are the rows of the Cholesky factor of the Gram matrix, which is exact.

    Raises
    ------
    UncertifiedError
        If the factors do not span min(d, T) dimensions.
    """
    T, d = U.shape
    exact = fmpq_mat(T, d, rationals(U).reshape(-1).tolist())
    if exact.rank() < min(d, T):
        raise UncertifiedError(f"the factors span {exact.rank()} dimensions, expected {min(d, T)}")
    if d < T:
        return acb_mat(exact)
    gram = exact * exact.transpose()
    with ctx.workprec(2 * PRECISION):
        L = [[arb(0)] * T for _ in range(T)]
        for i in range(T):
            for j in range(i + 1):
                rest = arb(gram[i, j]) - sum((L[i][k] * L[j][k] for k in range(j)), arb(0))
                L[i][j] = rest.sqrt() if i == j else rest / L[j][j]
        return acb_mat(arb_mat(L))


def certify(v: acb_mat, points: Points) -> list[Point]:
    """Prove that critical points exist and are different, and what they are.

    Parameters
    ----------
    v
        The structure, see `coordinates`.
    points
        Approximations, ``(N, T, m)``.

    Raises
    ------
    UncertifiedError
        If a step fails for one of them.
    """
    inverses = _inverses(_floats(v), points)
    with ctx.workprec(PRECISION):
        system = _System(v)
        proved = [_proved(system, *pair) for pair in zip(points, inverses, strict=True)]
    _check_apart(proved)
    return proved


class _System:
    """F and its derivative in balls, for one structure."""

    def __init__(self, v: acb_mat) -> None:
        self.v, self.T, self.m = v, v.nrows(), v.ncols()
        self.Q = self._spread(v)

    def _spread(self, u: acb_mat) -> list[acb_mat]:
        common = u.transpose() * u
        rows = [acb_mat([[u[t, i] for i in range(self.m)]]) for t in range(self.T)]
        return [row.transpose() * row * self.T - common for row in rows]

    def residual(self, u: acb_mat) -> list[acb_mat]:
        return [here - there for here, there in zip(self._spread(u), self.Q, strict=True)]

    def function(self, u: acb_mat, residual: list[acb_mat]) -> acb_mat:
        rows = [acb_mat([[u[t, i] for i in range(self.m)]]) * E for t, E in enumerate(residual)]
        return acb_mat(self.T * self.m, 1, [entry for row in rows for entry in row.entries()])

    def derivative(self, u: acb_mat, residual: list[acb_mat]) -> acb_mat:
        T, m, entries = self.T, self.m, u.tolist()
        gram = (u * u.transpose()).tolist()
        J = [[acb(0)] * (T * m) for _ in range(T * m)]
        for t in range(T):
            for s in range(t, T):
                factor = T * (t == s) - 1
                for i in range(m):
                    for j in range(m):
                        entry = entries[t][j] * entries[s][i]
                        entry = (entry + gram[t][s] if i == j else entry) * factor
                        if t == s:
                            entry = entry + residual[t][i, j]
                        J[t * m + i][s * m + j] = J[s * m + j][t * m + i] = entry
        return acb_mat(J)

    def value(self, residual: list[acb_mat]) -> acb:
        squares = sum((entry * entry for E in residual for entry in E.entries()), acb(0))
        return squares / (2 * self.T**2)


def _inverses(v: Points, points: Points) -> list[Points | None]:
    """Return inverses of the derivative in floating point, ``(T m, T m)`` each, None where they are not accurate."""
    J = jacobian(points, spread(v))
    good = np.linalg.cond(J) <= WELL
    Y = np.linalg.inv(np.where(good[:, None, None], J, np.eye(J.shape[-1])))
    return [each if fits else None for each, fits in zip(Y, good, strict=True)]


def _proved(system: _System, point: Points, inverse: Points | None) -> Point:
    scale = max(float(np.abs(point).max()), 1e-3 * float(np.abs(_floats(system.v)).max()))
    live = np.abs(point).max(axis=1) > ZERO * scale
    x = _matrix(np.where(live[:, None], point, 0))
    Y = _inverse(system, x) if inverse is None else _matrix(inverse)
    centre, Y = _refined(system, x, Y, live)
    for relative in RADII:
        radius = relative * scale
        enclosed = _krawczyk(system, centre, Y, radius)
        if enclosed is None:  # the inverse may be one at a point too far away
            Y = _inverse(system, centre)
            enclosed = _krawczyk(system, centre, Y, radius)
        if enclosed is not None:
            return _described(system, centre, radius, enclosed, live)
    raise UncertifiedError("Krawczyk's operator does not map a box into itself: a point is too close to a singular one")


def _refined(system: _System, x: acb_mat, Y: acb_mat, live: NDArray[np.bool_]) -> tuple[acb_mat, acb_mat]:
    """Return a better centre and an inverse of the derivative near it, by Newton steps.

    A step keeps the inverse while that is fast. Factors that are not `live` stay 0.
    """
    before = inf
    for _ in range(STEPS):
        entries = (Y * system.function(x, system.residual(x))).mid().entries()
        step = [entry if live[i // system.m] else acb(0) for i, entry in enumerate(entries)]
        size = max(float(abs(entry).mid()) for entry in step)
        x = (x - acb_mat(system.T, system.m, step)).mid()
        if size <= FINE * max(float(abs(entry).mid()) for entry in x.entries()):
            break
        if size > SLOW * before:
            Y = _inverse(system, x)
        before = size
    return x, Y


def _inverse(system: _System, x: acb_mat) -> acb_mat:
    """Return the midpoint of an inverse of the derivative."""
    try:
        return system.derivative(x, system.residual(x)).mid().inv().mid()
    except ZeroDivisionError:
        raise UncertifiedError("the Hessian is singular to working precision") from None


def _krawczyk(system: _System, x: acb_mat, Y: acb_mat, radius: float) -> acb_mat | None:
    """Return the enclosure ``x - Y F(x) + (I - Y J(X)) (X - x)``, or None unless it lies in the interior of X."""
    spread = acb(arb(0, radius), arb(0, radius))
    n = system.T * system.m
    box = _widened(x, spread)
    eye = acb_mat(n, n, [int(i == j) for i in range(n) for j in range(n)])
    correction = Y * system.function(x, system.residual(x))
    contraction = eye - Y * system.derivative(box, system.residual(box))
    K = x - _shaped(correction, system) + _shaped(contraction * acb_mat(n, 1, [spread] * n), system)
    inside = all(outer.contains_interior(inner) for outer, inner in zip(box.entries(), K.entries(), strict=True))
    return K if inside else None


def _described(system: _System, x: acb_mat, radius: float, K: acb_mat, live: NDArray[np.bool_]) -> Point:
    box = _widened(x, acb(arb(0, radius), arb(0, radius)))
    if any(live[t] and all(entry.contains(0) for entry in _row(K, t)) for t in range(system.T)):
        raise UncertifiedError("a factor is neither 0 nor proved to differ from it")
    orbit = 2 ** int(live.sum())
    residual = system.residual(K)
    value = system.value(residual)
    centre, rounded = _floats(x), complex(value.mid())
    signs = [_conjugation(_row(K, t), _row(box, t)) for t in range(system.T) if live[t]]
    fixed = all(sign is not None for sign in signs)
    if not fixed or -1 in signs:
        return Point(centre, radius, "complex", rounded, None, orbit, fixed)
    index = _index(system.derivative(K, residual))
    kind: Kind = "saddle" if index else "spurious"
    if _is_truth(system, box):
        kind, rounded = "global", 0j
    elif not value.real > 0:
        raise UncertifiedError("the value of a point that is not the truth is not proved positive")
    return Point(centre, radius, kind, complex(rounded.real), index, orbit, True)


def _conjugation(K: list[acb], box: list[acb]) -> int | None:
    """Return 1 if a factor is proved real, -1 if imaginary, None if proved to be neither.

    The proof for one factor rests on those for all others; where one is neither, the point is complex anyway.
    """
    for sign in (1, -1):
        if all(outer.contains(inner.conjugate() * sign) for outer, inner in zip(box, K, strict=True)):
            return sign
    for sign in (1, -1):
        if all(inner.overlaps(inner.conjugate() * sign) for inner in K):
            raise UncertifiedError("a factor is neither real nor proved to be complex")
    return None


def _is_truth(system: _System, box: acb_mat) -> bool:
    rows = [(_row(box, t), _row(system.v, t)) for t in range(system.T)]
    return all(
        any(all(outer.contains(inner * sign) for outer, inner in zip(X, v, strict=True)) for sign in (1, -1))
        for X, v in rows
    )


def _index(J: acb_mat) -> int:
    """Return the proved number of negative eigenvalues of a real symmetric ball matrix, by Sylvester's law."""
    H = J.real
    V = arb_mat(np.linalg.eigh(np.array([[float(x.mid()) for x in row] for row in H.tolist()]))[1].tolist())
    rest = np.array((V.transpose() * H * V).tolist(), dtype=object)
    negative = 0
    while len(rest):
        pivot = rest[0, 0]
        if not (pivot > 0 or pivot < 0):
            raise UncertifiedError("the signature of the Hessian is not decided")
        negative += int(pivot < 0)
        rest = rest[1:, 1:] - np.multiply.outer(rest[1:, 0], rest[1:, 0] / pivot)
    return negative


def _check_apart(points: list[Point]) -> None:
    """Raise unless all enclosures are disjoint, also after changes of signs: for some t neither sign may meet."""
    x = np.stack([point.centre for point in points])
    reach = np.array([point.radius for point in points]) + ROUNDING * np.abs(x).max(axis=(1, 2))
    far = np.zeros((len(points), len(points)), dtype=bool)
    for t in range(x.shape[1]):
        gaps = [x[:, None, t, :] - sign * x[None, :, t, :] for sign in (1, -1)]
        least = np.minimum(*(np.maximum(np.abs(gap.real), np.abs(gap.imag)).max(axis=-1) for gap in gaps))
        far |= least > reach[:, None] + reach
    if not (far | np.eye(len(points), dtype=bool)).all():
        raise UncertifiedError("two enclosures meet: the points are not proved to be different")


def _widened(x: acb_mat, spread: acb) -> acb_mat:
    return acb_mat(x.nrows(), x.ncols(), [entry + spread for entry in x.entries()])


def _shaped(column: acb_mat, system: _System) -> acb_mat:
    return acb_mat(system.T, system.m, column.entries())


def _row(M: acb_mat, t: int) -> list[acb]:
    return [M[t, i] for i in range(M.ncols())]


def _matrix(values: Points) -> acb_mat:
    return acb_mat([[acb(complex(x).real, complex(x).imag) for x in row] for row in values])


def _floats(M: acb_mat) -> Points:
    return np.array([[complex(entry.mid()) for entry in row] for row in M.tolist()])
