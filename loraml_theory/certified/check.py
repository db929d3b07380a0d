r"""Check a certificate of a strict spurious minimum, with the integers of Python alone.

It shares no code with the proof that it checks, and argues differently: all numbers of a certificate are rational, so
value, gradient and Hessian at the centre U are computed exactly, and there is no rounding to bound. With r the
radius, mu the claimed curvature, h = g in the free coordinates, and u >= max_t ||U_t||_F:

1. every entry right of a gauge row's pivot is 0, and the pivot is larger than r: a stationary point of h in the ball
   of radius r is one of g (`loraml_theory.certified.gauge` says why, docs/certificates.md at length);
2. the Hessian of g varies over the ball by at most ``8 r (2u + r)`` in the spectral norm;
3. h'' at the centre minus mu minus that bound is ``L L^T`` up to a small, exactly known remainder: h is strongly convex
on the ball, with constant mu;
4. ``||h'|| < mu r`` at the centre: the minimum over the ball lies inside it, so it is the ball's one stationary point;
5. there ``g(U) - mu r^2 <= h <= g(U)``: the claimed bounds of the value contain this, and the lower one is positive.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import isqrt, lcm
from operator import mul
from typing import Any, TypeAlias

SCHEMA = 1
KIND = "strict spurious local minimum of LoRA-ML"
CLAIM = (
    "For every A_star the population objective f(A, U) = 1/2 sum_t ||A + U_t U_t^T - A_star - U_star_t U_star_t^T||_F^2"
    " has a local minimum whose factors lie within `radius` of `point`, in the Euclidean norm of all entries. But for "
    "U_t -> U_t Q_t with orthogonal Q_t it is strict. Its value lies between the bounds of `value`, while the global "
    "minimum is 0, at (A_star, U_star). With A eliminated, the Hessian there is at least the bound of `curvature` on "
    "all directions orthogonal to the orbit of the Q_t."
)
NUMBER = re.compile(r"-?[0-9]{1,700}(/[0-9]{1,700}|(\.[0-9]{1,700})?(e-?[0-9]{1,3})?)")
# Limits on the time of a check, which grows with the cube of the unknowns and with the length of the integers.
MOST_UNKNOWNS = 300
DEPTH = 16  # levels of objects and lists; a certificate has six
MOST_BITS = 2048  # of a numerator or denominator, also after all are brought to one denominator

Matrix: TypeAlias = list[list[int]]
Sparse: TypeAlias = dict[tuple[int, int], int]


class UnreadableError(ValueError):
    """The file is not a certificate; the text says what was found and what was expected."""


class InvalidError(ValueError):
    """The certificate does not prove its statement; the text says which step fails."""


@dataclass(frozen=True)
class Content:
    """The numbers of a certificate that the proof uses."""

    U_star: list[list[list[Fraction]]]
    U: list[list[list[Fraction]]]
    rows: list[list[int]]
    radius: Fraction
    curvature: Fraction
    lower: Fraction
    upper: Fraction

    @property
    def shape(self) -> tuple[int, int, int]:
        """T, d and k."""
        return len(self.U), len(self.U[0]), len(self.U[0][0])


def check(text: str) -> Content:
    """Verify a certificate; returning at all means that it is valid.

    Parameters
    ----------
    text
        The file.

    Raises
    ------
    UnreadableError
        If it is not a certificate of the known form.
    InvalidError
        If the digest does not match, or a step of the proof fails.
    """
    return verify(opened(text))


def verify(document: dict[str, Any]) -> Content:
    """Verify the document of a certificate whose digest is right; errors as for `check`."""
    content = _read(document)
    _verify(content)
    return content


def opened(text: str) -> dict[str, Any]:
    """Return the document of a certificate of any kind, with the digest that it states; errors as for `check`."""
    document = _parse(text)
    digest = document.get("sha256")
    if not isinstance(digest, str):
        raise UnreadableError("sha256: missing, expected the digest of all other content")
    if digest != content_digest(document):
        raise InvalidError("sha256: the digest does not match the content")
    return document


def content_digest(document: dict[str, Any]) -> str:
    """Return the SHA-256 of a document without its own digest, written with sorted keys, no spaces, in ASCII."""
    rest = {key: value for key, value in document.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode("ascii")).hexdigest()


def _parse(text: str) -> dict[str, Any]:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(items)
        if len(made) < len(items):
            raise UnreadableError("a key occurs twice in one object")
        return made

    def refuse(number: str) -> None:
        raise UnreadableError(f"got the number {number[:40]} in floating point, expected strings and whole numbers")

    try:
        document = json.loads(text, object_pairs_hook=pairs, parse_float=refuse, parse_constant=refuse)
    except UnreadableError:
        raise
    except (ValueError, RecursionError) as problem:
        raise UnreadableError(f"is not JSON ({problem})") from None
    if not isinstance(document, dict):
        raise UnreadableError(f"got a JSON {type(document).__name__}, expected an object")
    _require_shallow(document)
    return document


def _require_shallow(document: dict[str, Any]) -> None:
    level: list[Any] = [document]
    for _ in range(DEPTH):
        inside = [item for one in level for item in (one.values() if isinstance(one, dict) else one)]
        level = [item for item in inside if isinstance(item, dict | list)]
    if level:
        raise UnreadableError(f"is nested too deeply, expected at most {DEPTH} levels")


def _read(document: dict[str, Any]) -> Content:
    for key, expected in (("schema", SCHEMA), ("kind", KIND), ("claim", CLAIM)):
        found = document.get(key)
        if type(found) is not type(expected) or found != expected:
            raise UnreadableError(f"{key}: got {found!r:.60}, expected {expected!r:.60}")
    structure, point = _object(document, "structure"), _object(document, "point")
    T, d, k = (_whole(structure, name) for name in ("T", "d", "k"))
    if not (T >= 2 and 1 <= k <= d and T * d * k <= MOST_UNKNOWNS):
        raise UnreadableError(
            f"structure: got T = {T}, d = {d}, k = {k}, expected T >= 2, 1 <= k <= d, T d k <= {MOST_UNKNOWNS}"
        )
    value, curvature = _object(document, "value"), _object(document, "curvature")
    content = Content(
        U_star=_factors(structure, "U_star", (T, d, k)),
        U=_factors(point, "U", (T, d, k)),
        rows=_rows(point, (T, d, k)),
        radius=_number(point, "radius"),
        curvature=_number(curvature, "lower"),
        lower=_number(value, "lower"),
        upper=_number(value, "upper"),
    )
    _require_short(content)
    return content


def _require_short(content: Content) -> None:
    """Raise unless all factors are short integers over a common denominator."""
    numbers = [x for part in (content.U, content.U_star) for U in part for row in U for x in row]
    common = 1
    for x in numbers:
        common = lcm(common, x.denominator)
        if max(common, abs(x.numerator) * common // x.denominator).bit_length() > MOST_BITS:
            raise UnreadableError(f"U, U_star: over one denominator expected integers of at most {MOST_BITS} bits")


def _object(holder: dict[str, Any], name: str) -> dict[str, Any]:
    found = holder.get(name)
    if not isinstance(found, dict):
        raise UnreadableError(f"{name}: missing, expected an object")
    return found


def _whole(holder: dict[str, Any], name: str) -> int:
    found = holder.get(name)
    if not isinstance(found, int) or isinstance(found, bool):
        raise UnreadableError(f"{name}: got {found!r:.60}, expected a whole number")
    return found


def _number(holder: dict[str, Any], name: str) -> Fraction:
    return _fraction(holder.get(name), name)


def _fraction(found: object, name: str) -> Fraction:
    if not (isinstance(found, str) and NUMBER.fullmatch(found)):
        raise UnreadableError(f"{name}: got {found!r:.60}, expected a rational number in a string")
    try:
        number = Fraction(found)
    except ZeroDivisionError:
        raise UnreadableError(f"{name}: got {found!r:.60}, expected a rational number in a string") from None
    if max(abs(number.numerator), number.denominator).bit_length() > MOST_BITS:
        raise UnreadableError(f"{name}: got {found!r:.60}, expected at most {MOST_BITS} bits")
    return number


def _factors(holder: dict[str, Any], name: str, shape: tuple[int, int, int]) -> list[list[list[Fraction]]]:
    found: Any = holder.get(name)
    T, d, k = shape
    if not (_is_list(found, T) and all(_is_list(U, d) and all(_is_list(row, k) for row in U) for U in found)):
        raise UnreadableError(f"{name}: expected {T} lists of {d} lists of {k} numbers")
    return [[[_fraction(x, name) for x in row] for row in U] for U in found]


def _rows(point: dict[str, Any], shape: tuple[int, int, int]) -> list[list[int]]:
    found: Any = point.get("gauge_rows")
    T, d, k = shape
    if not (_is_list(found, T) and all(_is_list(rows, k - 1) for rows in found)):
        raise UnreadableError(f"gauge_rows: expected {T} lists of {k - 1} rows")
    if any(not isinstance(row, int) or isinstance(row, bool) or not 0 <= row < d for rows in found for row in rows):
        raise UnreadableError(f"gauge_rows: expected rows from 0 to {d - 1}")
    return [list(rows) for rows in found]


def _is_list(found: Any, length: int) -> bool:
    return isinstance(found, list) and len(found) == length


def _require(holds: bool, failing: str) -> None:
    if not holds:
        raise InvalidError(failing)


def _verify(content: Content) -> None:
    """Carry out the steps of the module's docstring."""
    r, mu = content.radius, content.curvature
    _require(r > 0, "radius: is not positive")
    _require(mu > 0, "curvature: the lower bound is not positive")
    _require(content.lower > 0, "value: the lower bound is not positive")
    _check_gauge(content)
    exact = _Scaled(content)
    variation = 8 * r * (2 * exact.longest() + r)
    _require(
        _exceeds(exact.hessian(), exact.hessian_scale, mu + variation),
        "curvature: the Hessian is not proved to be at least the lower bound on the whole ball",
    )
    _require(exact.squared_slope() < (mu * r) ** 2, "point: no stationary point is proved to lie within the radius")
    value = exact.value()
    _require(value - mu * r * r >= content.lower, "value: the lower bound is above what is proved")
    _require(value <= content.upper, "value: the upper bound is below the value at the centre")


