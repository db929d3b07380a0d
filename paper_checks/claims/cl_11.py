"""CL-11: which filters of factors are functions of the shift."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from loraml_theory.continual.filters import diagonal, haar, heat, wiener
from paper_checks.claim import Assumption, Claim, Control, Finding, Profile
from paper_checks.evidence import exact_evidence
from paper_checks.evidence.chains import over_q
from paper_checks.evidence.drawn import carry, with_integers
from paper_checks.evidence.evidence import Evidence
from paper_checks.evidence.instance import Instance

INVARIANT = "relative change of the filtered shift under another gauge, filters that are functions of the shift"
HAAR = "relative change of the Haar-filtered shift under an orthogonal change of the balanced gauge"
SIGMA, TIME, THETA = 0.3, 0.4, 0.5

ROOM: Assumption[Instance] = Assumption(
    r"$d \ge 6$, room for ranks of two blocks of the Haar filter (measured: $d$)",
    lambda i: Finding(i.truth.d >= 6, i.truth.d),
)


class Factors(NamedTuple):
    """A shift ``B A`` in a gauge: A ``(r, d)`` and B ``(d, r)``."""

    A: np.ndarray
    B: np.ndarray

    def moved(self, H: np.ndarray) -> Factors:
        """Return the same shift in the gauge ``(H A, B H^{-1})``."""
        return Factors(H @ self.A, np.linalg.solve(H.T, self.B.T).T)


Filter = Callable[[Factors], np.ndarray]
"""Returns the shift after both factors, or one of them, are filtered."""


def wiener_both(at: Factors) -> np.ndarray:
    """Filter both factors by equation 7."""
    return wiener(at.B, SIGMA) @ wiener(at.A.T, SIGMA).T


def heat_both(at: Factors) -> np.ndarray:
    """Damp the shift's small singular values."""
    return at.B @ heat(at.A, at.B, TIME)


def input_side(at: Factors) -> np.ndarray:
    """Scale the inputs."""
    return at.B @ diagonal(at.A, np.linspace(0.5, 1.5, at.A.shape[-1]))


def haar_input(at: Factors) -> np.ndarray:
    """Filter A by Haar's low-low band, as DEAL as released does."""
    return at.B @ haar(at.A, np.full((1, 1), THETA))


def balanced(instance: Instance, r: int) -> Factors:
    """Draw a shift of rank r in the balanced gauge, ``A A^T = B^T B``, singular values from 1 to 2."""
    rng, d = instance.rng("shift"), instance.truth.d
    left, right = np.linalg.qr(rng.standard_normal((2, d, r)))[0]
    roots = np.sqrt(np.linspace(1, 2, r))
    return Factors(roots[:, None] * right.T, left * roots)


