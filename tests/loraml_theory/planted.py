"""Tasks with planted shifts ``U_t V_t^T``, rectangular and with noise."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from loraml_theory.statistics.task_span import TaskSpan, span_of_matrices


class Planted(NamedTuple):
    """Matrices W, ``(T, p, q)``, with the base and the shifts that they were made of."""

    W: np.ndarray
    A: np.ndarray
    shifts: np.ndarray


def planted(
    seed: int,
    *,
    T: int = 4,
    shape: tuple[int, int] = (16, 24),
    k: int = 2,
    sigma: float = 0.0,
    symmetric: bool = False,
) -> Planted:
    """Draw base and factors standard normal, noise of standard deviation sigma."""
    rng = np.random.default_rng(seed)
    p, q = shape
    A, U = rng.standard_normal(shape), rng.standard_normal((T, p, k))
    V = U if symmetric else rng.standard_normal((T, q, k))
    shifts = U @ np.swapaxes(V, -1, -2)
    return Planted(A + shifts + sigma * rng.standard_normal((T, p, q)), A, shifts)


def span_of(W: np.ndarray, *, size: int = 256, seed: int = 0) -> TaskSpan:
    """Return the span of matrices in memory."""
    return span_of_matrices(
        np.random.default_rng(seed), lambda t, rows: W[t, rows], len(W), shape=(W.shape[1], W.shape[2]), size=size
    )


def relative(found: np.ndarray, true: np.ndarray) -> float:
    """Return the relative error in the Frobenius norm."""
    return float(np.linalg.norm(found - true) / np.linalg.norm(true))
