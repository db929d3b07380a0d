"""CL-10: DEAL's equation 10, taken literally, ignores its kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from loraml_theory.continual.filters import diagonal
from paper_checks.claim import Claim, Control, Profile
from paper_checks.evidence import exact_evidence
from paper_checks.evidence.chains import NEAR_MISS, over_q
from paper_checks.evidence.drawn import carry, with_integers
from paper_checks.evidence.evidence import Evidence
from paper_checks.evidence.instance import Instance

CHANGE = "relative change of equation 10's layer when its centres and widths are drawn anew"
COLUMNS = "largest difference between columns of the layer as printed"
RANK = 3  # columns of the factor
FAR = 40.0  # distance of a centre from the factor, in widths: exp(-FAR^2 / 2) is 0 in float64


class Kernels(NamedTuple):
    """Centres c_j, ``(r, d, r)``, widths ``(r,)`` and learnt diagonals g_j, ``(r, d)``."""

    centres: np.ndarray
    widths: np.ndarray
    g: np.ndarray


Layer = Callable[[np.ndarray, Kernels], np.ndarray]


def printed(H: np.ndarray, kernels: Kernels) -> np.ndarray:
    r"""Return equation 10 as printed, the activation the identity: ``H_i <- sum_j phi_j g_j phi_j^{-1} H_j``.

    ``phi_j = exp(-||H - c_j||^2 / (2 s_j^2))`` is a number.
    """
    exponents = np.sum((H - kernels.centres) ** 2, axis=(-2, -1)) / (2 * kernels.widths**2)
    kept = np.exp(-exponents) * np.exp(exponents)
    column = np.sum(kept * kernels.g.T * H, axis=-1)
    return np.repeat(column[:, None], H.shape[1], axis=1)


def mixing(H: np.ndarray, kernels: Kernels) -> np.ndarray:
    """Return the same with kernels that are matrices, ``exp(-(h_a - h_b - c_a)^2 / (2 s^2))`` between entries."""
    column = np.zeros(len(H))
    for j in range(H.shape[1]):
        h, c = H[:, j], kernels.centres[j, :, 0]
        phi = np.exp(-((h[:, None] - h[None, :] - c[:, None]) ** 2) / (2 * kernels.widths[j] ** 2)) + 3 * np.eye(len(H))
        column += phi @ (kernels.g[j] * np.linalg.solve(phi, h))
    return np.repeat(column[:, None], H.shape[1], axis=1)


def check(
    instance: Instance,
    _profile: Profile,
    *,
    layer: Layer = printed,
    widened: float = 0.0,
    distinct: bool = False,
) -> Iterator[Evidence]:
    """Draw centres and widths anew, compare columns, go far from the centres, and leave out the sum."""
    d, rng = instance.truth.d, instance.rng("kernels")
    H, g = rng.standard_normal((d, RANK)), rng.standard_normal((RANK, d))
    near = [Kernels(rng.standard_normal((RANK, d, RANK)), np.sqrt(d) * (1 + rng.random(RANK)), g) for _ in range(2)]
    one, two = (layer(H, kernels) for kernels in near)
    change = float(np.linalg.norm((1 + widened) * one - two) / np.linalg.norm(one))
    reason = "rounding of exponents of at most 10 or so"
    yield Evidence("numerical", instance.name, CHANGE, change, 0.0, "equal", 1e-12, reason, key=CHANGE)
    apart, expected = float(np.max(np.abs(one - one[:, :1]))), 1e-9 if distinct else 0.0
    reason = "the same sum for all"
    yield Evidence("numerical", instance.name, COLUMNS, apart, expected, "equal", 0.0, reason, key=COLUMNS)
    far = Kernels(near[0].centres + FAR * np.sqrt(d), np.ones(RANK), g)
    with np.errstate(over="ignore", invalid="ignore"):
        share = float(np.mean(np.isnan(printed(H, far))))
    what = f"share of NaN among the printed layer's entries, centres {FAR:g} widths and more away"
    yield Evidence("numerical", instance.name, what, share, 1.0, "equal", 0.0, "0 times infinity")
    alone = diagonal(H.T, g[0]).T
    what = "difference of the layer without its sum, one g for all columns, from a diagonal scaling"
    phi = np.exp(-np.sum((H - near[0].centres[0]) ** 2) / (2 * near[0].widths[0] ** 2))
    off = float(np.linalg.norm(phi * (g[0][:, None] * H) / phi - alone) / np.linalg.norm(alone))
    yield Evidence("numerical", instance.name, what, off, 0.0, "equal", 1e-14 * d, "two roundings of every entry")
    if over_q(instance) is not None and layer is printed:
        yield from _exact(instance, widened)


def _exact(instance: Instance, widened: float) -> Iterator[Evidence]:
    """Over Q, for any numbers in place of the phi_j, one for every row: nothing of them is left."""
    from loraml_theory.exact import rationals

    d, rng = instance.truth.d, instance.rng("rational kernels")
    H, g = (rationals(rng.integers(-5, 6, (RANK, d))) for _ in range(2))
    phi = rationals(rng.integers(1, 9, (RANK, d))) / 7
    layer = np.sum(phi * g * H / phi, axis=0) * (1 + rationals([widened])[0])
    what = "sum_j phi_j g_j phi_j^-1 H_j less sum_j g_j H_j, phi_j any diagonal"
    yield exact_evidence.zero(instance, what, layer - np.sum(g * H, axis=0))


CLAIM = Claim(
    id="CL-10",
    title="DEAL's equation 10, taken literally, ignores its kernels",
    statement=(
        r"In $H^{k+1}_{:,i} = \delta(\sum_j \phi_j g_j \phi_j^{-1} H^k_{:,j})$, $\phi_j$ a number or a diagonal "
        r"matrix and $g_j$ diagonal, centres and widths of the kernels $\phi_j$ cancel: the layer is "
        r"$\delta(\sum_j g_j H^k_{:,j})$, and its columns are all the same. In floating point $\phi_j$ underflows "
        "far from a centre, and the layer is not a number. Without the sum it is a diagonal scaling."
    ),
    source="X. Han et al., DEAL, equations 8 to 10; proof in docs/forgetting.md, CL-10",
    nature="theorem",
    group="continual",
    assumptions=(),
    check=check,
    controls=(
        Control(
            "broken assumption: kernels that are not diagonal", partial(check, layer=mixing), carry("generic", 10, 1, 3)
        ),
        Control("near miss: columns that differ by 1e-9", partial(check, distinct=True), carry("generic", 10, 1, 3)),
        Control(
            "near miss: one kernel wider leaves a factor of 1 + 1e-9",
            partial(check, widened=NEAR_MISS),
            carry("generic", 10, 1, 3),
        ),
    ),
    instances=with_integers,
    keys=(CHANGE, COLUMNS),
)
