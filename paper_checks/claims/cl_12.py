"""CL-12: what the Haar filter can change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from loraml_theory.continual.filters import haar, haar_low_band
from paper_checks.claim import Claim, Control, Profile
from paper_checks.evidence import exact_evidence
from paper_checks.evidence.chains import NEAR_MISS, over_q
from paper_checks.evidence.drawn import carry, with_integers
from paper_checks.evidence.evidence import Evidence
from paper_checks.evidence.instance import Instance

RANK = r"rank of the Haar filter's change of $A$"
SIZE = r"Frobenius norm of the change over its bound $\max|\theta - 1| \|A\|_F$"
ROWS = (4, 5)  # an even and an odd number of ranks

Filter = Callable[[np.ndarray, np.ndarray], np.ndarray]


def all_bands(A: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Multiply every band by theta, the details as well: on each 2 x 2 block."""
    return np.asarray(A * np.repeat(np.repeat(theta, 2, axis=0), 2, axis=1)[: A.shape[0], : A.shape[1]])


def half(rows: int) -> int:
    """Return the rows of the low-low band."""
    return -(-rows // 2)


def check(
    instance: Instance,
    _profile: Profile,
    *,
    filtered: Filter = haar,
    rank: Callable[[int], int] = half,
    displaced: float = 0.0,
    spectral: bool = False,
) -> Iterator[Evidence]:
    """Count the rank of the change, generic and of blocks, measure its norm, and reconstruct at theta = 1."""
    d, rng = instance.truth.d, instance.rng("factor")
    for r in ROWS:
        A = rng.standard_normal((r, d + d % 2))
        theta = rng.standard_normal(haar_low_band(A).shape)
        change = filtered(A, theta) - A
        values = np.linalg.svd(change, compute_uv=False)
        found = int(np.sum(values > 1e-10 * values[0]))
        predicted = min(rank(r), half(A.shape[1]))
        what = f"rank of the change of a generic A of {r} rows"
        yield Evidence("numerical", instance.name, what, found, predicted, "equal", 0.0, "counted", key=RANK)
        bound = float(np.max(np.abs(theta - 1)) * np.linalg.norm(A)) * (1 - displaced)
        what = f"norm of the change over max|theta - 1| ||A||, generic A of {r} rows"
        yield Evidence(
            "numerical", instance.name, what, float(np.linalg.norm(change)) / bound, 1.0, "at most", 0.0, "a bound"
        )
    blocks = np.repeat(np.repeat(rng.standard_normal((2, half(d))), 2, axis=0), 2, axis=1)
    theta = np.full((2, half(d)), 0.25)
    reached = float(np.linalg.norm(filtered(blocks, theta) - blocks) / (0.75 * np.linalg.norm(blocks))) / (
        1 - displaced
    )
    what = "norm of the change over max|theta - 1| ||A||, A of constant 2 x 2 blocks: the bound is attained"
    yield Evidence("numerical", instance.name, what, reached, 1.0, "equal", 1e-13, "100 eps and more", key=SIZE)
    yield Evidence(
        "numerical",
        instance.name,
        "entries of A that theta = 1 changes",
        int(np.count_nonzero(filtered(blocks, np.ones_like(theta)) - blocks)),
        0,
        "equal",
        0.0,
        "nothing is added",
    )
    yield _spectral(instance, filtered, spectral=spectral)
    if over_q(instance) is not None:
        yield from _exact(instance, filtered, rank)


def _spectral(instance: Instance, filtered: Filter, *, spectral: bool) -> Evidence:
    """Exceed the same bound in the spectral norm: on blocks of signs (1, 1; 1, -1), theta - 1 of the same signs."""
    signs = np.array([[1.0, 1], [1, -1]])
    A = np.kron(signs, np.ones((2, 2)))
    change = filtered(A, 1 + signs) - A
    seen = float(np.linalg.norm(change, 2) / np.linalg.norm(A, 2))
    what = "spectral norm of a change over max|theta - 1| ||A||_2, signs of an A"
    predicted = 1.0 if spectral else float(np.sqrt(2))
    return Evidence("numerical", instance.name, what, seen, predicted, "equal", 1e-12, "100 eps and more")


def _exact(instance: Instance, filtered: Filter, rank: Callable[[int], int]) -> Iterator[Evidence]:
    """Count the rank of the change over Q, for whole numbers and rational theta; and reconstruct."""
    from loraml_theory.exact import rank as exact_rank
    from loraml_theory.exact import rationals

    d, rng = instance.truth.d, instance.rng("whole factor")
    for r in ROWS:
        A = rationals(rng.integers(-(10**6), 10**6, (r, d + d % 2)))
        theta = rationals(rng.integers(-(10**6), 10**6, haar_low_band(A).shape)) / 10**7
        found = exact_rank(filtered(A, theta) - A)
        what = f"rank over Q of the change of an A of {r} rows"
        yield exact_evidence.evidence(instance, what, found, min(rank(r), half(A.shape[1]))).of(RANK)
        same = filtered(A, theta * 0 + 1) - A
        yield exact_evidence.zero(instance, f"the change at theta = 1, {r} rows", same)


CLAIM = Claim(
    id="CL-12",
    title="The Haar filter changes half of the ranks at most",
    statement=(
        r"The filter that multiplies the low-low band of $A$'s Haar transform by $\theta$ changes $A$, of $r$ "
        r"rows, by a matrix of rank at most $\lceil r/2 \rceil$, which generic $A$ and $\theta$ attain, and of "
        r"Frobenius norm at most $\max|\theta - 1| \|A\|_F$, which constant $2 \times 2$ blocks attain. The "
        r"spectral norm can be larger than $\max|\theta - 1| \|A\|_2$. At $\theta = 1$ it returns $A$."
    ),
    source="ours, on DEAL as released; proof in docs/forgetting.md, CL-12",
    nature="theorem",
    group="continual",
    assumptions=(),
    check=check,
    controls=(
        Control(
            "mutated: theta on the detail bands too", partial(check, filtered=all_bands), carry("generic", 10, 1, 3)
        ),
        Control("near miss: rank one less", partial(check, rank=lambda r: half(r) - 1), carry("generic", 10, 1, 3)),
        Control(
            "near miss: the bound smaller by 1e-9", partial(check, displaced=NEAR_MISS), carry("generic", 10, 1, 3)
        ),
        Control("mutated: the bound in the spectral norm", partial(check, spectral=True), carry("generic", 10, 1, 3)),
    ),
    instances=with_integers,
    keys=(RANK, SIZE),
)
