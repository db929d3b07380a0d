"""Levenberg and Marquardt's method on batches of networks: few, expensive steps where AdamW takes many.

What is minimised is ``sum_t (1/N) sum_s (f_t(x_ts) - y_ts)^2``, with a ridge ``mu ||point||^2`` at first: without it
early steps drive hidden units into saturation, where they stay. The ridge is lowered to 0 as soon as it slows the
descent down, so that the end is stationary for the loss alone.

Everything follows from one matrix per task, ``K_t = (1/N) sum_s phi phi^T`` of the features
``phi = (c s'(z) x^T, s(z))``, s the sigmoid and z = W_t x: the derivatives of ``f_t`` by ``W_t`` and c. Those by U_t
and V_t follow from ``dW = dU V^T + U dV^T``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sims.shallow.network import Network, Samples, hidden, losses

RIDGES = (1e-4, 1e-5, 0.0)
HELD_UP = 1e-3  # relative decrease of a step below which the ridge is lowered
CONVERGED = 1e-9  # the same without a ridge, below which the descent ends
DAMPING, LEAST_DAMPING, LARGEST_DAMPING = 1.0, 1e-12, 1e12
BLOCK_BYTES = 16 * 2**20  # of features at once


@dataclass(frozen=True, eq=False)
class Solved:
    """The end of the method.

    Parameters
    ----------
    point
        ``(B,)``.
    loss
        Without ridge, ``(B,)``.
    iterations
        Steps tried, ``(B,)``.
    finished
        Whether the loss is at most the target or stopped decreasing, ``(B,)``; otherwise the steps ran out.
    """

    point: Network
    loss: np.ndarray
    iterations: np.ndarray
    finished: np.ndarray


def levenberg_marquardt(
    samples: Samples,
    start: Network,
    *,
    iterations: int = 100,
    target: np.ndarray | float = 0.0,
    ridges: tuple[float, ...] = RIDGES,
) -> Solved:
    """Minimise from a batch of starts.

    With H the Gauss-Newton matrix and g the gradient of half the objective, a step solves
    ``(H + damping I) step = -g``; it is taken if the objective falls, and the damping follows Nielsen's rule.

    Parameters
    ----------
    samples
        ``(B, T, N, d)`` and ``(B, T, N)``.
    start
        ``(B,)``; adapters that are all 0 stay so.
    iterations
        Steps to try at most.
    target
        A loss at which to stop, ``(B,)`` or one for all.
    ridges
        Decreasing, the last is 0.
    """
    batch = len(start.U)
    method = _Method(samples, start, np.asarray(ridges))
    tried, finished, wanted = np.zeros(batch, int), np.zeros(batch, bool), np.broadcast_to(target, (batch,))
    method.linearise(np.arange(batch))
    for _ in range(iterations):
        finished |= method.losses <= wanted
        active = np.flatnonzero(~finished)
        if not active.size:
            break
        tried[active] += 1
        finished[active] = method.step(active)
    finished |= method.losses <= wanted
    return Solved(_unflat(method.points, start), method.losses, tried, finished)


def reach(
    samples: Samples,
    starts: Sequence[Network],
    target: np.ndarray,
    *,
    iterations: int = 100,
    progress: Callable[[float], None] = lambda _: None,
) -> Solved:
    """Minimise from the first start, then the elements still above the target from the next, and so on.

    Parameters
    ----------
    samples
        ``(B, T, N, d)`` and ``(B, T, N)``.
    starts
        ``(B,)`` each.
    target
        ``(B,)``.
    iterations
        Steps to try at most from each start.
    progress
        Called with the share of starts that are done.

    Returns
    -------
    Solved
        The best point of every element, the iterations over all its starts, and whether its target was reached.
    """
    best = levenberg_marquardt(samples, starts[0], iterations=iterations, target=target)
    parts = [best.point.A, best.point.c, best.point.U, best.point.V]
    loss, tried = best.loss.copy(), best.iterations.copy()
    for number, start in enumerate(starts[1:], start=1):
        progress(number / len(starts))
        left = np.flatnonzero(loss > target)
        if not left.size:
            break
        here = Samples(samples.x[left], samples.y[left])
        end = levenberg_marquardt(here, start[left], iterations=iterations, target=target[left])
        tried[left] += end.iterations
        better = end.loss < loss[left]
        loss[left[better]] = end.loss[better]
        for part, found in zip(parts, (end.point.A, end.point.c, end.point.U, end.point.V), strict=True):
            part[left[better]] = found[better]
    return Solved(Network(*parts), loss, tried, loss <= target)


class _Method:
    """The batch as flat points, with the damping, the ridge's stage and the model of every element."""

    def __init__(self, samples: Samples, start: Network, ridges: np.ndarray) -> None:
        self.samples, self.like, self.ridges = samples, start, ridges
        self.points = _flat(start)
        batch, size = self.points.shape
        self.stages = np.zeros(batch, int)
        self.damping, self.growth = np.full(batch, DAMPING), np.full(batch, 2.0)
        self.H, self.g = np.empty((batch, size, size)), np.empty((batch, size))
        self.losses = np.empty(batch)

    def linearise(self, which: np.ndarray) -> None:
        """Renew loss, gradient and Gauss-Newton matrix, without ridge."""
        T, N, d = self.samples.x.shape[1:]
        at_once = max(1, BLOCK_BYTES // (8 * T * N * (d * d + d)))
        for begin in range(0, len(which), at_once):
            b = which[begin : begin + at_once]
            here = Samples(self.samples.x[b], self.samples.y[b])
            self.losses[b], self.g[b], self.H[b] = _linearised(_unflat(self.points[b], self.like), here)

    def step(self, which: np.ndarray) -> np.ndarray:
        """Try a step, and return which elements have stopped decreasing."""
        mu, point, g, H = self.ridges[self.stages[which]], self.points[which], self.g[which], self.H[which]
        slope = g + mu[:, None] * point
        diagonal = np.arange(H.shape[-1])
        curved = H.copy()
        curved[:, diagonal, diagonal] += (mu + self.damping[which])[:, None]
        move = -np.linalg.solve(curved, slope[..., None])[..., 0]
        before = self.losses[which] + mu * np.sum(point**2, axis=1)
        b = Samples(self.samples.x[which], self.samples.y[which])
        after = losses(_unflat(point + move, self.like), b) + mu * np.sum((point + move) ** 2, axis=1)
        # the model's decrease: -(2 g m + m^T (H + mu) m), and (H + mu) m = -g - damping m
        predicted = -np.sum(move * (slope - self.damping[which][:, None] * move), axis=1)
        taken = after < before
        self._adapt_damping(which, taken, np.where(predicted > 0, (before - after) / predicted, 0.0))
        self.points[which[taken]] += move[taken]
        self.linearise(which[taken])
        return self._lower_ridge(which, taken, (before - after) / before)

    def _adapt_damping(self, which: np.ndarray, taken: np.ndarray, gain: np.ndarray) -> None:
        good, bad = which[taken], which[~taken]
        factor = np.maximum(1 / 3, 1 - (2 * gain[taken] - 1) ** 3)
        self.damping[good] = np.maximum(self.damping[good] * factor, LEAST_DAMPING)
        self.growth[good] = 2
        self.damping[bad] *= self.growth[bad]
        self.growth[bad] *= 2

    def _lower_ridge(self, which: np.ndarray, taken: np.ndarray, decrease: np.ndarray) -> np.ndarray:
        """Lower the ridge where it slows the descent down; return where it is 0 and the descent has ended."""
        last = self.stages[which] == len(self.ridges) - 1
        ended = (taken & (decrease < np.where(last, CONVERGED, HELD_UP))) | (self.damping[which] > LARGEST_DAMPING)
        self.stages[which[ended & ~last]] += 1
        self.damping[which[ended & ~last]] = np.minimum(self.damping[which[ended & ~last]], DAMPING)
        return ended & last


def _linearised(network: Network, samples: Samples) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return losses ``(B,)``, and gradients ``(B, size)`` and Gauss-Newton matrices of half of them."""
    B, T, N, d = samples.x.shape
    k, shared = network.U.shape[-1], d * d + d
    c = network.c[:, None, None, :]
    s = hidden(network.W, samples.x)
    residual = (s @ c.swapaxes(-1, -2))[..., 0] - samples.y
    features = np.empty((B, T, N, shared))
    by_W = features[..., : d * d].reshape(B, T, N, d, d)
    np.multiply((c * s * (1 - s))[..., None], samples.x[..., None, :], out=by_W)
    features[..., d * d :] = s
    K = features.swapaxes(-1, -2) @ features / N
    slopes = (features.swapaxes(-1, -2) @ residual[..., None])[..., 0] / N
    size = shared + 2 * T * d * k
    H, g = np.zeros((B, size, size)), np.zeros((B, size))
    H[:, :shared, :shared], g[:, :shared] = K.sum(axis=1), slopes.sum(axis=1)
    for t in range(T):
        L = _adapter_derivatives(network.U[:, t], network.V[:, t])
        own = _places(t, T=T, d=d, k=k)
        mixed = K[:, t, :, : d * d] @ L
        H[:, :shared, own], H[:, own, :shared] = mixed, mixed.swapaxes(-1, -2)
        H[:, own[:, None], own] = L.swapaxes(-1, -2) @ mixed[:, : d * d]
        g[:, own] = (L.swapaxes(-1, -2) @ slopes[:, t, : d * d, None])[..., 0]
    return np.mean(residual**2, axis=-1).sum(axis=-1), g, H


def _adapter_derivatives(U: np.ndarray, V: np.ndarray) -> np.ndarray:
    """Return ``d vec(U V^T)`` by the entries of U, then of V, by rows: ``(B, d d, 2 d k)``."""
    B, d, k = U.shape
    one = np.eye(d)
    by_U = one[:, None, :, None] * V[:, None, :, None, :]
    by_V = U[:, :, None, None, :] * one[:, :, None]
    return np.concatenate([part.reshape(B, d * d, d * k) for part in (by_U, by_V)], axis=-1)


def _places(task: int, *, T: int, d: int, k: int) -> np.ndarray:
    """Return the positions of a task's U and V in a flat point."""
    first = d * d + d + task * d * k + np.arange(d * k)
    return np.concatenate([first, first + T * d * k])


def _flat(network: Network) -> np.ndarray:
    return np.concatenate([p.reshape(len(p), -1) for p in (network.A, network.c, network.U, network.V)], axis=1)


def _unflat(points: np.ndarray, like: Network) -> Network:
    shapes = [part.shape[1:] for part in (like.A, like.c, like.U, like.V)]
    ends = np.cumsum([np.prod(shape, dtype=int) for shape in shapes])
    parts = np.split(points, ends[:-1], axis=1)
    return Network(*(part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True)))
