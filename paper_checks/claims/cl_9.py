"""CL-9: DEAL's equation 7 is the best right filter under its equation 6, and leaves an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from loraml_theory.closed_forms import truncate
from loraml_theory.continual.filters import noise_level, wiener
from paper_checks.claim import Assumption, Claim, Control, Finding, Profile
from paper_checks.evidence import exact_evidence
from paper_checks.evidence.chains import NEAR_MISS, over_q
from paper_checks.evidence.drawn import carry, with_integers
from paper_checks.evidence.evidence import Evidence
from paper_checks.evidence.instance import Instance

ERROR = r"squared error of the filter of equation 7, over $\|X\|_F^2$"
SIGMA = 0.8
TOLERANCE = 1e-11

ROOM_FOR_NOISE: Assumption[Instance] = Assumption(
    r"$d \ge 2k + 1$, room for noise orthogonal to the signal (measured: $d - 2k$)",
    lambda i: Finding(i.truth.d > 2 * i.truth.k, i.truth.d - 2 * i.truth.k),
)

Noise = Callable[[Instance], tuple[np.ndarray, np.ndarray]]
"""Draws X and D, ``(d, k + 1)`` each."""


def as_written(instance: Instance) -> tuple[np.ndarray, np.ndarray]:
    """Draw X of rank k, and D with ``D^T D = sigma^2 I`` and ``X^T D = 0``: equation 6."""
    d, k, rng = instance.truth.d, instance.truth.k, instance.rng("signal and noise")
    Q = np.linalg.qr(rng.standard_normal((d, d)))[0]
    return Q[:, :k] @ rng.standard_normal((k, k + 1)), SIGMA * Q[:, k : 2 * k + 1]


def gaussian(instance: Instance) -> tuple[np.ndarray, np.ndarray]:
    """Draw D with independent normal entries and ``E D^T D = sigma^2 I``."""
    X, D = as_written(instance)
    noise = instance.rng("normal noise").standard_normal(D.shape)
    return X, SIGMA / np.sqrt(len(D)) * noise


def check(
    instance: Instance,
    _profile: Profile,
    *,
    draw: Noise = as_written,
    displaced: float = 0.0,
    truncated: Callable[[int], int] = lambda rank: rank,
) -> Iterator[Evidence]:
    """Compare the filter with least squares, its error and that of truncation with their forms."""
    X, D = draw(instance)
    Y, k, whole = X + D, instance.truth.k, float(np.sum(X * X))
    found = wiener(Y, SIGMA * (1 + displaced))
    best = Y @ np.linalg.lstsq(Y, X, rcond=None)[0]
    squares = np.linalg.eigvalsh(X.T @ X)
    reason = "100 d eps times the condition of Y, at most 1e3"
    rows = (
        ("distance of the filtered factor from the best right filter, over ||X||", found - best, 0.0, ""),
        (
            "squared error of the filter over ||X||^2",
            found - X,
            np.sum(squares * SIGMA**2 / (squares + SIGMA**2)),
            ERROR,
        ),
        ("squared error of truncation at the rank of X over ||X||^2", truncate(Y, k) - X, truncated(k) * SIGMA**2, ""),
    )
    for what, M, predicted, key in rows:
        size = float(np.sum(M * M)) / whole
        value, of = (size, float(predicted) / whole) if predicted else (np.sqrt(size), 0.0)
        yield Evidence("numerical", instance.name, what, value, of, "equal", TOLERANCE, reason, key=key)
    level = float(noise_level(Y)) / SIGMA
    what = "smallest singular value of Y over sigma_D"
    yield Evidence("numerical", instance.name, what, level, 1.0, "equal", TOLERANCE, reason)
    yield from _exact(instance, displaced)


def _exact(instance: Instance, displaced: float) -> Iterator[Evidence]:
    """Over Q the normal equations hold, ``Y^T (Y F - X) = 0``, and the error is its form."""
    if over_q(instance) is None:
        return
    from flint import fmpq

    from loraml_theory.exact import rationals
    from loraml_theory.exact.rational import array, diagonal, matrix

    d, k, rng = instance.truth.d, instance.truth.k, instance.rng("rational signal and noise")
    Q = exact_evidence.draw_orthogonal(rng, d)
    X, D = Q[:, :k] @ rationals(rng.integers(-3, 4, (k, k + 1))), Q[:, k : 2 * k + 1] * fmpq(4, 5)
    sigma = fmpq(4, 5) * (1 + rationals([displaced])[0])
    Y, noise = X + D, sigma * sigma * diagonal([1] * (k + 1))
    error = Y - sigma * sigma * (Y @ array(matrix(Y.T @ Y).inv())) - X
    yield exact_evidence.zero(instance, "Y^T (Y F - X), F of equation 7", Y.T @ error)
    form = np.trace(sigma * sigma * X.T @ X @ array(matrix(X.T @ X + noise).inv()))
    what = "squared error of the filter less tr(sigma^2 X^T X (X^T X + sigma^2)^-1)"
    yield exact_evidence.zero(instance, what, np.asarray([np.sum(error * error) - form]))


CLAIM = Claim(
    id="CL-9",
    title="DEAL's equation 7 is the best right filter, and not exact",
    statement=(
        r"Let $Y = X + D$ be tall, $D^\top D = \sigma^2 I$ and $X^\top D = 0$. The filter $\sigma_i \mapsto "
        r"(\sigma_i^2 - \sigma^2)/\sigma_i$ of the singular values of $Y$ is the best right filter, the least "
        r"$\|Y F - X\|_F$ over all $F$, so also the best reweighting of the $\sigma_i$. Its squared error is "
        r"$\sum_i x_i^2 \sigma^2 / (x_i^2 + \sigma^2)$, $x_i$ the singular values of $X$, and not 0; truncation "
        r"at the rank of $X$ leaves $\sigma^2$ times that rank, which is more. Where $X$ has dependent columns, "
        r"$\sigma$ is the smallest singular value of $Y$."
    ),
    source="X. Han et al., DEAL, equations 6 and 7; proof in docs/forgetting.md, CL-9",
    nature="theorem",
    group="continual",
    assumptions=(ROOM_FOR_NOISE,),
    check=check,
    controls=(
        Control("broken assumption: normal D", partial(check, draw=gaussian), carry("generic", 10, 1, 3)),
        Control(
            "mutated: truncation leaves the noise of one rank more",
            partial(check, truncated=lambda k: k + 1),
            carry("generic", 10, 1, 3),
        ),
        Control("near miss: sigma too large by 1e-9", partial(check, displaced=NEAR_MISS), carry("generic", 10, 1, 3)),
    ),
    instances=with_integers,
    keys=(ERROR,),
)
