"""The network y = c^T sigmoid((A + U V^T) x), batches of samples and of weights, and errors of fitted functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from loraml_theory.structure import Array


class Samples(NamedTuple):
    """Samples of every task.

    Parameters
    ----------
    x, y
        Inputs ``(B, T, N, d)`` and targets ``(B, T, N)``.
    """

    x: Array
    y: Array


@dataclass(frozen=True, eq=False)
class Network:
    """Weights of batches of networks, one for every task; task t has ``W_t = A + U_t V_t^T``.

    Parameters
    ----------
    A, c
        What the tasks share: ``(..., d, d)`` and ``(..., d)``.
    U, V
        Adapters ``(..., T, d, k)``; all zero for standard retraining, a point that no gradient step leaves.
    """

    A: Array
    c: Array
    U: Array
    V: Array

    @property
    def W(self) -> Array:
        """The first layer of every task, ``(..., T, d, d)``."""
        return self.A[..., None, :, :] + self.U @ self.V.swapaxes(-1, -2)

    def __getitem__(self, index: object) -> Network:
        """Return a part of the batch."""
        return Network(self.A[index], self.c[index], self.U[index], self.V[index])


def hidden(W: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return ``sigmoid(W x)`` for W ``(..., d, d)`` and x ``(..., N, d)``, ``(..., N, d)``."""
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * (x @ W.swapaxes(-1, -2))))  # without overflow


def values(W: np.ndarray, c: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return ``c^T sigmoid(W x)`` for W ``(..., d, d)``, c ``(..., d)`` and x ``(..., N, d)``, ``(..., N)``."""
    return np.asarray((hidden(W, x) @ c[..., None])[..., 0])


def losses(network: Network, samples: Samples) -> np.ndarray:
    """Return ``sum_t (1/N) sum_s (f_t(x_ts) - y_ts)^2``, what retraining descends on, ``(...)``."""
    fitted = values(np.asarray(network.W), np.asarray(network.c)[..., None, :], samples.x)
    return np.asarray(np.mean((fitted - samples.y) ** 2, axis=-1).sum(axis=-1))