def _check_gauge(content: Content) -> None:
    """Raise unless the gauge is valid: distinct rows, zeros right of the pivots, pivots bounded away from 0."""
    for t, rows in enumerate(content.rows):
        _require(len(set(rows)) == len(rows), f"gauge_rows: task {t} names a row twice")
        for i, row in enumerate(rows):
            entries = content.U[t][row]
            _require(not any(entries[i + 1 :]), f"point: task {t}, row {row} is not 0 right of column {i}")
            _require(abs(entries[i]) > content.radius, f"point: task {t}, row {row}, the pivot may be 0")


class _Scaled:
    """Value, gradient and Hessian at the centre in integers: factors times N, their products times N^2 T."""

    def __init__(self, content: Content) -> None:
        self.content = content
        self.T, self.d, self.k = content.shape
        numbers = [x for part in (content.U, content.U_star) for U in part for row in U for x in row]
        self.N = lcm(*(x.denominator for x in numbers))
        self.U = [self._integers(U) for U in content.U]
        D = [_minus(_square(U), _square(self._integers(true))) for U, true in zip(self.U, content.U_star, strict=True)]
        total = [[sum(M[i][j] for M in D) for j in range(self.d)] for i in range(self.d)]
        self.E = [
            [[self.T * x - y for x, y in zip(*rows, strict=True)] for rows in zip(M, total, strict=True)] for M in D
        ]
        self.hessian_scale = self.T * self.N**2
        pinned = {
            (t, row, j)
            for t, rows in enumerate(content.rows)
            for i, row in enumerate(rows)
            for j in range(i + 1, self.k)
        }
        self.free = [at for at in product(range(self.T), range(self.d), range(self.k)) if at not in pinned]

    def _integers(self, U: list[list[Fraction]]) -> Matrix:
        return [[int(x * self.N) for x in row] for row in U]

    def longest(self) -> Fraction:
        """Return an upper bound of ``max_t ||U_t||_F``, a little above it."""
        squared = max(sum(x * x for row in U for x in row) for U in self.U)
        return Fraction(isqrt(squared) + 1, self.N)

    def value(self) -> Fraction:
        """Return ``g = 1/2 sum_t ||E_t||_F^2``."""
        return Fraction(sum(x * x for M in self.E for row in M for x in row), 2 * self.hessian_scale**2)

    def squared_slope(self) -> Fraction:
        """Return the squared norm of the gradient ``2 E_t U_t`` in the free coordinates."""
        total = 0
        for t, i, a in self.free:
            total += (2 * sum(self.E[t][i][j] * self.U[t][j][a] for j in range(self.d))) ** 2
        return Fraction(total, (self.hessian_scale * self.N) ** 2)

    def hessian(self) -> Matrix:
        r"""Return ``<L_x, L_y> - 1/T <sum_t L_x, sum_t L_y> + 2 <V_x, E V_y>`` for all pairs of free coordinates.

        V_x is the unit step along coordinate x = (t, i, a), ``L_x = V_x U_t^T + U_t V_x^T`` the change of U_t U_t^T.
        """
        moves = [self._move(t, i, a) for t, i, a in self.free]
        H = [[0] * len(moves) for _ in moves]
        for x, (t, i, a) in enumerate(self.free):
            for y, (s, j, b) in enumerate(self.free[: x + 1]):
                entry = _inner(moves[x], moves[y]) * (self.T * (t == s) - 1)
                if (t, a) == (s, b):
                    entry += 2 * self.E[t][i][j]
                H[x][y] = H[y][x] = entry
        return H

    def _move(self, t: int, i: int, a: int) -> Sparse:
        """Return ``e_i u^T + u e_i^T``, u column a of U_t."""
        made: Sparse = {}
        for j in range(self.d):
            for at in ((i, j), (j, i)):
                made[at] = made.get(at, 0) + self.U[t][j][a]
        return made