def check(
    instance: Instance,
    _profile: Profile,
    *,
    equivariant: Filter = wiener_both,
    tilt: float = 0.0,
    haar_varies: bool = True,
) -> Iterator[Evidence]:
    """Filter the same shift in several gauges, and compare."""
    r, rng = min(4, instance.truth.d // 2), instance.rng("gauges")
    at = balanced(instance, r)
    Q = np.linalg.qr(rng.standard_normal((r, r)))[0]
    general = Q @ np.diag(np.linspace(1, 3, r)) + 0.1 * np.eye(r)
    within = Q + tilt * np.diag(np.arange(r))
    for name, filtered, H in (
        ("wiener on both factors, an orthogonal change of the balanced gauge", equivariant, within),
        ("heat, any change of gauge", heat_both, general),
        ("a diagonal on the input side, any change of gauge", input_side, general),
    ):
        what, change = f"relative change of the filtered shift: {name}", _change(filtered, at, H)
        reason = "1e3 eps times the condition of the gauge, at most 10"
        yield Evidence("numerical", instance.name, what, change, 0.0, "equal", 1e-12, reason, key=INVARIANT)
    exchange, signs = np.eye(r)[np.r_[r - 1, 1 : r - 1, 0]], np.diag((-1.0) ** np.arange(r))
    for name, H in (("a random Q", Q), ("two ranks exchanged", exchange), ("signs alone", signs)):
        what = f"relative change of the Haar-filtered shift: {name}"
        seen, bound = _change(haar_input, at, H), 1e-3
        relation = ("at least", bound) if haar_varies else ("at most", 1e-12)
        yield Evidence(
            "numerical",
            instance.name,
            what,
            seen,
            relation[1],
            "at least" if haar_varies else "at most",
            0.0,
            "clearly not rounding" if haar_varies else "rounding",
            key=HAAR if name == "a random Q" else "",
        )
    if over_q(instance) is not None:
        yield from _exact(instance, r, tilt)


def _change(filtered: Filter, at: Factors, H: np.ndarray) -> float:
    before, after = filtered(at), filtered(at.moved(H))
    return float(np.linalg.norm(after - before) / np.linalg.norm(before))


def _exact(instance: Instance, r: int, tilt: float) -> Iterator[Evidence]:
    """Over Q: equation 7 on both factors under a rational Q, a polynomial of the shift under any gauge, and Haar."""
    from flint import fmpq

    from loraml_theory.exact import non_zero, rationals
    from loraml_theory.exact.rational import array, diagonal, matrix

    rng, d = instance.rng("rational gauges"), instance.truth.d
    left, right = (exact_evidence.draw_orthogonal(rng, d)[:, :r] for _ in range(2))
    K = rationals(np.triu(rng.integers(-2, 3, (r, r)), 1) + 3 * np.eye(r, dtype=int))
    A, B, Q = K.T @ right.T, left @ K, exact_evidence.draw_orthogonal(rng, r)
    Q = Q + rationals([tilt])[0] * diagonal(range(r))

    def seventh(tall: np.ndarray) -> np.ndarray:
        return tall - fmpq(1, 9) * tall @ array(matrix(tall.T @ tall).inv())

    def filtered(A: np.ndarray, B: np.ndarray) -> np.ndarray:
        return seventh(B) @ seventh(A.T).T

    moved = filtered(Q @ A, B @ array(matrix(Q).inv()))
    yield exact_evidence.zero(instance, "change of the shift, equation 7 on both factors, Q", moved - filtered(A, B))
    H = rationals(np.triu(rng.integers(-3, 4, (r, r)), 1) + np.eye(r, dtype=int))
    C, F = H @ A, B @ array(matrix(H).inv())
    cubes = F @ (C @ C.T) @ (F.T @ F) @ C - B @ (A @ A.T) @ (B.T @ B) @ A
    yield exact_evidence.zero(instance, "change of B (A A^T)(B^T B) A under any gauge", cubes)
    flipped = diagonal([(-1) ** i for i in range(r)])
    theta = rationals([[THETA]])
    haared = B @ flipped @ haar(flipped @ A, theta) - B @ haar(A, theta)
    what = "entries that signs change over Q in the Haar-filtered shift"
    yield exact_evidence.evidence(instance, what, non_zero(haared), 1, relation="at least")


CLAIM = Claim(
    id="CL-11",
    title="Which filters of factors are functions of the shift, and that the Haar filter is not",
    statement=(
        r"A filter of factors is in general not a function of the shift $B A$. With $A A^\top = B^\top B$, which "
        r"fixes the factors up to an orthogonal $Q$, filters with $f(Q A) = Q f(A)$ and $f(B Q^\top) = f(B) "
        r"Q^\top$ are, such as equation 7; the Haar filter is not, changed by signs alone. $(I - e^{-s A A^\top "
        r"B^\top B}) A$, the heat filter, and fixed filters on the input side of $A$ or the output side of $B$ "
        "are functions of the shift in every gauge."
    ),
    source="ours, on DEAL's filters; proof in docs/forgetting.md, CL-11",
    nature="theorem",
    group="continual",
    assumptions=(ROOM,),
    check=check,
    controls=(
        Control(
            "mutated: the Haar filter is a function of the shift",
            partial(check, haar_varies=False),
            carry("generic", 10, 1, 3),
        ),
        Control(
            "mutated: Haar for equation 7 among those that are functions of the shift",
            partial(check, equivariant=haar_input),
            carry("generic", 10, 1, 3),
        ),
        Control(
            "near miss: a gauge that is balanced to 1e-9 only", partial(check, tilt=1e-9), carry("generic", 10, 1, 3)
        ),
    ),
    instances=with_integers,
    keys=(INVARIANT, HAAR),
)
