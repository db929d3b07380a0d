"""Ground truths of the linear model: a shared parameter and one low-rank shift per task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from array_api_compat import device

from loraml_theory.arguments import require_one_library, require_real_floating
from loraml_theory.libraries import array_namespace, total

Array: TypeAlias = Any  # an array of any array-API library; the standard has no static type yet


def transpose(M: Array) -> Array:
    """Swap the last two axes, ``(..., m, n) -> (..., n, m)``."""
    return M.mT if isinstance(M, np.ndarray) else array_namespace(M).matrix_transpose(M)


def frobenius(M: Array) -> Array:
    """Return the Frobenius norm over the last two axes, ``(..., m, n) -> (...)``."""
    return array_namespace(M).sqrt(total(M * M, axis=(-2, -1)))


def joint_factor(U: Array) -> Array:
    """Return ``[U_1, ..., U_m]``, ``(..., m, d, k) -> (..., d, m k)``."""
    xp = array_namespace(U)
    m, d, k = U.shape[-3:]
    return xp.reshape(xp.moveaxis(U, -3, -2), (*U.shape[:-3], d, m * k))


@dataclass(frozen=True, eq=False)
class GroundTruth:
    r"""The truth behind the tasks: ``W_t = A* + U_t* U_t*^T``, t = 1..T+1; the last task is the test task.

    Parameters
    ----------
    A_star
        Shared parameter, ``(..., d, d)``, float64. No claim needs it symmetric.
    U_star
        Task factors, ``(..., T+1, d, k)``, float64; the last task is the unseen test task.

    Raises
    ------
    TypeError
        If an argument is not a float64 array.
    ValueError
        If shapes do not fit, T + 1 < 3, k < 1, k > d, or an entry is not finite.

    Notes
    -----
    Model of arXiv 2410.22264, section 3. Leading axes are a batch of independent truths.

    Examples
    --------
    >>> import numpy as np
    >>> truth = GroundTruth(np.zeros((4, 4)), np.ones((3, 4, 1)))
    >>> truth.d, truth.k, truth.T
    (4, 1, 2)
    """

    A_star: Array
    U_star: Array

    def __post_init__(self) -> None:
        """Check the arguments; nothing downstream checks them again."""
        require_real_floating("A_star", self.A_star)
        require_real_floating("U_star", self.U_star)
        require_one_library(A_star=self.A_star, U_star=self.U_star)
        A_shape, U_shape = tuple(self.A_star.shape), tuple(self.U_star.shape)
        if len(A_shape) < 2 or A_shape[-1] != A_shape[-2] or A_shape[-1] < 1:
            raise ValueError(f"A_star: got shape {A_shape}, expected (..., d, d)")
        if len(U_shape) < 3 or U_shape[-2] != A_shape[-1] or U_shape[:-3] != A_shape[:-2]:
            raise ValueError(
                f"U_star: got shape {U_shape}, expected (..., T+1, d, k) with d = {A_shape[-1]} "
                f"and the leading axes of A_star, {A_shape[:-2]}"
            )
        if U_shape[-3] < 3:
            raise ValueError(
                f"U_star: got {U_shape[-3]} tasks, expected T+1 >= 3 (at least two to retrain on and one to test)"
            )
        if not 1 <= U_shape[-1] <= U_shape[-2]:
            raise ValueError(f"U_star: got k = {U_shape[-1]}, expected 1 <= k <= d = {U_shape[-2]}")

    @property
    def d(self) -> int:
        """Ambient dimension."""
        return int(self.U_star.shape[-2])

    @property
    def k(self) -> int:
        """Rank of each task's shift."""
        return int(self.U_star.shape[-1])

    @property
    def T(self) -> int:
        """Number of retraining tasks; the test task is one more."""
        return int(self.U_star.shape[-3]) - 1

    @property
    def R(self) -> Array:
        """Shifts ``R_t* = U_t* U_t*^T`` of all tasks, ``(..., T+1, d, d)``."""
        return self.U_star @ transpose(self.U_star)

    @property
    def W(self) -> Array:
        """True parameters ``W_t = A* + R_t*`` of all tasks, ``(..., T+1, d, d)``."""
        return self.A_star[..., None, :, :] + self.R

    @property
    def W_retraining(self) -> Array:
        """True parameters of the T retraining tasks, ``(..., T, d, d)``."""
        return self.W[..., :-1, :, :]

    @property
    def U_retraining(self) -> Array:
        """Factors of the T retraining tasks, ``(..., T, d, k)``."""
        return self.U_star[..., :-1, :, :]

    @property
    def W_test(self) -> Array:
        """True parameter of the test task, ``(..., d, d)``."""
        return self.W[..., -1, :, :]

    @property
    def scale(self) -> Array:
        """``max_t ||W_t||_F`` over all tasks, ``(...)``: what rounding is relative to."""
        return array_namespace(self.A_star).max(frobenius(self.W), axis=-1)

    @property
    def retraining_scale(self) -> Array:
        """Largest Frobenius norm ``max_t ||W_t||_F`` over the T retraining tasks, ``(...)``."""
        return array_namespace(self.A_star).max(frobenius(self.W_retraining), axis=-1)

    def with_tasks(self, retraining: Sequence[int]) -> GroundTruth:
        """Return the truth that keeps these retraining tasks (0-based, in this order) and the test task.

        Raises
        ------
        ValueError
            If fewer than two tasks are named or an index is not in 0..T-1.
        """
        if len(retraining) < 2 or any(not 0 <= t < self.T for t in retraining):
            raise ValueError(f"retraining: got {list(retraining)}, expected two or more indices in 0..{self.T - 1}")
        xp = array_namespace(self.U_star)
        index = xp.asarray([*retraining, self.T], dtype=xp.int64, device=device(self.U_star))
        return GroundTruth(self.A_star, xp.take(self.U_star, index, axis=-3))