def _square(U: Matrix) -> Matrix:
    return [[sum(x * y for x, y in zip(one, other, strict=True)) for other in U] for one in U]


def _minus(one: Matrix, other: Matrix) -> Matrix:
    return [[x - y for x, y in zip(*rows, strict=True)] for rows in zip(one, other, strict=True)]


def _inner(one: Sparse, other: Sparse) -> int:
    return sum(x * other[at] for at, x in one.items() if at in other)


def _exceeds(H: Matrix, scale: int, bound: Fraction) -> bool:
    """Return whether all eigenvalues of ``H / scale`` are proved to be above `bound` > 0."""
    slack = bound / 2**20
    largest = max(abs(entry) for row in H for entry in row) // scale + 1
    one = 2 ** (60 + len(H).bit_length() + largest.bit_length() + int(1 / bound).bit_length())
    cut = -int(-(bound + slack) * one // 1)
    rounded = [[entry * one // scale - cut * (i == j) for j, entry in enumerate(row)] for i, row in enumerate(H)]
    error = residual(rounded, one)
    return error is not None and error + len(H) < slack * one  # rounding to integers moves eigenvalues by at most m


def residual(M: Matrix, one: int) -> Fraction | None:
    r"""Return an upper bound of ``||M - L L^T / one||`` for some L; so no eigenvalue of M is below minus that.

    L is a Cholesky factor in fixed point, `one` standing for 1. However inexact it is, ``L L^T`` has no negative
    eigenvalue, and the remainder, computed exactly, is bounded by its largest row sum. None where a pivot is not
    positive.

    Examples
    --------
    >>> residual([[4, 2], [2, 5]], 1), residual([[1, 2], [2, 1]], 1) is None
    (Fraction(0, 1), True)
    """
    L: Matrix = []
    sums = [0] * len(M)
    for i, row in enumerate(M):
        new: list[int] = []
        for j in range(i):
            rest = row[j] * one - sum(map(mul, new, L[j]))
            new.append(rest // L[j][j])
            left_over = abs(rest - new[j] * L[j][j])
            sums[i] += left_over
            sums[j] += left_over
        rest = row[i] * one - sum(map(mul, new, new))
        if rest <= 0:
            return None
        new.append(isqrt(rest))
        sums[i] += rest - new[i] ** 2
        L.append(new)
    return Fraction(max(sums), one)
