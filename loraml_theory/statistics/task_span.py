r"""The differences of tasks in few coordinates: ``W_t = mean + Q C_t P^T + rest``, read one task at a time.

Q and P are orthonormal bases of the leading left and right singular spaces of all deviations ``X_t = W_t - mean``
together, each task counted with equal energy. Shifts of rank k in T tasks span at most kT directions on either side, so
nothing of them is lost in bases of that size (the reduction theorem of `loraml_theory.reduction`, whose argument about
the span holds for ``U V^T`` on both sides). What the bases leave out is known in size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import TypeAlias

import numpy as np

from loraml_theory.structure import Array

Reader: TypeAlias = Callable[[int, slice], Array]
RowReader: TypeAlias = Callable[[slice], Array]

EXACT = 2**20
"""Largest number of entries of a matrix whose sums and products are taken in float64; beyond in float32."""
CHUNK = 2**22
"""Largest number of entries, of all tasks together, in memory at once."""
PASSES = 2
"""Power iterations: noise counts by the fifth power of its singular values."""


@dataclass(frozen=True, eq=False)
class TaskSpan:
    """Deviations of the tasks from their mean in the span they share; NumPy arrays.

    Parameters
    ----------
    mean
        ``(p, q)``, None where it is not known: adapters without their base.
    Q, P
        Orthonormal bases ``(p, m)`` and ``(q, n)``; None for all of the space.
    cores
        ``Q^T X_t P``, ``(T, m, n)``; they sum to zero.
    gram
        ``<X_t, X_s>``, ``(T, T)``, of the whole deviations.
    scale
        Largest Frobenius norm of a task's matrix.
    shape
        p and q.
    probe
        ``F^T X_t G``, ``(T, c, c)``, F and G orthonormal and drawn independently of the tasks.
    truncated
        Whether even the weakest direction of Q or P has more energy than noise: there are more directions.
    base
        ``Q^T (base - mean) P`` of the base that the tasks were fine-tuned from; None where it is not known.
    shifts
        ``<W_t - base, W_s - base>``, ``(T, T)``.
    """

    mean: Array | None
    Q: Array | None
    P: Array | None
    cores: Array
    gram: Array
    scale: float
    shape: tuple[int, int]
    probe: Array
    truncated: bool = False
    base: Array | None = None
    shifts: Array | None = None

    @property
    def T(self) -> int:
        """Number of tasks."""
        return int(self.cores.shape[0])

    def lift(self, core: Array) -> Array:
        """Return ``Q core P^T``, ``(p, q)``."""
        left = core if self.Q is None else self.Q @ core.astype(self.Q.dtype)
        return left if self.P is None else left @ self.P.T.astype(left.dtype)

    def difference_energy(self, t: int, s: int) -> float:
        """Return ``||W_t - W_s||_F^2``."""
        return float(max(self.gram[t, t] + self.gram[s, s] - 2 * self.gram[t, s], 0.0))


def span_of_matrices(
    rng: np.random.Generator,
    read: Reader,
    T: int,
    *,
    shape: tuple[int, int],
    base: RowReader | None = None,
    size: int = 256,
    probe: int = 48,
) -> TaskSpan:
    """Find the joint span of the deviations of T matrices, with one at a time in memory.

    Parameters
    ----------
    rng
        Source of the start of the power iterations and of the probe.
    read
        ``read(t, rows)`` returns these rows of task t, of a floating dtype.
    T
        Number of tasks.
    shape
        p and q.
    base
        ``base(rows)`` returns these rows of the base, if it is known; its deviation counts in the span as a task's.
    size
        Columns of Q and of P; a side of at most this length is kept whole.
    probe
        Side of the probe.
    """
    p, q = shape
    dtype = np.float64 if p * q <= EXACT else np.float32
    mean, gram, scale = _moments(read, T, shape, dtype)
    origin = None if base is None else np.asarray(base(slice(0, p)), dtype=dtype) - mean
    energies = np.append(np.diag(gram), [] if origin is None else [float(np.sum(origin**2, dtype=np.float64))])
    weights = 1 / np.where(energies > 0, energies, 1.0)

    def deviation(t: int) -> Array:
        if t == T and origin is not None:
            return origin
        X: Array = np.array(read(t, slice(0, p)), dtype=dtype)
        X -= mean
        return X

    F, G = (_basis(rng.standard_normal((n, min(n, probe))).astype(dtype)) for n in shape)
    Q, P = (None if n <= size else _basis(rng.standard_normal((n, size)).astype(dtype)) for n in shape)
    for _ in range(PASSES if Q is not None or P is not None else 0):
        left, right = (None if B is None else np.zeros_like(B) for B in (Q, P))
        for t in range(len(weights)):
            X = deviation(t)
            if Q is not None:
                left += dtype(weights[t]) * (X @ (X.T @ Q))
            if P is not None:
                right += dtype(weights[t]) * (X.T @ (X @ P))
        Q, P = (None if B is None else _basis(B) for B in (left, right))
    cores, probes, along_base, looked_at = [], [], [], [_Weakest(Q, p, q * T), _Weakest(P, q, p * T)]
    for t in range(T):
        X = deviation(t)
        along_base.append(0.0 if origin is None else float(np.vdot(X, origin)))
        probes.append((F.T @ X) @ G)
        for side, along in zip(looked_at, (X, X.T), strict=True):
            side.add(along, float(weights[t]), float(gram[t, t]))
        cores.append(_core(X, Q, P))
    truncated = any(side.above_noise() for side in looked_at)
    found = TaskSpan(mean, Q, P, _float64(cores), gram, scale, (p, q), _float64(probes), truncated)
    if origin is None:
        return found
    inner = np.array(along_base)
    shifts = gram - inner[:, None] - inner + energies[T]
    return replace(found, base=_core(origin, Q, P).astype(np.float64), shifts=shifts)


def _core(X: Array, Q: Array | None, P: Array | None) -> Array:
    """Return ``Q^T X P``."""
    left = X if Q is None else Q.T @ X
    return left if P is None else left @ P


class _Weakest:
    """Decides whether the weakest direction of a basis has more energy than the noise outside it.

    In T tasks' noise side by side, p x qT, no direction has more than ``(1 + sqrt(p/(qT)))^2`` times the mean energy.
    """

    def __init__(self, basis: Array | None, length: int, width: int) -> None:
        self._basis, self._length = basis, length
        self._most = 1.1 * (1 + sqrt(length / width)) ** 2
        self._gram: Array = 0.0
        self._total = 0.0

    def add(self, X: Array, weight: float, energy: float) -> None:
        """Count a task with the directions along the first axis."""
        if self._basis is not None:
            along = (self._basis.T @ X).astype(np.float64)
            self._gram = self._gram + weight * (along @ along.T)
            self._total += weight * energy

    def above_noise(self) -> bool:
        """Return whether the basis should be larger."""
        if self._basis is None:
            return False
        outside = self._total - float(np.trace(self._gram))
        mean = max(outside, 1e-12 * self._total) / (self._length - self._basis.shape[1])
        return bool(np.linalg.eigvalsh(self._gram)[0] > self._most * mean)


def span_of_factors(rng: np.random.Generator, U: Sequence[Array], V: Sequence[Array], *, probe: int = 48) -> TaskSpan:
    """Find the span of ``W_t = A + U_t V_t^T``, A unknown and the same for all: exact for every A.

    Parameters
    ----------
    rng
        Source of the probe.
    U, V
        Factors ``(p, r_t)`` and ``(q, r_t)`` of each task.
    probe
        Side of the probe.
    """
    left, right = ([np.asarray(F, dtype=np.float64) for F in factors] for factors in (U, V))
    p, q = left[0].shape[0], right[0].shape[0]
    Q, P = _basis(np.concatenate(left, axis=1)), _basis(np.concatenate(right, axis=1))
    shifts = np.stack([(Q.T @ u) @ (v.T @ P) for u, v in zip(left, right, strict=True)])
    F, G = (_basis(rng.standard_normal((n, min(n, probe)))) for n in (p, q))
    probes = np.stack([(F.T @ u) @ (v.T @ G) for u, v in zip(left, right, strict=True)])
    cores, flat = shifts - shifts.mean(axis=0), shifts.reshape(len(shifts), -1)
    apart = flat - flat.mean(axis=0)
    return TaskSpan(
        None,
        Q,
        P,
        cores,
        apart @ apart.T,
        float(np.max(np.linalg.norm(flat, axis=1))),
        (p, q),
        probes - probes.mean(axis=0),
        base=-shifts.mean(axis=0),
        shifts=flat @ flat.T,
    )


def _moments(read: Reader, T: int, shape: tuple[int, int], dtype: type) -> tuple[Array, Array, float]:
    """Return the mean, the deviations' inner products and the largest norm, from some rows of all tasks at a time."""
    p, q = shape
    mean: Array = np.empty(shape, dtype)
    gram, squares = np.zeros((T, T)), np.zeros(T)
    step = max(1, CHUNK // (T * q))
    for start in range(0, p, step):
        rows = slice(start, min(start + step, p))
        stack: Array = np.stack([np.asarray(read(t, rows), dtype=dtype) for t in range(T)])
        squares += np.sum(stack * stack, axis=(1, 2), dtype=np.float64)
        mean[rows] = np.mean(stack, axis=0, dtype=np.float64)
        stack -= mean[rows]
        flat = stack.reshape(T, -1)
        gram += flat @ flat.T
    return mean, gram, float(np.sqrt(np.max(squares)))


def _basis(M: Array) -> Array:
    """Return an orthonormal basis of the columns of ``(p, m)``, ``(p, min(p, m))``."""
    return np.linalg.qr(M)[0]


def _float64(parts: Sequence[Array]) -> Array:
    return np.stack(parts).astype(np.float64)
