"""Kinds of structures: random ground truths that meet, or break, the claims' assumptions.

Every kind is one function of a generator, the sizes d, k, T and leading batch axes, ``()`` for a single truth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from loraml_theory.arguments import require_batch, require_count, require_generator
from loraml_theory.closed_forms import boost
from loraml_theory.structure import GroundTruth, transpose

if TYPE_CHECKING:
    from numpy.random import Generator

Batch = tuple[int, ...]


class Kind(Protocol):
    """Draws truths of one kind."""

    def __call__(self, rng: Generator, d: int, k: int, T: int, *, batch: Batch = ()) -> GroundTruth:
        """Draw truths of these sizes, with these leading axes."""
        ...


def generic(rng: Generator, d: int, k: int, T: int, *, batch: Batch = ()) -> GroundTruth:
    """Draw the paper's synthetic truth: A* the symmetric part of a normal matrix, U_t* normal, variance 1."""
    A = _square(rng, d, k, T, batch)
    return GroundTruth((A + transpose(A)) / 2, rng.standard_normal((*batch, T + 1, d, k)))


def asymmetric(rng: Generator, d: int, k: int, T: int, *, batch: Batch = ()) -> GroundTruth:
    """Draw a truth whose A* is not symmetric; no claim needs it to be."""
    return GroundTruth(_square(rng, d, k, T, batch), rng.standard_normal((*batch, T + 1, d, k)))


def orthogonal(rng: Generator, d: int, k: int, T: int, *, batch: Batch = ()) -> GroundTruth:
    """Draw a truth whose factors are jointly orthonormal, the best conditioned case; needs k(T+1) <= d."""
    A = _square(rng, d, k, T, batch)
    _require(k * (T + 1) <= d, f"orthogonal: got k(T+1) = {k * (T + 1)}, expected at most d = {d}")
    Q = np.linalg.qr(rng.standard_normal((*batch, d, k * (T + 1))))[0]
    return GroundTruth((A + transpose(A)) / 2, np.moveaxis(Q.reshape(*batch, d, T + 1, k), -2, -3).copy())


def scaled(rng: Generator, d: int, k: int, T: int, *, batch: Batch = ()) -> GroundTruth:
    """Draw a truth whose retraining factors run evenly on a log axis from 1 to 10^5: shifts differ by 10^10.

    The test task's factor is of the middle scale, 10^2.5.
    """
    truth = asymmetric(rng, d, k, T, batch=batch)
    scales = np.append(np.logspace(0, 5, T), 10**2.5)
    return GroundTruth(truth.A_star, truth.U_star * scales[:, None, None])


def repeated_task(rng: Generator, d: int, k: int, T: int, *, batch: Batch = ()) -> GroundTruth:
    """Draw a truth whose retraining tasks are two in turn, ``U_t* = U_{t-2}*``: no triple is independent."""
    truth = generic(rng, d, k, T, batch=batch)
    return GroundTruth(truth.A_star, truth.U_star[..., [*(t % 2 for t in range(T)), T], :, :])


def dependent(rng: Generator, d: int, k: int, T: int, *, batch: Batch = ()) -> GroundTruth:
    """Draw a truth in which a `second_minimiser` exists, the retraining factors sharing a 2k-space."""
    return second_minimiser(rng, d, k, T, batch=batch)[0]


def second_minimiser(
    rng: Generator, d: int, k: int, T: int, *, batch: Batch = ()
) -> tuple[GroundTruth, np.ndarray, np.ndarray]:
    r"""Construct a truth that LoRA-ML cannot identify, and the other global minimiser (controls of ML-3).

    For every H in O(k, k), with halves H = [P, N] of k columns, ``P P^T - N N^T = J``. With any Q of shape
    (d, 2k) take ``U_t* = Q P_t`` and ``U_t = Q N_t``: then ``A = A* + Q J Q^T`` explains all tasks as well as
    A* does, for any T. Needs 2k <= d.

    Returns
    -------
    The truth, the other minimiser's base ``(..., d, d)`` and its factors ``(..., T, d, k)``.
    """
    A = _square(rng, d, k, T, batch)
    _require(2 * k <= d, f"dependent: got 2k = {2 * k}, expected at most d = {d}")
    Q = rng.standard_normal((*batch, d, 2 * k))
    rotations = np.linalg.qr(rng.standard_normal((*batch, T, 2, k, k)))[0]
    H = boost(rng.uniform(0.3, 1.2, (*batch, T, k)), left=rotations)
    J = np.diag(np.repeat([1.0, -1.0], k))
    basis = Q[..., None, :, :]
    U = np.concatenate([basis @ H[..., :k], rng.standard_normal((*batch, 1, d, k))], axis=-3)
    return GroundTruth(A, U), A + Q @ J @ transpose(Q), basis @ H[..., k:]


def integer(rng: Generator, d: int, k: int, T: int, *, batch: Batch = ()) -> GroundTruth:
    """Draw a truth whose entries are whole numbers: A* from -9 to 9, not symmetric, factors from -3 to 3.

    Such a truth is known exactly, so that ranks can be decided over the rationals (`loraml_theory.exact`).
    """
    _square(rng, d, k, T, batch)
    A, U = rng.integers(-9, 10, (*batch, d, d)), rng.integers(-3, 4, (*batch, T + 1, d, k))
    return GroundTruth(A.astype(np.float64), U.astype(np.float64))


def spurious(rng: Generator, d: int, k: int, T: int, *, batch: Batch = ()) -> GroundTruth:
    """Return the integer instance with a strict spurious minimum at T = 3, k = 1 and any d >= 3 (ML-5).

    Factors (1,0,0), (1,1,0), (1,-1,1); the test task is the last unit vector, A* = 0; padding with zeros
    keeps the minimum. At d = 3 the four factors are dependent; from d = 4 on they are not.
    """
    _square(rng, d, k, T, batch)
    _require((k, T) == (1, 3) and d >= 3, f"spurious: got d = {d}, k = {k}, T = {T}, expected d >= 3, k = 1, T = 3")
    U = np.zeros((*batch, 4, d, 1))
    U[..., :3, :3, 0] = [[1, 0, 0], [1, 1, 0], [1, -1, 1]]
    U[..., 3, -1, 0] = 1
    return GroundTruth(np.zeros((*batch, d, d)), U)


KINDS: dict[str, Kind] = {
    "generic": generic,
    "asymmetric": asymmetric,
    "orthogonal": orthogonal,
    "scaled": scaled,
    "repeated-task": repeated_task,
    "dependent": dependent,
    "integer": integer,
    "spurious": spurious,
}


def _square(rng: Generator, d: int, k: int, T: int, batch: Batch) -> np.ndarray:
    """Draw A* after checking the sizes that every kind needs."""
    require_generator(rng)
    require_count("d", d)
    _require(require_count("k", k) <= d, f"k: got {k}, expected 1 <= k <= d = {d}")
    require_count("T", T, least=2)
    require_batch(batch)
    return rng.standard_normal((*batch, d, d))


def _require(condition: bool, text: str) -> None:
    if not condition:
        raise ValueError(text)
