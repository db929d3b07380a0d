"""ML-6: a closed form for LoRA-ML at T >= 3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from loraml_theory.closed_forms import SpectralRecovery, spectral_recovery
from loraml_theory.moments import draw
from loraml_theory.spectra import DEPENDENT
from paper_checks.claim import Claim, Control, Profile
from paper_checks.claims.ml_3 import dependent
from paper_checks.evidence import exact_evidence
from paper_checks.evidence.assumptions import SOME_TRIPLE_INDEPENDENT, THREE_TASKS
from paper_checks.evidence.drawn import carry, with_integers
from paper_checks.evidence.evidence import Evidence, Note
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.measure import zero_evidence
from paper_checks.evidence.minimisers import AMPLIFICATION
from paper_checks.evidence.resolution import slightly_more

APART = r"distance of the recovered base from $A^\star$, over $\max_t \|W_t\|_F$"

Recovery = Callable[[np.ndarray, int], SpectralRecovery]


def _without_projection(W: np.ndarray, k: int) -> SpectralRecovery:
    """Take the PSD part of ``W_1 - W_2`` for R_1*: a mutant that leaves out the oblique projection."""
    difference = W[0] - W[1]
    values, vectors = np.linalg.eigh((difference + difference.T) / 2)
    A = W[0] - (vectors[:, -k:] * values[-k:]) @ vectors[:, -k:].T
    return SpectralRecovery(A, spectral_recovery(W, k).U, np.asarray(1.0))


def _slightly_off(W: np.ndarray, k: int) -> SpectralRecovery:
    """Return the recovered base 10^-9 too large."""
    found = spectral_recovery(W, k)
    return SpectralRecovery(slightly_more(found.A), found.U, found.condition)


def _exact_recovery(W: np.ndarray, k: int) -> np.ndarray:
    from loraml_theory.exact import recover

    return recover(W, k)


def _exact_without_projection(W: np.ndarray, k: int) -> np.ndarray:
    """Leave out the oblique projection, over Q: split ``W_1 - W_2`` by the orthogonal projection onto span(U_1*)."""
    from loraml_theory.exact import column_space
    from loraml_theory.exact.rational import array, matrix

    R = W[0] - _exact_recovery(W, k)
    E = column_space(R)
    P = E @ array(matrix(E.T @ E).inv()) @ E.T
    return np.asarray(W[0] - P @ (W[0] - W[1]) @ P)


def check(
    instance: Instance,
    profile: Profile,
    *,
    recovery: Recovery = spectral_recovery,
    exact_recovery: Callable[[np.ndarray, int], np.ndarray] = _exact_recovery,
) -> Iterator[Evidence | Note]:
    """Recover base and shifts from the exact W_t; show the error from noisy least squares."""
    truth = instance.truth
    found = recovery(truth.W_retraining, truth.k)
    scale = float(truth.retraining_scale)
    # where every triple is dependent nothing bounds the error; with condition 1 a control is judged
    known = SOME_TRIPLE_INDEPENDENT.test(instance).measured > DEPENDENT
    condition = float(found.condition) if known else 1.0
    yield zero_evidence(
        instance,
        "||A - A*||_F / max||W_t||_F",
        float(np.linalg.norm(found.A - truth.A_star)) / scale,
        condition=condition,
        factor=AMPLIFICATION / truth.d,
    ).of(APART)
    shifts = found.U @ np.swapaxes(found.U, -1, -2) - truth.R[:-1]
    yield zero_evidence(
        instance,
        "max_t ||U_t U_t^T - R_t*||_F / max||W_t||_F",
        float(np.linalg.norm(shifts, axis=(-2, -1)).max()) / scale,
        condition=condition,
        factor=AMPLIFICATION / truth.d,
    )
    if known and truth.d <= 20:
        yield _noisy(instance, profile)
    yield from _exact(instance, found, condition, exact_recovery)


def _exact(
    instance: Instance,
    found: SpectralRecovery,
    condition: float,
    recovery: Callable[[np.ndarray, int], np.ndarray],
) -> Iterator[Evidence]:
    """Recover the base over Q; bound the error of the recovery in floating point by exact arithmetic."""
    truth = exact_evidence.over_rationals(instance)
    if truth is None:
        return
    scale = float(instance.truth.retraining_scale)
    try:
        A = recovery(truth.W_retraining, truth.k)
    except ValueError:  # where every triple is dependent the closed form does not apply, and a control refutes it
        yield exact_evidence.evidence(instance, "triples from which the base is recovered over Q", 0, 1)
    else:
        yield exact_evidence.zero(instance, "A - A*, A recovered from the W_t", A - truth.A_star).of(APART)
    error = exact_evidence.distance_above(found.A, truth.A_star) / scale
    tolerance = condition * AMPLIFICATION * float(np.finfo(float).eps)
    yield Evidence(
        "certified",
        instance.name,
        "upper bound of ||A - A*||_F / max||W_t||_F, A in floating point: its distance is computed over Q",
        error,
        0.0,
        "equal",
        tolerance,
        f"condition number {condition:.2g} times {AMPLIFICATION:g} eps",
        decidable=tolerance < 1e-3,
        rounding=condition * instance.truth.d * float(np.finfo(float).eps),
    )


def _noisy(instance: Instance, profile: Profile) -> Note:
    """Show the median error as an estimator from least squares on N samples per task; a rate is not claimed."""
    truth, N, sigma = instance.truth, 5000, 0.1
    moments = draw(instance.rng("noisy"), truth.W_retraining, N, sigma=sigma, batch=(profile.trials // 4,))
    bases = spectral_recovery(moments.W, truth.k).A
    errors = np.sum((bases - truth.A_star) ** 2, axis=(-2, -1)) / (sigma**2 * truth.d**2 / (N * truth.T))
    low, median, high = np.quantile(errors, [0.1, 0.5, 0.9])
    return Note(
        instance.name,
        f"from N = {N} noisy samples a task (sigma = {sigma}): ||A - A*||_F^2 over sigma^2 d^2/(NT) has median "
        f"{median:.2g}, "
        f"10 to 90 % quantiles {low:.2g} to {high:.2g} ({errors.size} draws)",
    )


CLAIM = Claim(
    id="ML-6",
    title="Three tasks or more: a closed form",
    statement=(
        r"With an independent triple, $A^\star$ and all $R_t^\star$ follow from the exact $W_t$ without "
        "iteration: eigenvectors of $W_t - W_s$, an intersection of their spans, an oblique projection."
    ),
    source="beyond arXiv 2410.22264; proof in docs/theory.md, ML-6",
    nature="theorem",
    assumptions=(THREE_TASKS, SOME_TRIPLE_INDEPENDENT),
    check=check,
    controls=(
        Control(
            "mutated: without the oblique projection",
            partial(check, recovery=_without_projection, exact_recovery=_exact_without_projection),
            carry("generic", 10, 1, 3),
        ),
        Control(
            "near miss: a base 10^-9 too large",
            partial(check, recovery=_slightly_off, exact_recovery=lambda W, k: slightly_more(_exact_recovery(W, k))),
            carry("generic", 10, 1, 3),
            key=APART,
        ),
        Control(
            "broken assumption: k = 2, all of U_3* in span[U_1*, U_2*]",
            check,
            lambda seed: dependent(10, 2, 3, seed),
            on_given=False,
        ),
        Control("broken assumption: a repeated task", check, carry("repeated-task", 10, 1, 3), on_given=False),
    ),
    instances=with_integers,
    keys=(APART,),
)
